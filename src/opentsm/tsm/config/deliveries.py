"""Settings of calls to others: webhooks and service providers' online systems."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from opentsm.tsm.config.values import boolean, seconds

if TYPE_CHECKING:
    from opentsm.tsm.config import Getter, OptionalGetter

_DEFAULT_TIMEOUT_S = 15.0
MAX_TIMEOUT_S = 30.0  # well below the time for which a worker leases what it sends
Networks = tuple[IPv4Network | IPv6Network, ...]


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """Where may be called, how, and for how long it is tried."""

    allowed_networks: Networks
    allow_http: bool
    timeout_s: float
    give_up_s: float
    disable_after_s: float
    client_certificate: Path | None
    client_key: Path | None


def delivery_settings(get: Getter, optional: OptionalGetter) -> DeliverySettings:
    """Read the settings."""
    return DeliverySettings(
        allowed_networks=optional(
            "deliveries.allowed_networks", networks, "networks, with commas, that may be called too"
        )
        or (),
        allow_http=get("deliveries.allow_http", boolean, False, "call http:// addresses too"),
        timeout_s=get("deliveries.timeout_s", _timeout, _DEFAULT_TIMEOUT_S, "time of one call"),
        give_up_s=get("deliveries.give_up_s", seconds, 72 * 3600.0, "how long a delivery is tried"),
        disable_after_s=get(
            "deliveries.disable_after_s",
            seconds,
            120 * 3600.0,
            "an endpoint that took nothing for so long is disabled",
        ),
        client_certificate=optional(
            "deliveries.client_certificate", Path, "PEM file of the TSM's certificate for calls"
        ),
        client_key=optional("deliveries.client_key", Path, "PEM file of that certificate's key"),
    )


def networks(text: str) -> Networks:
    """Read networks: `10.0.0.0/8, fd00::/8`."""
    try:
        return tuple(ip_network(one.strip()) for one in text.split(",") if one.strip())
    except ValueError as error:
        raise ValueError(f"networks such as 10.0.0.0/8 are needed, with commas: {error}") from None


def _timeout(text: str) -> float:
    found = seconds(text)
    if found > MAX_TIMEOUT_S:
        raise ValueError(f"at most {MAX_TIMEOUT_S:g} seconds are possible")
    return found
