"""Which addresses the TSM may call on behalf of others: public ones, and what the operator allows.

A party chooses where it is called. Without this check it could have the server speak to the operator's own
network, to which the server has access and the party has not (server-side request forgery).
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# RFC 6052 §2.1 and RFC 8215: the last 32 bits are an IPv4 address that a gateway calls
_TRANSLATED = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))


def may_call(address: str, allowed: Sequence[Network]) -> bool:
    """Say whether an address, in text form, may be called.

    Args:
        address: IPv4 or IPv6; what is neither may not be called.
        allowed: networks that the operator allows although they are not public.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return all(_public(one) or _within(one, allowed) for one in _meant(found))


def _meant(address: Address) -> tuple[Address, ...]:
    """Return the address, or those that it stands for: an IPv4 address inside one of IPv6 counts too."""
    if isinstance(address, IPv4Address):
        return (address,)
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    inside = (address.sixtofour, address.teredo[1] if address.teredo else None, _translated(address))
    return (address, *(one for one in inside if one is not None))


def _translated(address: IPv6Address) -> IPv4Address | None:
    if any(address in network for network in _TRANSLATED):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def _public(address: Address) -> bool:
    special = address.is_multicast or address.is_reserved or address.is_unspecified or address.is_loopback
    if isinstance(address, IPv6Address) and any(address in network for network in _TRANSLATED):
        return True  # what it stands for is looked at beside it
    return address.is_global and not special


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
