"""What a card holds when it leaves the factory.

Source: GPCS 2.3.1 §5.1.1.1, §6.6.2 (the issuer security domain's first state and privileges).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from opentsm.card.codec.aid import Aid
from opentsm.vse.card_data import CIN, IIN
from opentsm.vse.certified_keys import CASD_AID, add_agreement_keys, certify, controlling_authority
from opentsm.vse.environment import Environment
from opentsm.vse.keysets import CHANNEL_KIDS
from opentsm.vse.lifecycle import PERSONALIZED, SELECTABLE
from opentsm.vse.nvm import MemoryNvm
from opentsm.vse.privileges import Privilege
from opentsm.vse.profiles import FactoryInstance, FactoryLoadFile, VseProfile
from opentsm.vse.scp.scp02 import has_base_key_only
from opentsm.vse.state import (
    SYMMETRIC_AES,
    SYMMETRIC_DES,
    CardImage,
    DomainData,
    Identity,
    Instance,
    Key,
    KeyComponent,
    LoadFile,
)

if TYPE_CHECKING:
    from opentsm.vse.card import CardIdentity, KeyMaterial


NO_KEYS: Final[Mapping[bytes, "KeyMaterial"]] = {}


def build_image(
    profile: VseProfile,
    identity: "CardIdentity",
    keys: "KeyMaterial",
    random: Callable[[int], bytes],
    domain_keys: Mapping[bytes, "KeyMaterial"] = NO_KEYS,
) -> CardImage:
    """Return the image of a new card.

    Args:
        profile: the kind of card.
        identity: which one of the kind.
        keys: of the issuer security domain.
        random: the card's random number generator.
        domain_keys: keys of the pre-issued security domains by AID; one without keys uses its parent's.
    """
    isd = _issuer_domain(profile, identity, keys)
    image = CardImage(
        profile=profile.to_dict(),
        identity=Identity(identity.kdd, identity.cplc),
        instances=[isd],
        load_files=[_load_file(entry, isd) for entry in profile.factory],
    )
    name = identity.cin.hex().upper()
    add_agreement_keys(profile, isd.domain_data(), f"virtual card {name}", random)
    environment = Environment(image, profile, MemoryNvm(), random)
    for package in profile.factory:
        for entry in package.instances:
            _install(environment, package, entry, domain_keys.get(bytes.fromhex(entry.aid)))
    if profile.casd:
        certify(profile, _controlling_authority(image), identity.cin, random)
    return image


def _controlling_authority(image: CardImage) -> Instance:
    """Return the CASD: the profile's own pre-issued domain, or one beside what the profile lists."""
    casd = image.instance(CASD_AID)
    if casd is None:
        casd = controlling_authority(image.isd)
        image.instances.insert(1, casd)
    return casd


def _issuer_domain(profile: VseProfile, identity: "CardIdentity", keys: "KeyMaterial") -> Instance:
    aid = bytes.fromhex(profile.isd_aid)
    kvn = profile.initial_kvn if keys.kvn is None else keys.kvn
    values = (keys.enc.reveal(), keys.mac.reveal(), keys.dek.reveal())
    stored = _channel_keys(profile, kvn, values)
    remote = _remote_keys(profile, values)
    domain = DomainData(
        keys=stored + remote,
        sequence={kvn: 0} | {key.kvn: 0 for key in remote},
        objects={IIN: identity.iin, CIN: identity.cin},
        scps=list(profile.channels),
    )
    return Instance(
        aid=aid,
        sd=aid,
        load_file=b"",
        module=b"",
        state=profile.isd_state,
        privileges=int(profile.isd_privileges, 16),
        domain=domain,
    )


def _channel_keys(profile: VseProfile, kvn: int, values: Iterable[bytes]) -> list[Key]:
    protocol, option = profile.channels[0]
    kind = SYMMETRIC_AES if protocol == 3 else SYMMETRIC_DES
    keys = [
        Key(kid, kvn, [KeyComponent(kind, value)]) for kid, value in zip(CHANNEL_KIDS, values, strict=True)
    ]
    # Table E-2: a base key stands in for all three.
    return keys[:1] if protocol == 2 and has_base_key_only(option) else keys


def _remote_keys(profile: VseProfile, values: Iterable[bytes]) -> list[Key]:
    """Key sets for messages (SCP80) with the values of the first set, one for each version and type."""
    sets = [(int(version, 16), int(kind, 16)) for version, kind in profile.ota_keys]
    named = list(zip(CHANNEL_KIDS, values, strict=True))
    return [
        Key(kid, kvn, [KeyComponent(kind, value[:24] if kind == SYMMETRIC_DES else value)])
        for kvn, kind in sets
        for kid, value in named
    ]


def _load_file(entry: FactoryLoadFile, isd: Instance) -> LoadFile:
    modules = [bytes.fromhex(module) for module in entry.modules]
    return LoadFile(bytes.fromhex(entry.aid), isd.aid, entry.version, modules, rom=True)


def _install(
    environment: Environment, package: FactoryLoadFile, entry: FactoryInstance, keys: "KeyMaterial | None"
) -> None:
    aid = bytes.fromhex(entry.aid)
    instance = Instance(
        aid=aid,
        sd=bytes.fromhex(entry.parent) or environment.image.isd.aid,
        load_file=bytes.fromhex(package.aid),
        module=bytes.fromhex(entry.module),
        state=SELECTABLE,
        privileges=int(entry.privileges, 16),
    )
    if instance.holds(Privilege.SECURITY_DOMAIN):
        _make_domain(environment.profile, instance, entry, keys)
    else:
        environment.new_applet(instance).install(Aid(aid), bytes.fromhex(entry.parameters))
    environment.image.instances.append(instance)


def _make_domain(
    profile: VseProfile, instance: Instance, entry: FactoryInstance, keys: "KeyMaterial | None"
) -> None:
    """A security domain with its own keys leaves the factory PERSONALIZED."""
    instance.domain = DomainData(scps=list(profile.channels))
    if keys is None or not entry.kvn:
        return
    values = (keys.enc.reveal(), keys.mac.reveal(), keys.dek.reveal())
    instance.domain.keys = _channel_keys(profile, entry.kvn, values)
    instance.domain.sequence = {entry.kvn: 0}
    instance.state = PERSONALIZED
