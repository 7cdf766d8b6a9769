"""Settings of the work with other TSMs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from opentsm.tsm.config.values import boolean, seconds

if TYPE_CHECKING:
    from opentsm.tsm.config import Getter, OptionalGetter


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """How other TSMs are called; `authorities` is a PEM file of who certifies them (none: the system's)."""

    allow_http: bool
    timeout_s: float
    authorities: Path | None


def peer_settings(get: Getter, optional: OptionalGetter) -> PeerSettings:
    """Read the settings."""
    return PeerSettings(
        allow_http=get("peers.allow_http", boolean, False, "call other TSMs at http:// addresses too"),
        timeout_s=get("peers.timeout_s", seconds, 10.0, "time of one call to another TSM"),
        authorities=optional("peers.authorities", Path, "PEM file of who certifies other TSMs"),
    )
