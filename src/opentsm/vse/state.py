"""The content of the card's non-volatile memory, and its image in bytes.

Load file bodies are not kept: the card does not interpret byte code, so only their size and hash are left.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import msgspec

from opentsm.vse.privileges import Privilege
from opentsm.vse.status import SW_NOT_FOUND, StatusError

SYMMETRIC_DES: Final = 0x80
SYMMETRIC_AES: Final = 0x88
IMAGE_VERSION: Final = 1


@dataclass(slots=True)
class KeyComponent:
    """One component of a key: its type (Table 11-16) and its clear value."""

    type: int
    value: bytes = field(repr=False)


@dataclass(slots=True)
class Key:
    """A key of a security domain; `curve` is what a reference of the domain's own meant when the key came."""

    kid: int
    kvn: int
    components: list[KeyComponent]
    usage: bytes = b""
    access: bytes = b""
    curve: str = ""

    @property
    def type(self) -> int:
        """The type of the first component."""
        return self.components[0].type

    @property
    def value(self) -> bytes:
        """The clear value of the first component."""
        return self.components[0].value


@dataclass(slots=True)
class DomainData:
    """What only a security domain has."""

    keys: list[Key] = field(default_factory=list)
    sequence: dict[int, int] = field(default_factory=dict)
    failures: dict[int, int] = field(default_factory=dict)
    objects: dict[int, bytes] = field(default_factory=dict)
    scps: list[tuple[int, int]] = field(default_factory=list)
    restricted: int = 0
    confirmations: int = 0
    token_number: int = -1
    policy: dict[int, bytes] = field(default_factory=dict)
    certificates: dict[int, bytes] = field(default_factory=dict)
    authorities: dict[int, bytes] = field(default_factory=dict)
    allowlists: dict[int, list[bytes]] = field(default_factory=dict)
    allowlist_counters: dict[int, int] = field(default_factory=dict)

    def find_key(self, kid: int, kvn: int) -> Key | None:
        """Return the key with this identifier and version, if there is one."""
        return next((key for key in self.keys if key.kid == kid and key.kvn == kvn), None)

    def forget_lost_keys(self) -> None:
        """Drop certificates, identifiers and allow-lists of keys that are gone."""
        kept = {key.kid << 8 | key.kvn for key in self.keys}
        tables = (self.certificates, self.authorities, self.allowlists, self.allowlist_counters)
        for table in tables:
            for name in table.keys() - kept:
                table.pop(name)

    def versions(self) -> tuple[int, ...]:
        """Return the key version numbers in the order in which they came."""
        return tuple(dict.fromkeys(key.kvn for key in self.keys))


@dataclass(slots=True)
class LoadFile:
    """An executable load file; its only state is LOADED."""

    aid: bytes
    sd: bytes
    version: tuple[int, int] = (1, 0)
    modules: list[bytes] = field(default_factory=list)
    imports: list[bytes] = field(default_factory=list)
    size: int = 0
    rom: bool = False
    provider: bytes = b""
    hash: bytes = b""


@dataclass(slots=True)
class Contactless:
    """What the contactless registry has of an application (Amendment C).

    Args:
        state: contactless activation state.
        counter: application update counter.
        protocols: the objects of A0 by tag.
        objects: single objects of A1 and beside it, by tag.
        head: head of the group that it asked to be in.
        joinable: who may join the group that it heads.
        listeners: applications that hear of its events.
        policy: applications that it refuses to be active with.
    """

    state: int
    counter: int = 0
    protocols: dict[int, bytes] = field(default_factory=dict)
    objects: dict[int, bytes] = field(default_factory=dict)
    head: bytes = b""
    joinable: list[bytes] = field(default_factory=list)
    listeners: list[bytes] = field(default_factory=list)
    policy: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class Instance:
    """An application or security domain; the first of the card is the issuer security domain."""

    aid: bytes
    sd: bytes
    load_file: bytes
    module: bytes
    state: int
    privileges: int
    store: dict[str, bytes] = field(default_factory=dict, repr=False)
    domain: DomainData | None = None
    implicit: list[int] = field(default_factory=list)
    provider: bytes = b""
    parameters: bytes = b""
    services: bytes = b""
    unique_services: list[bytes] = field(default_factory=list)
    quota: int | None = None
    reserved: int = 0
    volatile_quota: int | None = None
    volatile_reserved: int = 0
    order: int = 0
    tars: list[bytes] = field(default_factory=list)
    minimum_security: int | None = None
    contactless: Contactless | None = None

    def holds(self, privilege: Privilege) -> bool:
        """Tell whether this entity holds all of `privilege`."""
        return self.privileges & privilege == privilege

    def domain_data(self) -> DomainData:
        """Return what only a security domain has.

        Raises:
            StatusError: 6A88 when this is not a security domain.
        """
        if self.domain is None:
            raise StatusError(SW_NOT_FOUND)
        return self.domain


@dataclass(slots=True)
class Identity:
    """What tells this card from others."""

    kdd: bytes
    cplc: bytes


@dataclass(slots=True)
class CardImage:
    """All that survives a power cut."""

    profile: dict[str, object]
    identity: Identity
    instances: list[Instance]
    load_files: list[LoadFile]
    restricted: int = 0
    contactless_order: list[bytes] = field(default_factory=list)
    contactless_counter: int = 0
    interfaces_off: int = 0
    version: int = IMAGE_VERSION

    @property
    def isd(self) -> Instance:
        """The issuer security domain."""
        return self.instances[0]

    def instance(self, aid: bytes) -> Instance | None:
        """Return the instance with this AID, if there is one."""
        return next((entry for entry in self.instances if entry.aid == aid), None)

    def load_file(self, aid: bytes) -> LoadFile | None:
        """Return the load file with this AID, if there is one."""
        return next((entry for entry in self.load_files if entry.aid == aid), None)

    def ancestors(self, entry: Instance | LoadFile) -> Iterator[Instance]:
        """Yield the security domains above `entry`, the nearest first (GPCS §7.2)."""
        aid, seen = entry.sd, {entry.aid}
        while aid not in seen:
            seen.add(aid)
            parent = self.instance(aid)
            if parent is None:
                return
            yield parent
            aid = parent.sd

    def sees(self, domain: Instance, entry: Instance | LoadFile) -> bool:
        """Tell whether `entry` is `domain` itself or associated with it, directly or indirectly."""
        return entry is domain or any(above is domain for above in self.ancestors(entry))

    def associated(self, domain: Instance) -> list[Instance | LoadFile]:
        """Return what is directly associated with `domain`, without itself."""
        everything: list[Instance | LoadFile] = [*self.instances, *self.load_files]
        return [entry for entry in everything if entry.sd == domain.aid and entry is not domain]


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(CardImage)


def encode_image(image: CardImage) -> bytes:
    """Return the bytes that the non-volatile memory holds."""
    return _ENCODER.encode(image)


@lru_cache(maxsize=64)
def _shared_profile(encoded: bytes) -> dict[str, object]:
    """Return one object for all images of a kind of card: it is most of an image, and never changed."""
    value: dict[str, object] = msgspec.msgpack.decode(encoded)
    return value


def decode_image(data: bytes) -> CardImage:
    """Read an image back.

    Raises:
        ValueError: the bytes are not an image of this version.
    """
    image = _DECODER.decode(data)
    image.profile = _shared_profile(_ENCODER.encode(image.profile))
    if image.version != IMAGE_VERSION:
        raise ValueError(f"card image of version {image.version}, this program reads {IMAGE_VERSION}")
    return image
