"""Reading the length-value fields and data objects of commands; whatever is malformed is 6A80."""

from opentsm.card.codec.lv import read_ber_lv, read_lv
from opentsm.card.codec.tlv import Tlv, parse_tlvs
from opentsm.card.errors import TlvError
from opentsm.vse.status import SW_WRONG_DATA, StatusError


class FieldReader:
    """Reads the fields of one command from left to right."""

    __slots__ = ("_data", "_offset")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._offset = 0

    def lv(self, *, minimum: int = 0, maximum: int = 0x7F) -> bytes:
        """Return the next field with a one-byte length.

        Raises:
            StatusError: 6A80 when it is cut off or its length is out of range.
        """
        try:
            value, self._offset = read_lv(self._data, self._offset)
        except TlvError:
            raise StatusError(SW_WRONG_DATA) from None
        if not minimum <= len(value) <= maximum:
            raise StatusError(SW_WRONG_DATA)
        return value

    def ber_lv(self) -> bytes:
        """Return the next field with a BER length, where a length of 128 may be coded as 80 (§11.5.2.3).

        Raises:
            StatusError: 6A80 when it is cut off.
        """
        try:
            value, self._offset = read_ber_lv(self._data, self._offset, eighty_is_128=True)
        except TlvError:
            raise StatusError(SW_WRONG_DATA) from None
        return value

    def aid(self, *, optional: bool = False) -> bytes:
        """Return the next field as an AID of 5 to 16 bytes, or nothing where that is allowed."""
        value = self.lv(maximum=16)
        if len(value) < 5 and not (optional and not value):
            raise StatusError(SW_WRONG_DATA)
        return value

    def empty(self) -> None:
        """Pass over a field that must be empty."""
        self.lv(maximum=0)

    def byte(self) -> int:
        """Return the next byte."""
        if self.at_end:
            raise StatusError(SW_WRONG_DATA)
        self._offset += 1
        return self._data[self._offset - 1]

    def peek(self) -> int | None:
        """Return the next byte without reading it, or None at the end."""
        return None if self.at_end else self._data[self._offset]

    @property
    def passed(self) -> bytes:
        """All that was read so far."""
        return self._data[: self._offset]

    def take(self, length: int) -> bytes:
        """Return the next `length` bytes."""
        if self._offset + length > len(self._data):
            raise StatusError(SW_WRONG_DATA)
        self._offset += length
        return self._data[self._offset - length : self._offset]

    @property
    def at_end(self) -> bool:
        """Tell whether all is read."""
        return self._offset >= len(self._data)

    def end(self) -> None:
        """Refuse what follows the last field."""
        if not self.at_end:
            raise StatusError(SW_WRONG_DATA)


def data_objects(data: bytes) -> tuple[Tlv, ...]:
    """Return the BER-TLV data objects in a command.

    Raises:
        StatusError: 6A80 when they are malformed.
    """
    try:
        return parse_tlvs(data)
    except TlvError:
        raise StatusError(SW_WRONG_DATA) from None


def distinct_objects(data: bytes, *, several: int | None = None) -> tuple[Tlv, ...]:
    """Return the BER-TLV data objects of a template in which each stands once: of two, neither can be right.

    Args:
        data: the template's value.
        several: the one tag that may stand more than once.

    Raises:
        StatusError: 6A80 when they are malformed, or one stands twice.
    """
    objects = data_objects(data)
    tags = [entry.tag for entry in objects if entry.tag != several]
    if len(set(tags)) != len(tags):
        raise StatusError(SW_WRONG_DATA)
    return objects
