"""Everything that can go wrong in an agent, as one tree.

AgentError
├── ReaderError               the card, or the way to it
│   └── ReaderMissingError    the device has no such reader, or no software for it
├── LinkError                 the way to the server, or the server
│   ├── ServerUnreachableError
│   ├── SessionLostError
│   ├── NegotiationError
│   └── ServerRefusedError
│       └── DeviceRefusedError
├── OrderError                the server sent an order that cannot be read
└── StateError                the agent's own files
    ├── NotEnrolledError
    ├── StateInUseError
    ├── KeyFileError
    └── JournalError
"""


class AgentError(Exception):
    """The agent failed."""

    def __str__(self) -> str:
        return super().__str__() or (self.__doc__ or "").partition("\n")[0]


class ReaderError(AgentError):
    """The card gave no answer."""


class ReaderMissingError(ReaderError):
    """The device has no such reader."""


class LinkError(AgentError):
    """The exchange with the server failed."""


class ServerUnreachableError(LinkError):
    """The server did not answer for too long."""


class SessionLostError(LinkError):
    """The server does not know the session any more."""


class NegotiationError(LinkError):
    """The server chose a version, format or transport that the agent did not offer."""


class ServerRefusedError(LinkError):
    """The server refused the request."""


class DeviceRefusedError(ServerRefusedError):
    """The server does not accept this device: enrol it again."""


class OrderError(AgentError):
    """The order cannot be read."""


class StateError(AgentError):
    """The agent's state directory cannot be used."""


class NotEnrolledError(StateError):
    """The state directory holds no enrolled device: give a one-time code."""


class StateInUseError(StateError):
    """Another agent uses this state directory."""


class KeyFileError(StateError):
    """The device key cannot be used."""


class JournalError(StateError):
    """The journal cannot be read: what the card has done is not known."""
