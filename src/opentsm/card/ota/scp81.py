"""Remote administration over HTTP (SCP81): what its requests and responses say.

The card is the HTTP client and always POSTs: first an empty body, then the answer to the script that came
with the response before. Framing only: connection, TLS and retries are elsewhere.
Source: GlobalPlatform Amendment B (remote application management over HTTP); RFC 9112 §7.1 (chunks).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from opentsm.card.codec.aid import Aid
from opentsm.card.errors import CardError, OtaError
from opentsm.card.ota.remote_apdu import ExpandedResponse, ExpandedScript
from opentsm.card.ota.scp81_trigger import header_text

PROTOCOL: Final = "globalplatform-remote-admin/1.0"
COMMAND_TYPE: Final = "application/vnd.globalplatform.card-content-mgt;version=1.0"
RESPONSE_TYPE: Final = "application/vnd.globalplatform.card-content-mgt-response;version=1.0"

_RID_BYTES: Final = 5
_OK: Final = 200
_NO_CONTENT: Final = 204


class ScriptStatus(Enum):
    """X-Admin-Script-Status: what became of the script before."""

    OK = "ok"
    UNKNOWN_APPLICATION = "unknown-application"
    NOT_A_SECURITY_DOMAIN = "not-a-security-domain"
    SECURITY_ERROR = "security-error"


@dataclass(frozen=True, slots=True)
class AdminRequest:
    """A POST of the card.

    Attributes:
        uri: the URI of the trigger, later the one that the server named last.
        status: of the script before; None in the first request.
        response: answer to it; only with status `OK`.
        resume: the connection broke, and the last request is repeated.
    """

    uri: str
    host: str
    agent: str
    status: ScriptStatus | None = None
    response: ExpandedResponse | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        if self.response is not None and self.status is not ScriptStatus.OK:
            raise OtaError("only a script that ran has an answer")

    def headers(self) -> dict[str, str]:
        """Return the header fields of the request."""
        fields = {"Host": self.host, "X-Admin-Protocol": PROTOCOL, "X-Admin-From": self.agent}
        if self.status is not None:
            fields["X-Admin-Script-Status"] = self.status.value
        if self.resume:
            fields["X-Admin-Resume"] = "true"
        body = self.body()
        if body:
            fields["Content-Type"] = RESPONSE_TYPE
        fields["Content-Length"] = str(len(body))
        return _checked(fields)

    def body(self) -> bytes:
        """Return the body; the first request has none."""
        return b"" if self.response is None else self.response.to_bytes()

    @classmethod
    def parse(cls, uri: str, headers: Mapping[str, str], body: bytes) -> "AdminRequest":
        """Read a POST.

        Args:
            uri: path of the request.
            headers: header fields, whatever their case.
            body: the whole body, chunks put together.

        Raises:
            OtaError: a field is missing or strange, or the body is no answer to a script.
        """
        fields = _lowered(headers)
        _require_protocol(fields)
        status = _status(fields.get("x-admin-script-status"))
        if body and fields.get("content-type", "").replace(" ", "") != RESPONSE_TYPE:
            raise OtaError("the body of the request is of another type")
        response = ExpandedResponse.parse(body) if body else None
        resume = fields.get("x-admin-resume", "").lower() == "true"
        agent = _required(fields, "x-admin-from")
        return cls(uri, _required(fields, "host"), agent, status, response, resume)


class Ending(Enum):
    """What an administration response tells the card to do after it."""

    RUN_AND_REPORT = "run the script, POST its answer to the next URI"
    RUN_AND_END = "run the script, its answer is not sent"
    CONTINUE = "no script: POST to the next URI"
    END = "the session is over"


@dataclass(frozen=True, slots=True)
class AdminResponse:
    """The server's response to a POST.

    Attributes:
        script: what to run; None for none.
        next_uri: where to POST the answer; None ends the session.
        target: the application that the script is for, when it is not the one that owns the pre-shared key.
    """

    script: ExpandedScript | None = None
    next_uri: str | None = None
    target: Aid | None = None

    @property
    def status_code(self) -> int:
        """200 with a script, 204 without."""
        return _NO_CONTENT if self.script is None else _OK

    @property
    def ending(self) -> Ending:
        """What the card does after this response."""
        if self.script is None:
            return Ending.END if self.next_uri is None else Ending.CONTINUE
        return Ending.RUN_AND_END if self.next_uri is None else Ending.RUN_AND_REPORT

    def headers(self) -> dict[str, str]:
        """Return the header fields of the response."""
        fields = {"X-Admin-Protocol": PROTOCOL}
        if self.next_uri is not None:
            fields["X-Admin-Next-URI"] = self.next_uri
        if self.target is not None:
            fields["X-Admin-Targeted-Application"] = aid_uri(self.target)
        if self.script is not None:
            fields |= {"Content-Type": COMMAND_TYPE, "Content-Length": str(len(self.body()))}
        return _checked(fields)

    def body(self) -> bytes:
        """Return the script in bytes."""
        return b"" if self.script is None else self.script.to_bytes()

    @classmethod
    def parse(cls, status_code: int, headers: Mapping[str, str], body: bytes) -> "AdminResponse":
        """Read a response as the card does.

        Raises:
            OtaError: another status code, a strange field, or a body that is no script.
        """
        fields = _lowered(headers)
        if status_code not in {_OK, _NO_CONTENT}:
            raise OtaError(f"status {status_code} is no administration response: the card retries")
        _require_protocol(fields)
        if bool(body) != (status_code == _OK):
            raise OtaError(f"status {status_code} does not fit a body of {len(body)} octets")
        if body and fields.get("content-type", "").replace(" ", "") != COMMAND_TYPE:
            raise OtaError("the body of the response is of another type")
        target = fields.get("x-admin-targeted-application")
        return cls(
            ExpandedScript.parse(body) if body else None,
            fields.get("x-admin-next-uri") or None,
            None if target is None else parse_aid_uri(target),
        )


def aid_uri(aid: Aid) -> str:
    """Return an AID as `//aid/RID/PIX`."""
    return f"//aid/{aid[:_RID_BYTES].hex().upper()}/{aid[_RID_BYTES:].hex().upper()}"


def parse_aid_uri(text: str) -> Aid:
    """Read `//aid/RID/PIX`.

    Raises:
        OtaError: it is no AID in this form.
    """
    parts = text.split("/")
    try:
        rid, pix = bytes.fromhex(parts[3]), bytes.fromhex(parts[4])
        if parts[:3] != ["", "", "aid"] or len(parts) != 5 or len(rid) != _RID_BYTES:
            raise ValueError
        return Aid(rid + pix)
    except (ValueError, IndexError, CardError):
        raise OtaError(f"{text[:60]!r} is no //aid/RID/PIX") from None


def encode_chunks(body: bytes, size: int) -> bytes:
    """Return a body in chunked transfer coding, for cards that ask for it (RFC 9112 §7.1).

    Raises:
        OtaError: the chunks would have no octets.
    """
    if size < 1:
        raise OtaError("a chunk has at least one octet")
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    coded = b"".join(b"%X\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return coded + b"0\r\n\r\n"


def decode_chunks(data: bytes) -> bytes:
    """Return the body in a chunked transfer coding; extensions and trailers are passed over.

    Raises:
        OtaError: it is cut off or malformed.
    """
    body, rest = b"", data
    while True:
        line, end, rest = rest.partition(b"\r\n")
        digits = line.partition(b";")[0].strip()
        if not end or not digits or digits.strip(b"0123456789abcdefABCDEF"):
            raise OtaError("the chunked body is malformed")
        size = int(digits, 16)
        if size == 0:
            if not (rest == b"\r\n" or rest.endswith(b"\r\n\r\n")):
                raise OtaError("the chunked body is cut off")
            return body
        if rest[size : size + 2] != b"\r\n":
            raise OtaError("the chunked body is cut off")
        body, rest = body + rest[:size], rest[size + 2 :]


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value.strip() for name, value in headers.items()}


def _checked(fields: dict[str, str]) -> dict[str, str]:
    """Refuse a value that would become a header field of its own."""
    for value in fields.values():
        header_text(value)
    return fields


def _required(fields: Mapping[str, str], name: str) -> str:
    value = fields.get(name)
    if not value:
        raise OtaError(f"header field {name} is missing")
    return value


def _require_protocol(fields: Mapping[str, str]) -> None:
    name, _, version = _required(fields, "x-admin-protocol").partition("/")
    if name != PROTOCOL.partition("/")[0] or not version.startswith("1."):
        raise OtaError("the other side speaks another administration protocol")


def _status(text: str | None) -> ScriptStatus | None:
    if text is None:
        return None
    try:
        return ScriptStatus(text)
    except ValueError:
        raise OtaError(f"script status {text[:40]!r} is not known") from None
