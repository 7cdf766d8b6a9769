"""What the card asks of an applet, and what an applet may ask of the card.

An applet is created anew at each power-on; all that it must remember is in its store, which the card commits
together with the rest of its state, once, at the end of each APDU.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, ClassVar, Protocol

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.vse.cvm import Cvm, CvmFormat, CvmState
from opentsm.vse.status import SW_CONDITIONS, StatusError

if TYPE_CHECKING:
    from opentsm.vse.contactless import ContactlessRegistry


class SecureChannelService(Protocol):
    """An applet's use of its security domain's secure channel (GlobalPlatform API: SecureChannel)."""

    @property
    def level(self) -> int:
        """Current security level (Table 10-1), 00 without a session."""

    def process_security(self, command: CommandApdu) -> bytes:
        """Carry out INITIALIZE UPDATE or EXTERNAL AUTHENTICATE with the keys of the security domain.

        Raises:
            StatusError: the answer of the security domain; 6985 when it serves nobody now.
        """

    def unwrap(self, command: CommandApdu) -> CommandApdu:
        """Check a command against the level of the session and take its protection off.

        Raises:
            StatusError: 6982.
        """

    def wrap(self, data: bytes, sw: int) -> bytes:
        """Return the response data with the protection that the level asks for."""

    def decrypt(self, data: bytes) -> bytes:
        """Decipher sensitive data under the session's data encryption key; no padding is removed."""

    def reset(self) -> None:
        """End the session."""


class CvmService(Protocol):
    """A cardholder verification method of another application (GPCS §8.2.1; GlobalPlatform API: CVM)."""

    @property
    def state(self) -> CvmState:
        """The state of the method."""

    @property
    def tries(self) -> int:
        """How often a wrong value may still be presented."""

    def verify(self, value: bytes, kind: CvmFormat) -> bool:
        """Compare a value with the cardholder's."""

    def reset(self) -> bool:
        """Forget within the session what was presented; tell whether it was possible."""

    def update(self, value: bytes, kind: CvmFormat) -> None:
        """Set another value; like all that follow, with CVM Management only.

        Raises:
            StatusError: 6982 without the privilege, 6A80.
        """

    def set_limit(self, limit: int) -> None:
        """Set the Retry Limit."""

    def unblock(self) -> None:
        """Bring the method back to ACTIVE, with all tries."""

    def block(self) -> None:
        """Block the method."""


class CardServices(Protocol):
    """What the card offers to one applet instance."""

    @property
    def instance_aid(self) -> Aid:
        """The AID of this instance."""

    def random(self, length: int) -> bytes:
        """Return `length` unpredictable bytes."""

    def commit(self) -> None:
        """Save the card's state now: what was written so far survives a power cut inside this command."""

    def proximity_applets(self) -> "tuple[Applet, ...]":
        """Return the instances that a contactless terminal can reach now, by priority."""

    @property
    def priority_is_set(self) -> bool:
        """Tell whether the user has put the contactless applications into an order."""

    def contactless_registry(self) -> "ContactlessRegistry":
        """Return the contactless registry, with this instance's rights."""

    def set_contactless_state(self, state: int) -> None:
        """Change this instance's own contactless activation state.

        Raises:
            StatusError: 6982 without Contactless Self-Activation, 6985 another application is in its way.
        """

    def register_service(self, name: bytes) -> None:
        """Register a unique Global Service: family and service (§8.1.1).

        Raises:
            StatusError: 6985 without the privilege, not named in INSTALL, or another's; 6A80.
        """

    def deregister_service(self, name: bytes) -> None:
        """Give up a unique Global Service.

        Raises:
            StatusError: 6985.
        """

    def cvm(self, identifier: int) -> CvmService:
        """Return a cardholder verification method of the card, with this instance's rights.

        Raises:
            StatusError: 6A88 nobody offers it.
        """

    @property
    def installation(self) -> bytes:
        """During `install`: AID, privileges and parameters as a Java Card applet gets them; else empty."""

    @property
    def secure_channel(self) -> SecureChannelService:
        """The secure channel of the security domain, on the logical channel of the command in work."""


class Applet(ABC):
    """One applet instance.

    Args:
        store: the instance's persistent data; written bytes count as card memory.
        services: the card.
    """

    MODULE_AID: ClassVar[Aid]
    # Whether instances of its package may be selected on several logical channels at once.
    MULTISELECTABLE: ClassVar[bool] = False

    def __init__(self, store: MutableMapping[str, bytes], services: CardServices) -> None:
        self.store = store
        self.services = services

    def install(self, instance_aid: Aid, parameters: bytes) -> None:  # noqa: B027 - most applets need nothing
        """Take the application parameters once, at INSTALL [for install].

        Args:
            instance_aid: the AID of the new instance.
            parameters: the value of tag C9.

        Raises:
            StatusError: 6A80 when the parameters are refused; the instance then does not exist.
        """

    @abstractmethod
    def select(self) -> bytes:
        """Return the FCI (the SELECT response data); raise StatusError to refuse the selection."""

    def deselect(self) -> None:  # noqa: B027 - most applets need nothing
        """Forget what must not outlive the selection."""

    @abstractmethod
    def process(self, command: CommandApdu) -> ResponseApdu:
        """Answer one command; a StatusError becomes its status word."""

    def personalize(self, command: CommandApdu, decrypt: Callable[[bytes], bytes]) -> bytes:
        """Take one STORE DATA that the security domain forwards, already without secure messaging.

        Args:
            command: the STORE DATA; P1 and P2 as sent, data as the off-card entity made it.
            decrypt: deciphers one value that P1 marks as encrypted, under the DEK of the security domain's
                session (AES-CBC with zero IV, or 3DES-ECB); no padding is removed.

        Returns:
            Response data, usually none.

        Raises:
            StatusError: the data is refused.
        """
        raise StatusError(SW_CONDITIONS)

    def cvm(self) -> Cvm | None:
        """Return the cardholder verification method that this instance offers to others, or None."""
        return None

    def notify_contactless(self, source: Aid, event: int) -> None:  # noqa: B027 - most applets need nothing
        """Hear of an event in the contactless registry (Amendment C: CRELApplication, CLApplet).

        Args:
            source: the application whose entry has changed; may be this one.
            event: what happened (`opentsm.vse.contactless_events.Event`).
        """

    def ppse_entry(self) -> bytes | None:
        """Return this instance's directory entry (the value of a 61 template) for the PPSE, or None."""
        return None
