"""Confirmations: what DELETE, INSTALL and LOAD answer under delegated management.

Specification: GlobalPlatform Card Specification 2.3.1, §11.1.6.
"""

from dataclasses import dataclass

from opentsm.card.codec.tlv import decode_length
from opentsm.card.errors import CardError, ResponseFormatError


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A receipt of delegated management; `data` is what the receipt signs before its context."""

    receipt: bytes
    data: bytes
    counter: int
    sd_unique_data: bytes
    token_id: bytes | None = None
    token_digest: bytes | None = None


def parse_confirmation(data: bytes) -> Confirmation | None:
    """Read the answer of DELETE, INSTALL or LOAD.

    Args:
        data: response data; `00` and empty mean that there is no receipt. The outer length that
            the text demands may be missing, as on some cards.
    Raises:
        ResponseFormatError: neither form fits.
    Source: GPCS §11.1.6.
    """
    if data in (b"", b"\x00"):
        return None
    for candidate in _confirmation_candidates(data):
        try:
            return _confirmation(candidate)
        except CardError:
            continue
    raise ResponseFormatError(f"not a confirmation: {data.hex().upper()}")


def _confirmation_candidates(data: bytes) -> list[bytes]:
    try:
        length, start = decode_length(data)
    except CardError:
        return [data]
    return [data[start:], data] if start + length == len(data) else [data]


def _confirmation(data: bytes) -> Confirmation:
    receipt, rest = _ber_lv(data)
    counter, after_counter = _ber_lv(rest)
    unique, tail = _ber_lv(after_counter)
    token_id, tail = _ber_lv(tail) if tail else (None, b"")
    digest, tail = _ber_lv(tail) if tail else (None, b"")
    if len(counter) != 2 or tail or not receipt:
        raise ResponseFormatError
    return Confirmation(receipt, rest, int.from_bytes(counter, "big"), unique, token_id, digest)


def _ber_lv(data: bytes) -> tuple[bytes, bytes]:
    length, start = decode_length(data)
    if start + length > len(data):
        raise ResponseFormatError
    return data[start : start + length], data[start + length :]
