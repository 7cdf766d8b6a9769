"""What the card's content costs in non-volatile memory.

The cost is a function of the content alone, so that deleting an object gives back exactly what it took.
Source: GPCS 2.3.1 §9.7.
"""

from collections.abc import Iterable
from typing import Final

from opentsm.vse.state import CardImage, Contactless, DomainData, Instance, Key, LoadFile

INSTANCE_BYTES: Final = 64
LOAD_FILE_BYTES: Final = 32
KEY_BYTES: Final = 8


def load_file_cost(entry: LoadFile) -> int:
    """Return the bytes that a load file takes; one in ROM takes none."""
    return 0 if entry.rom else LOAD_FILE_BYTES + entry.size


def instance_cost(entry: Instance) -> int:
    """Return the bytes that an instance takes: itself, its data (at least what it reserved) and its keys."""
    data = stored_cost(entry.store.items()) + (domain_cost(entry.domain) if entry.domain else 0)
    return INSTANCE_BYTES + contactless_cost(entry.contactless) + max(entry.reserved, data)


def contactless_cost(entry: Contactless | None) -> int:
    """Return the bytes that an application's entry in the contactless registry takes."""
    if entry is None:
        return 0
    values = [*entry.protocols.values(), *entry.objects.values()]
    return len(entry.head) + sum(map(len, [*values, *entry.joinable, *entry.listeners, *entry.policy]))


def stored_cost(items: Iterable[tuple[str, bytes]]) -> int:
    """Return the bytes that an applet's data takes."""
    return sum(len(name) + len(value) for name, value in items)


def domain_cost(domain: DomainData) -> int:
    """Return the bytes that a security domain's keys and data objects take."""
    kept = (*domain.objects.values(), *domain.certificates.values(), *domain.authorities.values())
    serials = (serial for listed in domain.allowlists.values() for serial in listed)
    return sum(map(key_cost, domain.keys)) + sum(map(len, kept)) + sum(map(len, serials))


def key_cost(key: Key) -> int:
    """Return the bytes that a key takes."""
    return KEY_BYTES + sum(len(component.value) for component in key.components)


def used(image: CardImage) -> int:
    """Return the bytes taken by everything but the factory image's read-only part.

    The issuer security domain's own record is part of the card, its keys and data are not.
    """
    files = sum(map(load_file_cost, image.load_files))
    return files + sum(map(instance_cost, image.instances)) - INSTANCE_BYTES
