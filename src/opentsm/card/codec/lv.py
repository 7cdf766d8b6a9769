"""Length-value fields: `L` with a one-byte length and `P` with a BER length.

Source: GPCS 2.3.1 §11.1.5, §11.5.2.3 (INSTALL data fields).
"""

from opentsm.card.codec.tlv import decode_length, encode_length
from opentsm.card.errors import TlvError


def lv(value: bytes) -> bytes:
    """Prefix `value` with its length in one byte.

    Args:
        value: 0 to 255 bytes.

    Raises:
        TlvError: the value is longer.
    """
    if len(value) > 0xFF:
        raise TlvError(f"{len(value)} bytes do not fit behind a one-byte length")
    return bytes((len(value),)) + value


def ber_lv(value: bytes) -> bytes:
    """Prefix `value` with its BER length."""
    return encode_length(len(value)) + value


def read_lv(data: bytes, offset: int = 0) -> tuple[bytes, int]:
    """Read a value with a one-byte length at `offset`.

    Returns:
        The value and the offset behind it.

    Raises:
        TlvError: the field is cut off.
    """
    if not 0 <= offset < len(data):
        raise TlvError(f"no length field at offset {offset}: the data ends there")
    return _value(data, offset + 1, data[offset])


def read_ber_lv(data: bytes, offset: int = 0, *, eighty_is_128: bool = False) -> tuple[bytes, int]:
    """Read a value with a BER length at `offset`.

    Args:
        data: bytes that hold the field.
        offset: where it starts.
        eighty_is_128: see `decode_length`.

    Returns:
        The value and the offset behind it.

    Raises:
        TlvError: the field is malformed or cut off.
    """
    length, start = decode_length(data, offset, eighty_is_128=eighty_is_128)
    return _value(data, start, length)


def _value(data: bytes, start: int, length: int) -> tuple[bytes, int]:
    end = start + length
    if end > len(data):
        raise TlvError(f"field at offset {start} promises {length} bytes, {len(data) - start} are there")
    return data[start:end], end
