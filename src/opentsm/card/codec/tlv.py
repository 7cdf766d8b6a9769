"""BER-TLV data objects: encode, parse, look up.

Tags are integers as printed (`0x4F`, `0x9F70`, `0xBF0C`); no byte is ever skipped silently.
Source: ISO/IEC 7816-4:2013 §5.2.2; GPCS 2.3.1 §11.1.5 (length fields).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from opentsm.card.errors import TlvError

_MAX_LENGTH_BYTES = 4


@dataclass(frozen=True, slots=True)
class Tlv:
    """One data object: `tag` as an integer, `value` without tag and length."""

    tag: int
    value: bytes

    def to_bytes(self) -> bytes:
        """Encode the data object."""
        return encode_tlv(self.tag, self.value)


def encode_length(n: int) -> bytes:
    """Encode a BER length in its shortest form.

    Args:
        n: 0 to 2**32 - 1.

    Returns:
        1 to 5 bytes.

    Raises:
        TlvError: `n` is out of range.
    """
    if 0 <= n < 0x80:
        return bytes((n,))
    if n < 0 or n >> (8 * _MAX_LENGTH_BYTES):
        raise TlvError(f"a BER length cannot be {n}")
    size = (n.bit_length() + 7) // 8
    return bytes((0x80 | size,)) + n.to_bytes(size, "big")


def decode_length(data: bytes, offset: int = 0, *, eighty_is_128: bool = False) -> tuple[int, int]:
    """Decode the BER length at `offset`; longer forms than needed are accepted.

    Args:
        data: bytes that hold the length field.
        offset: where it starts.
        eighty_is_128: read the single byte 80 as 128, for tokens, INSTALL parameters and PUT KEY only
            (GPCS 2.3.1 §11.5.2.3, §11.8.2.3.1).

    Returns:
        The length and the offset behind the field.

    Raises:
        TlvError: the field is cut off, indefinite or longer than 4 bytes.
    """
    if not 0 <= offset < len(data):
        raise TlvError(f"no length field at offset {offset}: the data ends there")
    first = data[offset]
    if first < 0x80:
        return first, offset + 1
    if first == 0x80:
        if eighty_is_128:
            return 128, offset + 1
        raise TlvError(f"indefinite length at offset {offset}")
    size = first & 0x7F
    end = offset + 1 + size
    if size > _MAX_LENGTH_BYTES:
        raise TlvError(f"length field of {size} bytes at offset {offset}: more than {_MAX_LENGTH_BYTES}")
    if end > len(data):
        raise TlvError(f"length field at offset {offset} is cut off")
    return int.from_bytes(data[offset + 1 : end], "big"), end


def encode_tlv(tag: int, value: bytes) -> bytes:
    """Encode one data object.

    Args:
        tag: a BER tag of 1 to 4 bytes as an integer.
        value: any bytes.

    Returns:
        Tag, length and value.

    Raises:
        TlvError: the integer is no BER tag.
    """
    return _encode_tag(tag) + encode_length(len(value)) + value


def parse_tlvs(data: bytes) -> tuple[Tlv, ...]:
    """Parse a sequence of data objects that fills `data` completely.

    Args:
        data: zero or more data objects, nothing between or after them.

    Returns:
        The data objects in order; constructed ones are not opened.

    Raises:
        TlvError: with the offset and the reason.
    """
    found: list[Tlv] = []
    offset = 0
    while offset < len(data):
        tlv, offset = _parse_at(data, offset)
        found.append(tlv)
    return tuple(found)


def parse_tlv(data: bytes) -> Tlv:
    """Parse exactly one data object.

    Raises:
        TlvError: `data` is empty, malformed, or goes on behind the first data object.
    """
    if not data:
        raise TlvError("one data object expected, no data found")
    tlv, end = _parse_at(data, 0)
    if end != len(data):
        raise TlvError(f"one data object expected, more data found at offset {end}")
    return tlv


def find(tlvs: Iterable[Tlv], tag: int) -> bytes | None:
    """Return the value of the first data object with `tag`, or None."""
    return next((tlv.value for tlv in tlvs if tlv.tag == tag), None)


def find_all(tlvs: Iterable[Tlv], tag: int) -> tuple[bytes, ...]:
    """Return the values of all data objects with `tag`, in order."""
    return tuple(tlv.value for tlv in tlvs if tlv.tag == tag)


def require(tlvs: Iterable[Tlv], tag: int) -> bytes:
    """Return the value of the first data object with `tag`.

    Raises:
        TlvError: there is none.
    """
    value = find(tlvs, tag)
    if value is None:
        raise TlvError(f"data object {tag:02X} is missing")
    return value


def _encode_tag(tag: int) -> bytes:
    if not 0 < tag <= 0xFFFFFFFF:
        raise TlvError(f"no BER tag: {tag}")
    encoded = tag.to_bytes((tag.bit_length() + 7) // 8, "big")
    if _tag_end(encoded, 0) != len(encoded):
        raise TlvError(f"no BER tag: {tag:02X}")
    return encoded


def _tag_end(data: bytes, offset: int) -> int:
    """Return the offset behind the tag at `offset`."""
    if data[offset] == 0:
        raise TlvError(f"no tag at offset {offset}: byte 00")
    end = offset + 1
    if data[offset] & 0x1F != 0x1F:
        return end
    while end < len(data):
        end += 1
        if not data[end - 1] & 0x80:
            return end
    raise TlvError(f"tag at offset {offset} is cut off")


def _parse_at(data: bytes, offset: int) -> tuple[Tlv, int]:
    tag_end = _tag_end(data, offset)
    length, start = decode_length(data, tag_end)
    end = start + length
    tag = int.from_bytes(data[offset:tag_end], "big")
    if end > len(data):
        raise TlvError(
            f"data object {tag:02X} at offset {offset} promises {length} bytes, {len(data) - start} are there"
        )
    return Tlv(tag, data[start:end]), end
