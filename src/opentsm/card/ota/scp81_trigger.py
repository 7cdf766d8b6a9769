"""What triggers an administration session over HTTP (SCP81): the objects in the message that orders it.

    81 { 83 { 84 connection  85 security  86 retry policy  89 { 8A host  8B agent id  8C URI } } … }

What is left out falls back to what the security domain has stored.
Source: GlobalPlatform Amendment B Table 3-3, §3.8.
"""

from dataclasses import dataclass
from typing import Final

from opentsm.card.codec.lv import lv, read_lv
from opentsm.card.codec.tlv import Tlv, encode_tlv, find, parse_tlv, parse_tlvs
from opentsm.card.errors import CardError, OtaError

_TRIGGER: Final = 0x81
_SESSION: Final = 0x83
_CONNECTION: Final = 0x84
_SECURITY: Final = 0x85
_RETRY: Final = 0x86
_HTTP: Final = 0x89
_HOST: Final = 0x8A
_AGENT: Final = 0x8B
_URI: Final = 0x8C
_RETRY_BYTES: Final = 7
_TIMER: Final = b"\x25\x03"
_LINE_END: Final = ("\r", "\n", "\0")


@dataclass(frozen=True, slots=True)
class PskReference:
    """Which pre-shared key opens the TLS connection.

    Attributes:
        identity: as sent in TLS; octets, not text.
        hash: octet that names the hash algorithm; None when absent.
    """

    identity: bytes
    kvn: int
    kid: int
    hash: int | None = None

    def to_bytes(self) -> bytes:
        """Encode the value of 85: the identity, then key version and key identifier."""
        return lv(self.identity) + lv(bytes((self.kvn, self.kid))) + (_octet(self.hash))

    @classmethod
    def parse(cls, data: bytes) -> "PskReference":
        """Decode the value of 85.

        Raises:
            OtaError: it is cut off, or the key reference has not two octets.
        """
        try:
            identity, offset = read_lv(data)
            key, end = read_lv(data, offset)
        except CardError as error:
            raise OtaError(str(error)) from error
        if len(key) != 2 or len(data) - end > 1:
            raise OtaError("a key reference has a key version and a key identifier")
        return cls(identity, key[0], key[1], data[end] if end < len(data) else None)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """What the card does when a session fails.

    Attributes:
        attempts: how often it tries again.
        delay_s: how long it waits before, up to 99 hours.
        report: CAT objects of a failure message; empty for none.
    """

    attempts: int
    delay_s: int
    report: bytes = b""

    def to_bytes(self) -> bytes:
        """Encode the value of 86: a counter of two octets, a timer in swapped decimal digits, the report.

        Raises:
            OtaError: a number is out of range.
        """
        hours, rest = divmod(self.delay_s, 3600)
        if not 0 <= self.attempts <= 0xFFFF or not 0 <= hours <= 99:
            raise OtaError("a retry policy has up to 65535 attempts and 99 hours")
        timer = bytes(_swapped(value) for value in (hours, rest // 60, rest % 60))
        return self.attempts.to_bytes(2, "big") + _TIMER + timer + self.report

    @classmethod
    def parse(cls, data: bytes) -> "RetryPolicy":
        """Decode the value of 86.

        Raises:
            OtaError: it is cut off, or the timer is none.
        """
        if len(data) < _RETRY_BYTES or data[2:4] != _TIMER:
            raise OtaError("a retry policy has a counter and a timer")
        hours, minutes, seconds = (_unswapped(octet) for octet in data[4:_RETRY_BYTES])
        if minutes > 59 or seconds > 59:
            raise OtaError("the timer of a retry policy is no time")
        return cls(
            int.from_bytes(data[:2], "big"), hours * 3600 + minutes * 60 + seconds, data[_RETRY_BYTES:]
        )


@dataclass(frozen=True, slots=True)
class SessionParameters:
    """What a trigger says; None leaves it to what is stored on the card.

    Attributes:
        connection: CAT objects of OPEN CHANNEL: bearer, buffer, transport, address.
        security: the pre-shared key.
        host, agent_id, uri: `Host`, `X-Admin-From` and the path of the first POST.
        other: objects that this reader does not know, as they came.
    """

    connection: bytes | None = None
    security: PskReference | None = None
    retry: RetryPolicy | None = None
    host: str | None = None
    agent_id: str | None = None
    uri: str | None = None
    other: tuple[Tlv, ...] = ()

    def to_bytes(self) -> bytes:
        """Encode the trigger, as it stands in the secured data of a message.

        Raises:
            OtaError: a text has line ends, or a number is out of range.
        """
        texts = ((_HOST, self.host), (_AGENT, self.agent_id), (_URI, self.uri))
        http = b"".join(encode_tlv(tag, header_text(text)) for tag, text in texts if text is not None)
        session = b"" if self.connection is None else encode_tlv(_CONNECTION, self.connection)
        session += b"" if self.security is None else encode_tlv(_SECURITY, self.security.to_bytes())
        session += b"" if self.retry is None else encode_tlv(_RETRY, self.retry.to_bytes())
        session += encode_tlv(_HTTP, http) if http else b""
        known = encode_tlv(_SESSION, session)
        return encode_tlv(_TRIGGER, known + b"".join(one.to_bytes() for one in self.other))

    @classmethod
    def parse(cls, data: bytes) -> "SessionParameters":
        """Decode a trigger.

        Raises:
            OtaError: it is malformed.
        """
        try:
            outer = parse_tlv(data)
            inside = parse_tlvs(outer.value) if outer.tag == _TRIGGER else ()
            session = parse_tlvs(find(inside, _SESSION) or b"")
            http = parse_tlvs(find(session, _HTTP) or b"")
        except CardError as error:
            raise OtaError(str(error)) from error
        if outer.tag != _TRIGGER:
            raise OtaError("this triggers no administration session")
        security, retry = find(session, _SECURITY), find(session, _RETRY)
        return cls(
            connection=find(session, _CONNECTION),
            security=None if security is None else PskReference.parse(security),
            retry=None if retry is None else RetryPolicy.parse(retry),
            host=_optional_text(http, _HOST),
            agent_id=_optional_text(http, _AGENT),
            uri=_optional_text(http, _URI),
            other=tuple(one for one in inside if one.tag != _SESSION),
        )


def _octet(value: int | None) -> bytes:
    return b"" if value is None else bytes((value,))


def _swapped(value: int) -> int:
    return value % 10 << 4 | value // 10


def _unswapped(octet: int) -> int:
    tens, units = octet & 0x0F, octet >> 4
    if tens > 9 or units > 9:
        raise OtaError("the timer of a retry policy has decimal digits")
    return tens * 10 + units


def header_text(text: str) -> bytes:
    """Return a text that may stand in a header field.

    Raises:
        OtaError: it has line ends, and would become a field of its own.
    """
    if any(end in text for end in _LINE_END):
        raise OtaError("a text for a header field has no line ends")
    return text.encode()


def _optional_text(objects: tuple[Tlv, ...], tag: int) -> str | None:
    value = find(objects, tag)
    if value is None:
        return None
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise OtaError(f"object {tag:02X} of the trigger is no text") from None
    header_text(text)
    return text
