"""Key sets of security domains: which set opens a session, adding and replacing keys, their counters.

Source: GPCS 2.3.1 §7.5, §11.8; Amendment D §6.1, §6.2.2.1, §7.1.1; GPCS §E.1.2 (counters).
"""

from collections.abc import Sequence
from typing import Final

from opentsm.card.crypto.kcv import kcv_aes, kcv_des
from opentsm.vse import memory
from opentsm.vse.authorization import Policy
from opentsm.vse.environment import Environment
from opentsm.vse.lifecycle import PERSONALIZED, SELECTABLE
from opentsm.vse.scp import ChannelKeys
from opentsm.vse.scp.scp02 import has_base_key_only
from opentsm.vse.scp.scp11 import AGREEMENT_KIDS
from opentsm.vse.state import (
    SYMMETRIC_AES,
    SYMMETRIC_DES,
    CardImage,
    DomainData,
    Instance,
    Key,
)
from opentsm.vse.status import SW_CONDITIONS, SW_NOT_FOUND, SW_WRONG_DATA, StatusError

CHANNEL_KIDS: Final = (1, 2, 3)
FACTORY_KVN: Final = 0xFF
REMOTE: Final = 0x80
REMOTE_VERSIONS: Final = range(0x01, 0x10)
_PROTOCOL_OF: Final = {SYMMETRIC_DES: 2, SYMMETRIC_AES: 3}
# PRAC: key version ranges of the UICC configuration, enforced by some cards.
_KVN_RANGES: Final = {2: range(0x20, 0x30), 3: range(0x30, 0x40)}


def key_check_value(key_type: int, value: bytes) -> bytes:
    """Return the 3-byte check value of a symmetric key (GPCS §B.6)."""
    return kcv_aes(value) if key_type == SYMMETRIC_AES else kcv_des(value)


def is_remote_version(domain: DomainData, kvn: int) -> bool:
    """Tell whether a key version belongs to SCP80: 01 to 0F, at a security domain that knows it."""
    return kvn in REMOTE_VERSIONS and any(protocol == REMOTE for protocol, _ in domain.scps)


def has_remote_set(domain: DomainData) -> bool:
    """Tell whether any key set could protect messages: keys for ciphering and for checksums."""
    versions = (kvn for kvn in domain.versions() if is_remote_version(domain, kvn))
    return any(domain.find_key(1, kvn) and domain.find_key(2, kvn) for kvn in versions)


def channel_set(domain: DomainData, kvn: int) -> tuple[int, ChannelKeys] | None:
    """Return protocol and keys of a complete secure channel key set, or None; keys of SCP80 make none."""
    if is_remote_version(domain, kvn):
        return None
    base = domain.find_key(CHANNEL_KIDS[0], kvn)
    if base is not None and base.type == SYMMETRIC_DES and _has_base_key_only(domain):
        return 2, ChannelKeys(kvn, base.value, base.value, base.value)
    found = [domain.find_key(kid, kvn) for kid in CHANNEL_KIDS]
    keys = [key for key in found if key is not None]
    if len(keys) != len(CHANNEL_KIDS):
        return None
    protocol = _PROTOCOL_OF.get(keys[0].type)
    alike = len({(key.type, len(key.value)) for key in keys}) == 1
    if protocol is None or not alike:
        return None
    return protocol, ChannelKeys(kvn, *(key.value for key in keys))


def _has_base_key_only(domain: DomainData) -> bool:
    return any(protocol == 2 and has_base_key_only(option) for protocol, option in domain.scps)


def has_channel_set(domain: DomainData) -> bool:
    """Tell whether any key set could open a session."""
    return any(channel_set(domain, kvn) for kvn in domain.versions())


def has_own_set(domain: DomainData) -> bool:
    """Tell whether a security domain is somebody's: keys of an ancestor do not open it any more."""
    return has_channel_set(domain) or has_remote_set(domain)


def is_owned(domain: DomainData) -> bool:
    """Tell whether a security domain has a key set or SCP11 key of its own: no ancestor's opens it then."""
    return has_own_set(domain) or any(key.kid in AGREEMENT_KIDS for key in domain.keys)


def key_owner(image: CardImage, domain: Instance, *, inherit: bool) -> Instance:
    """Return whose keys `domain` uses: its own, or those of the nearest ancestor with keys of its own."""
    if not inherit or is_owned(domain.domain_data()):
        return domain
    for above in image.ancestors(domain):
        if above.domain is not None and is_owned(above.domain):
            return above
    return domain


def select_channel_set(domain: DomainData, kvn: int) -> tuple[int, ChannelKeys]:
    """Return protocol and keys for INITIALIZE UPDATE.

    Args:
        domain: the owner of the keys.
        kvn: 00 for the first available set.

    Raises:
        StatusError: 6A88 when the set is unknown or incomplete.
    """
    for version in [kvn] if kvn else domain.versions():
        found = channel_set(domain, version)
        if found is not None:
            return found
    raise StatusError(SW_NOT_FOUND)


def check_version_range(environment: Environment, domain: DomainData, key: Key) -> None:
    """Refuse a secure channel key outside its version range, on cards that insist on it.

    Raises:
        StatusError: 6A80.
    """
    allowed = _KVN_RANGES.get(_PROTOCOL_OF.get(key.type, 0))
    if (
        environment.profile.kvn_ranges_enforced
        and key.kid in CHANNEL_KIDS
        and (key.kid, key.kvn) not in environment.profile.role_keys
        and allowed
        and key.kvn not in allowed
        and not is_remote_version(domain, key.kvn)
    ):
        raise StatusError(SW_WRONG_DATA)


def add_keys(environment: Environment, owner: Instance, keys: Sequence[Key]) -> None:
    """Add new keys to a security domain, all or none.

    Raises:
        StatusError: 6A80 when a key exists already or comes twice, 6A84 when memory is short.
    """
    domain = owner.domain_data()
    names = [(key.kid, key.kvn) for key in keys]
    if len(set(names)) != len(names):
        raise StatusError(SW_WRONG_DATA)
    if any(domain.find_key(*name) for name in names):
        raise StatusError(int(environment.profile.key_exists, 16))
    for key in keys:
        check_version_range(environment, domain, key)
    environment.require_growth(owner, memory.domain_cost(domain), sum(map(memory.key_cost, keys)))
    new_versions = {key.kvn for key in keys} - set(domain.versions())
    domain.keys.extend(keys)
    _restart_counters(domain, keys, new_versions)
    _after_keys_changed(environment, owner)


def replace_keys(environment: Environment, owner: Instance, old_kvn: int, keys: Sequence[Key]) -> None:
    """Replace keys by others of the same type and size, all or none; the version may change.

    Raises:
        StatusError: 6A88 when a key to replace does not exist, 6A80 when type or size differ or the new
            name is used.
    """
    domain = owner.domain_data()
    old = [_required(domain, key.kid, old_kvn) for key in keys]
    for before, after in zip(old, keys, strict=True):
        if _shape(before) != _shape(after):
            raise StatusError(SW_WRONG_DATA)
        taken = domain.find_key(after.kid, after.kvn)
        if taken is not None and taken is not before:
            raise StatusError(SW_WRONG_DATA)
        check_version_range(environment, domain, after)
    if len({key.kid for key in keys}) != len(keys):
        raise StatusError(SW_WRONG_DATA)
    positions = [next(at for at, key in enumerate(domain.keys) if key is before) for before in old]
    for position, key in zip(positions, keys, strict=True):
        domain.keys[position] = key
    moved = {key.kvn for key in keys} if _is_whole_set(domain, keys) else set()
    _restart_counters(domain, keys, moved)
    _drop_stale_counters(domain)
    _after_keys_changed(environment, owner)


def delete_keys(environment: Environment, owner: Instance, kid: int | None, kvn: int | None) -> None:
    """Delete the keys with this identifier, this version, or both.

    Raises:
        StatusError: 6A88 when there is none, 6985 when the issuer security domain would lose its last set.
    """
    domain = owner.domain_data()
    doomed = [key for key in domain.keys if kid in {None, key.kid} and kvn in {None, key.kvn}]
    if not doomed:
        raise StatusError(SW_NOT_FOUND)
    rest = [key for key in domain.keys if all(key is not gone for gone in doomed)]
    # §7.5.1 leaves it to the owner: a card whose issuer has no key set left would be lost.
    if owner is environment.image.isd and not has_channel_set(DomainData(keys=rest)):
        raise StatusError(SW_CONDITIONS)
    domain.keys = rest
    _drop_stale_counters(domain)
    environment.touch()


def _required(domain: DomainData, kid: int, kvn: int) -> Key:
    key = domain.find_key(kid, kvn)
    if key is None:
        raise StatusError(SW_NOT_FOUND)
    return key


def _shape(key: Key) -> tuple[tuple[int, int], ...]:
    return tuple((component.type, len(component.value)) for component in key.components)


def _is_whole_set(domain: DomainData, keys: Sequence[Key]) -> bool:
    """Tell whether `keys` are all secure channel keys of their version."""
    return {key.kid for key in keys} >= set(CHANNEL_KIDS)


def _restart_counters(domain: DomainData, keys: Sequence[Key], whole: set[int]) -> None:
    """Reset sequence counters: SCP03 only for whole sets (§6.2.2.1), SCP02 for any key (§E.1.2)."""
    for key in keys:
        if key.kid in CHANNEL_KIDS and (key.kvn in whole or key.type == SYMMETRIC_DES):
            domain.sequence[key.kvn] = 0
        domain.failures.pop(key.kvn, None)


def _drop_stale_counters(domain: DomainData) -> None:
    versions = set(domain.versions())
    for counters in (domain.sequence, domain.failures):
        for kvn in counters.keys() - versions:
            del counters[kvn]
    domain.forget_lost_keys()


def _after_keys_changed(environment: Environment, owner: Instance) -> None:
    domain = owner.domain_data()
    own_sets = [kvn for kvn in domain.versions() if kvn != FACTORY_KVN and channel_set(domain, kvn)]
    # GPCS is silent on factory keys; most cards drop them when the first set of the owner is complete.
    if own_sets and environment.profile.factory_keys_removed:
        domain.keys = [key for key in domain.keys if key.kvn != FACTORY_KVN]
        _drop_stale_counters(domain)
    personalize_by_keys(environment, owner)
    environment.touch()


def personalize_by_keys(environment: Environment, owner: Instance) -> None:
    """Move a SELECTABLE security domain with a complete key set to PERSONALIZED, if so configured.

    Tag 84 of its installation parameters says that it waits for SET STATUS.
    """
    domain = owner.domain_data()
    explicit = Policy.PERSONALIZED_STATE in domain.policy
    ready = owner.state == SELECTABLE and environment.profile.personalized_by_keys and not explicit
    if ready and owner is not environment.image.isd and has_own_set(domain):
        owner.state = PERSONALIZED
        environment.touch()
