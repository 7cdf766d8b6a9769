"""Application identifiers.

Source: ISO/IEC 7816-4:2013 §12.2.3; GPCS 2.3.1 §4.1.
"""

from opentsm.card.errors import AidError


class Aid(bytes):
    """An application identifier: 5 to 16 bytes, of which the first 5 are the RID."""

    __slots__ = ()

    def __new__(cls, value: bytes) -> "Aid":
        if not 5 <= len(value) <= 16:
            raise AidError(f"an application identifier has 5 to 16 bytes, not {len(value)}")
        return super().__new__(cls, value)

    @classmethod
    def from_hex(cls, text: str) -> "Aid":
        """Read an AID from hex digits; blanks between bytes are allowed.

        Raises:
            AidError: the text is not hex, or not 5 to 16 bytes long.
        """
        try:
            value = bytes.fromhex(text)
        except ValueError as error:
            raise AidError(f"an application identifier is written in hex: {text!r}") from error
        return cls(value)

    @property
    def rid(self) -> bytes:
        """The registered application provider identifier, 5 bytes."""
        return self[:5]

    def __str__(self) -> str:
        return self.hex().upper()

    def __repr__(self) -> str:
        return f"Aid({self})"
