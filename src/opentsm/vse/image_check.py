"""Whether an image that came from elsewhere could be a card's: references, sizes and ranges.

The card trusts its own memory; what a document brings is checked here before it becomes one.
Source: GPCS 2.3.1 §5.1, §5.3 (life cycles), §6.5.1.1 (AIDs), §7.2 (hierarchy), §11.1.1.
"""

from collections.abc import Iterator
from typing import Final

from opentsm.vse.keysets import is_remote_version
from opentsm.vse.lifecycle import CardState
from opentsm.vse.state import (
    SYMMETRIC_AES,
    SYMMETRIC_DES,
    CardImage,
    Contactless,
    DomainData,
    Instance,
    Key,
    LoadFile,
)

_AID_LENGTHS: Final = range(5, 17)
_BYTE: Final = range(0x100)
_TAG: Final = range(1, 0x10000)
_PRIVILEGES: Final = range(0x1000000)
_KEY_IDENTIFIERS: Final = range(0x80)
_COUNTER: Final = range(0x1000000)
_REMOTE_COUNTER: Final = range(0x10000000000)
_CONFIRMATIONS: Final = range(0x10000)
_SIZE: Final = range(1 << 31)
_KDD_BYTES, _CPLC_BYTES = 10, 42
_SYMMETRIC_LENGTHS: Final = {SYMMETRIC_DES: (16, 24), SYMMETRIC_AES: (16, 24, 32)}
# b1 and b2 are set in each state of an application or security domain, LOCKED included (Table 11-4).
_LIVING: Final = 0x03


def check_image(image: CardImage) -> None:
    """Refuse an image that no card could have written.

    Raises:
        ValueError: with the first thing that is wrong.
    """
    for complaint in _complaints(image):
        raise ValueError(complaint)


def _complaints(image: CardImage) -> Iterator[str]:
    if not image.instances or image.isd.domain is None or image.isd.sd != image.isd.aid:
        yield "the first instance is no issuer security domain"
        return
    if image.isd.state not in set(CardState):
        yield f"a card has no state {image.isd.state}"
    if len(image.identity.kdd) != _KDD_BYTES or len(image.identity.cplc) != _CPLC_BYTES:
        yield "key diversification data has 10 bytes, CPLC 42"
    yield from _names(image)
    if any(entry.state not in _BYTE or entry.state & _LIVING != _LIVING for entry in image.instances[1:]):
        yield "an application or security domain is in no state of its life cycle"
    for entry in image.instances:
        yield from _instance(entry)


def _names(image: CardImage) -> Iterator[str]:
    everything: list[Instance | LoadFile] = [*image.instances, *image.load_files]
    names = [entry.aid for entry in everything]
    domains = {entry.aid for entry in image.instances if entry.domain is not None}
    if any(len(name) not in _AID_LENGTHS for name in names):
        yield "an AID has 5 to 16 bytes"
    if len(set(names)) != len(names):
        yield "an AID is there twice"
    if any(entry.sd not in domains for entry in everything):
        yield "an object is associated with no security domain of the card"
    if any(entry.size not in _SIZE for entry in image.load_files):
        yield "the size of a load file is out of range"


def _instance(entry: Instance) -> Iterator[str]:
    name = entry.aid.hex().upper()
    sizes = (entry.reserved, entry.volatile_reserved, entry.quota or 0, entry.volatile_quota or 0)
    if entry.privileges not in _PRIVILEGES:
        yield f"{name}: privileges have 24 bits"
    if any(size not in _SIZE for size in sizes) or any(value not in _BYTE for value in entry.implicit):
        yield f"{name}: a size or a selection parameter is out of range"
    if len(entry.services) % 2 or any(len(service) != 2 for service in entry.unique_services):
        yield f"{name}: the name of a service has two bytes"
    if entry.contactless is not None:
        yield from _contactless(name, entry.contactless)
    if entry.domain is not None:
        yield from _domain(name, entry.domain)


def _contactless(name: str, entry: Contactless) -> Iterator[str]:
    numbers = (entry.state, *entry.protocols, *entry.objects)
    if any(number not in range(0x10000) for number in numbers) or entry.counter not in range(0x10000):
        yield f"{name}: a contactless state, counter or tag is out of range"


def _domain(name: str, domain: DomainData) -> Iterator[str]:
    numbers = [(key.kid, key.kvn) for key in domain.keys]
    if len(set(numbers)) != len(numbers) or not all(map(_is_key, domain.keys)):
        yield f"{name}: a key is there twice or malformed"
    for kvn, value in domain.sequence.items():
        if value not in (_REMOTE_COUNTER if is_remote_version(domain, kvn) else _COUNTER):
            yield f"{name}: the sequence counter of key version {kvn} is out of range"
    counts = (*domain.failures.values(), *domain.allowlist_counters.values(), domain.restricted)
    if domain.confirmations not in _CONFIRMATIONS or any(count not in _SIZE for count in counts):
        yield f"{name}: a counter is out of range"
    if any(tag not in _TAG for tag in (*domain.objects, *domain.policy)):
        yield f"{name}: a tag is out of range"


def _is_key(key: Key) -> bool:
    if key.kid not in _KEY_IDENTIFIERS or key.kvn not in _BYTE or not key.components:
        return False
    lengths = _SYMMETRIC_LENGTHS.get(key.type)
    fits = lengths is None or (len(key.components) == 1 and len(key.value) in lengths)
    return fits and all(part.type in _BYTE and part.value for part in key.components)
