"""Settings of attestation tokens: how they name this installation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from opentsm.card.gp.attestation import encode_object_identifier

if TYPE_CHECKING:
    from opentsm.tsm.config import Getter

# An object identifier from a UUID needs no registration (ITU-T X.667).
TSM_IDENTIFIER: Final = f"2.25.{UUID('2667e973-d32c-42c1-a6ca-338d03c88c24').int}"
MAX_IDENTIFIER_BYTES: Final = 64
_DOTTED = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+", re.ASCII)
_MAX_TEXT = 300  # what so many bytes can hold, in decimal figures and dots


@dataclass(frozen=True, slots=True)
class AttestationSettings:
    """How attestation tokens name the TSM (tag 80), as a dotted object identifier."""

    tsm_identifier: str


def attestation_settings(get: Getter) -> AttestationSettings:
    """Read the settings."""
    return AttestationSettings(
        tsm_identifier=get(
            "attestation.tsm_identifier",
            object_identifier,
            TSM_IDENTIFIER,
            "object identifier of this TSM in attestation tokens",
        )
    )


def object_identifier(text: str) -> str:
    """Read an object identifier: `1.3.6.1.4.1.99999.1`."""
    needed = (
        f"an object identifier such as 1.3.6.1.4.1.99999.1 is needed, {MAX_IDENTIFIER_BYTES} bytes at most"
    )
    if len(text) > _MAX_TEXT or _DOTTED.fullmatch(text) is None:
        raise ValueError(needed)
    try:
        encoded = encode_object_identifier(text)
    except ValueError:
        raise ValueError(needed) from None
    if len(encoded) > MAX_IDENTIFIER_BYTES:
        raise ValueError(needed)
    return text
