"""Settings of what one address, or one request, may ask of a server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentsm.tsm.config.values import count, seconds

if TYPE_CHECKING:
    from opentsm.tsm.config import Getter

DEFAULT_IMPORT_BYTES = 64 * 1024 * 1024
DEFAULT_FAILED_PROOFS = 100
DEFAULT_WINDOW_S = 10.0


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """What a server bears; `docs/reference/http.md` describes each."""

    import_bytes: int
    failed_proofs: int
    failed_proofs_window_s: float


def limit_settings(get: Getter) -> LimitSettings:
    """Read the limits."""
    return LimitSettings(
        import_bytes=get(
            "limits.import_bytes", count, DEFAULT_IMPORT_BYTES, "most bytes of one import of secure elements"
        ),
        failed_proofs=get(
            "limits.failed_proofs",
            count,
            DEFAULT_FAILED_PROOFS,
            "failed tokens, codes or assertions of an address in a window",
        ),
        failed_proofs_window_s=get(
            "limits.failed_proofs_window_s", seconds, DEFAULT_WINDOW_S, "length of that window"
        ),
    )
