"""How the TSM calls others over HTTP. Nothing is sent to an address that the operator does not allow."""

from typing import Protocol

from opentsm.tsm.kernel.documents import Record

DELIVERY_TOPIC = "deliveries"


class Call(Record, frozen=True, kw_only=True):
    """A POST.

    `trust` is the certificate (PEM or DER) that the server must show or descend from; None: one that a public
    authority certifies. `mutual`: the TSM proves itself with its own certificate.
    """

    url: str
    headers: dict[str, str]
    body: bytes
    trust: bytes | None = None
    mutual: bool = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class CallResult(Record, frozen=True, kw_only=True):
    """What came of a call: a status, or in words why there is none. The answer's body is not read."""

    status: int | None = None
    error: str = ""
    took_ms: int = 0

    @property
    def taken(self) -> bool:
        """Say whether the receiver took the message."""
        return self.status is not None and 200 <= self.status < 300


class Sender(Protocol):
    """Calls others."""

    async def check_url(self, url: str) -> None:
        """Check that a URL may be called, as far as that can be known before.

        Raises:
            InvalidInputError: its scheme, its form or its address is not allowed.
        """
        ...

    async def send(self, call: Call) -> CallResult:
        """Make a call; whatever the other side or the network does, is a result."""
        ...
