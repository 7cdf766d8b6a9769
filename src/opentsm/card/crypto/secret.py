"""Key bytes that do not leak by accident: no text form, no pickling, constant-time comparison."""

from hmac import compare_digest
from typing import ClassVar, NoReturn, final


@final
class Secret:
    """Clear key bytes; whoever needs them says so with `reveal`.

    Its repr shows the length only: bytes alone have no algorithm, which a check value (GPCS §B.6) needs.
    """

    __slots__ = ("_value",)
    # Equal by value and unhashable: a hash of the value would be a digest of the key.
    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __init__(self, value: bytes) -> None:
        self._value = bytes(value)

    def reveal(self) -> bytes:
        """Return the clear bytes."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return compare_digest(self._value, other._value)

    def __repr__(self) -> str:
        return f"<Secret {len(self._value)} bytes>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not written anywhere")
