"""What may be said again to whoever sent it, and be logged: nothing that may be a key or a card number.

Callers put secrets into wrong fields. The last line of defence, not the first: messages do not repeat values
of fields that hold secrets.
"""

import re
from typing import Final

VEIL: Final = "(hidden)"
# A key has 16 bytes at least, a card number (ISO/IEC 7812-1) 12 to 19 digits here; a UUID is neither.
_UUID: Final = r"(?P<uuid>[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})"
_HEX_OR_DIGITS: Final = re.compile(
    rf"(?<![0-9A-Za-z])(?:{_UUID}|[0-9A-Fa-f]{{32,}}|[0-9]{{12,}})(?![0-9A-Za-z])"
)
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{20,}={0,2}")
_BASE64_SEGMENT: Final = re.compile(r"[A-Za-z0-9+_-]{20,}={0,2}")
_CLASSES: Final = tuple(map(re.compile, ("[a-z]", "[A-Z]", "[0-9]")))


def veiled(text: str, *, paths: bool = False) -> str:
    """Return a text without what may be a key (hex, base64), a token or a card number.

    Args:
        text: any text; identifiers of this TSM (UUID), AIDs of less than 16 bytes and words stay.
        paths: the text holds paths of files, which look like base64 but for their slashes.
    """
    text = _HEX_OR_DIGITS.sub(lambda match: match["uuid"] or VEIL, text)
    return (_BASE64_SEGMENT if paths else _BASE64).sub(_veil_base64, text)


def may_be_secret(text: str) -> bool:
    """Say whether a name looks like a key or a card number, put there by mistake."""
    return veiled(text) != text


def _veil_base64(match: re.Match[str]) -> str:
    return VEIL if all(kind.search(match[0]) for kind in _CLASSES) else match[0]
