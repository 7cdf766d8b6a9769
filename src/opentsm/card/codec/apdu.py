"""Command and response APDUs, cases 1 to 4, short and extended.

Source: ISO/IEC 7816-4:2013 §5.2 (command-response pairs), §5.3.
"""

from dataclasses import dataclass, replace

from opentsm.card.errors import ApduError

# Bytes of data, bytes expected.
_SHORT_LIMITS = _SHORT_DATA, _SHORT_NE = 0xFF, 0x100
_EXTENDED_LIMITS = _EXTENDED_DATA, _EXTENDED_NE = 0xFFFF, 0x10000


@dataclass(frozen=True, slots=True)
class CommandApdu:
    """A command: header, data and the number of response bytes expected.

    `ne` is None when no data is expected (no Le), 256 for a short Le of 00, 65536 for an extended 0000.
    """

    cla: int
    ins: int
    p1: int
    p2: int
    data: bytes = b""
    ne: int | None = None
    extended: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.cla | self.ins | self.p1 | self.p2 <= 0xFF:
            raise ApduError("CLA, INS, P1 and P2 have one byte each")
        max_data, max_ne = _EXTENDED_LIMITS if self.extended else _SHORT_LIMITS
        if len(self.data) > max_data:
            raise ApduError(f"{self._kind} command holds at most {max_data} data bytes, not {len(self.data)}")
        if self.ne is not None and not 1 <= self.ne <= max_ne:
            raise ApduError(f"{self._kind} command can expect 1 to {max_ne} bytes, not {self.ne}")

    @property
    def _kind(self) -> str:
        return "an extended" if self.extended else "a short"

    @property
    def header(self) -> bytes:
        """CLA, INS, P1 and P2."""
        return bytes((self.cla, self.ins, self.p1, self.p2))

    def with_data(self, data: bytes) -> "CommandApdu":
        """Return the same command with other data."""
        return replace(self, data=data)

    def to_bytes(self) -> bytes:
        """Encode the command; Lc is absent without data, Le is absent without `ne`."""
        return encode_command(self.cla, self.ins, self.p1, self.p2, self.data, self.ne, self.extended)

    @classmethod
    def parse(cls, raw: bytes) -> "CommandApdu":
        """Decode a command.

        Args:
            raw: 4 to 65544 bytes.

        Returns:
            The command; `extended` tells how the lengths were coded.

        Raises:
            ApduError: the lengths do not fit any of the seven forms.
        """
        if len(raw) < 4:
            raise ApduError(f"a command has at least 4 bytes, not {len(raw)}")
        body = raw[4:]
        data, ne, extended = _parse_extended(body) if _is_extended(body) else _parse_short(body)
        return cls(raw[0], raw[1], raw[2], raw[3], data, ne, extended)


@dataclass(frozen=True, slots=True)
class ResponseApdu:
    """An answer: data and status word."""

    data: bytes
    sw: int

    def __post_init__(self) -> None:
        if not 0 <= self.sw <= 0xFFFF:
            raise ApduError(f"a status word has two bytes, not {self.sw:X}")

    @property
    def sw1(self) -> int:
        """First byte of the status word."""
        return self.sw >> 8

    @property
    def sw2(self) -> int:
        """Second byte of the status word."""
        return self.sw & 0xFF

    def to_bytes(self) -> bytes:
        """Encode the answer."""
        return self.data + self.sw.to_bytes(2, "big")

    @classmethod
    def parse(cls, raw: bytes) -> "ResponseApdu":
        """Decode an answer.

        Raises:
            ApduError: there is no status word.
        """
        if len(raw) < 2:
            raise ApduError(f"an answer has at least 2 bytes, not {len(raw)}")
        return cls(raw[:-2], int.from_bytes(raw[-2:], "big"))


def encode_command(  # noqa: PLR0917 - a command has these fields, in this order
    cla: int, ins: int, p1: int, p2: int, data: bytes, ne: int | None = None, extended: bool = False
) -> bytes:
    """Encode a command from its fields, without the object: for what is encoded and sent at once.

    Args:
        cla: as the others a byte.
        ins: instruction.
        p1: first parameter.
        p2: second parameter.
        data: at most 255 bytes, extended 65535.
        ne: bytes expected, as in `CommandApdu`.
        extended: the form of the lengths.

    Raises:
        ApduError: more data than the form holds.
    """
    size = len(data)
    if not extended:
        if size > _SHORT_DATA:
            raise ApduError(f"a short command holds at most {_SHORT_DATA} data bytes, not {size}")
        head = bytes((cla, ins, p1, p2, size)) + data if size else bytes((cla, ins, p1, p2))
        return head if ne is None else head + bytes((ne & 0xFF,))
    if size > _EXTENDED_DATA:
        raise ApduError(f"an extended command holds at most {_EXTENDED_DATA} data bytes, not {size}")
    head = bytes((cla, ins, p1, p2, 0)) if size or ne is not None else bytes((cla, ins, p1, p2))
    body = size.to_bytes(2, "big") + data if size else b""
    return head + body if ne is None else head + body + (ne & 0xFFFF).to_bytes(2, "big")


def _is_extended(body: bytes) -> bool:
    return len(body) > 1 and body[0] == 0


def _parse_short(body: bytes) -> tuple[bytes, int | None, bool]:
    if not body:
        return b"", None, False
    if len(body) == 1:
        return b"", body[0] or _SHORT_NE, False
    end = 1 + body[0]
    if len(body) == end:
        return body[1:], None, False
    if len(body) == end + 1:
        return body[1:end], body[end] or _SHORT_NE, False
    raise ApduError(f"Lc says {body[0]} data bytes, {len(body) - 1} bytes follow it")


def _parse_extended(body: bytes) -> tuple[bytes, int | None, bool]:
    if len(body) < 3:
        raise ApduError("extended length field is cut off")
    length = int.from_bytes(body[1:3], "big")
    if len(body) == 3:
        return b"", length or _EXTENDED_NE, True
    end = 3 + length
    if length and len(body) == end:
        return body[3:], None, True
    if length and len(body) == end + 2:
        return body[3:end], int.from_bytes(body[end:], "big") or _EXTENDED_NE, True
    raise ApduError(f"extended Lc says {length} data bytes, {len(body) - 3} bytes follow it")
