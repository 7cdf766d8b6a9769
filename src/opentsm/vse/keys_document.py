"""The form of `keys.json`: the first key set of a card, and of the security domains that came with it."""

from collections.abc import Mapping
from typing import Final

_KEYS: Final = ("enc", "mac", "dek")
_KEY_LENGTHS: Final = (16, 24, 32)
_VERSIONS: Final = range(1, 0x100)
_AID_LENGTHS: Final = range(5, 17)


def check_keys_document(document: Mapping[str, object]) -> None:
    """Refuse what no card's maker wrote; the message names the member and never its value.

    Args:
        document: what `keys.json` holds.

    Raises:
        ValueError: a member is missing, unknown or malformed.
    """
    _check_set(document, "keys", optional=frozenset({"domains"}))
    domains = document.get("domains", {})
    if not isinstance(domains, dict):
        raise ValueError("keys: domains is no object")
    for aid, keys in domains.items():
        if len(_bytes(aid, "keys: an AID in domains")) not in _AID_LENGTHS:
            raise ValueError("keys: an AID in domains has 5 to 16 bytes")
        if not isinstance(keys, dict):
            raise ValueError(f"keys of {aid}: no object")
        _check_set(keys, f"keys of {aid}")


def _check_set(keys: Mapping[str, object], name: str, optional: frozenset[str] = frozenset()) -> None:
    required = {"kvn", *_KEYS}
    if keys.keys() - optional != required:
        raise ValueError(f"{name}: the members are kvn, enc, mac and dek")
    version = _bytes(keys["kvn"], f"{name}: kvn")
    if len(version) != 1 or version[0] not in _VERSIONS:
        raise ValueError(f"{name}: kvn is one byte, 01 to FF")
    lengths = {len(_bytes(keys[key], f"{name}: {key}")) for key in _KEYS}
    if len(lengths) != 1 or not lengths <= set(_KEY_LENGTHS):
        raise ValueError(f"{name}: enc, mac and dek have 16, 24 or 32 bytes, all the same")


def _bytes(value: object, name: str) -> bytes:
    """Read hexadecimal digits; the error of the conversion would show them."""
    try:
        if isinstance(value, str) and len(value) % 2 == 0 and value.isalnum():
            return bytes.fromhex(value)
    except ValueError:
        pass
    raise ValueError(f"{name} is no hexadecimal string")
