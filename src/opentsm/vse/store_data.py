"""STORE DATA: to the security domain itself, or forwarded to what it personalizes.

Source: GPCS 2.3.1 §11.11, §7.3.2.
"""

from collections.abc import Sequence
from typing import Final

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.dgi import parse_dgis
from opentsm.card.codec.tlv import Tlv
from opentsm.card.errors import CardError
from opentsm.vse import memory
from opentsm.vse.card_data import STORABLE_BY_DOMAIN, STORABLE_BY_ISSUER
from opentsm.vse.confidential_setup import confidential_setup, is_confidential_setup
from opentsm.vse.environment import Environment, LogicalChannel
from opentsm.vse.fields import data_objects
from opentsm.vse.key_groups import KEY_ATTRIBUTES, Decrypt, KeyGroups
from opentsm.vse.key_references import CONTROL_TEMPLATE, ReferencedData, read_reference
from opentsm.vse.keysets import add_keys
from opentsm.vse.lifecycle import is_locked
from opentsm.vse.signing_keys import stored_curves
from opentsm.vse.state import Instance, Key, LoadFile
from opentsm.vse.status import (
    SW_CONDITIONS,
    SW_NO_MEMORY,
    SW_WRONG_DATA,
    SW_WRONG_P1P2,
    StatusError,
)

_LAST: Final = 0x80
_FORMAT: Final = 0x18
_DGI: Final = 0x08
_TLV: Final = 0x10
_CASE_4: Final = 0x01
_OWN_AID: Final = 0x4F
_DGI_TLVS: Final = 0x0070


def store_data(
    environment: Environment, channel: LogicalChannel, domain: Instance, command: CommandApdu
) -> bytes:
    """Take one block.

    Raises:
        StatusError: 6985 wrong block number or a target that is gone, 6A86 response data for a case 3
            command, 6A80, 6982, 6A84.
    """
    if command.p2 != channel.store_block & 0xFF:
        channel.reset_store_data()
        raise StatusError(SW_CONDITIONS)
    target, last = channel.personalizing, bool(command.p1 & _LAST)
    if target is not None and not _is_personalizable(environment, domain, target):
        # §7.3.2: what another channel deletes, moves away or locks is not personalized further.
        channel.end_personalization()
        raise StatusError(SW_CONDITIONS)
    channel.store_block += 1
    try:
        if target is not None and target.domain is None:
            return _forward(environment, channel, target, command)
        if is_confidential_setup(command):
            return confidential_setup(environment, channel, target or domain, command)
        _collect(environment, channel, target or domain, command)
        return b""
    except StatusError:
        channel.reset_store_data()
        raise
    finally:
        if last:
            channel.end_personalization()


def _is_personalizable(environment: Environment, domain: Instance, target: Instance) -> bool:
    """Tell whether what INSTALL [for personalization] named is still there, and still the domain's."""
    present = environment.image.instance(target.aid) is target
    return present and target.sd == domain.aid and not is_locked(target.state)


def _forward(
    environment: Environment, channel: LogicalChannel, target: Instance, command: CommandApdu
) -> bytes:
    """§7.3.2: contents reach the application as they are; only secure messaging is gone."""
    before = dict(target.store)
    answer = environment.applet(target).personalize(command, _decrypter(channel))
    if answer and not command.p1 & _CASE_4:
        # §11.11.2.1: refused, so nothing of it stays.
        target.store.clear()
        target.store.update(before)
        raise StatusError(SW_WRONG_P1P2)
    return answer


def _decrypter(channel: LogicalChannel) -> Decrypt:
    def decrypt(data: bytes) -> bytes:
        if channel.session is None:
            raise StatusError(SW_CONDITIONS)
        try:
            return channel.session.decrypt_key(data)
        except CardError:
            raise StatusError(SW_WRONG_DATA) from None

    return decrypt


def _collect(
    environment: Environment, channel: LogicalChannel, owner: Instance, command: CommandApdu
) -> None:
    """Keep the blocks until the last has come, then apply all of them or none."""
    channel.store_data += command.data
    if len(channel.store_data) > environment.profile.store_data_limit:
        raise StatusError(SW_NO_MEMORY)
    if not command.p1 & _LAST:
        return
    data, layout = bytes(channel.store_data), command.p1 & _FORMAT
    writer = _Writer(environment, owner, _decrypter(channel))
    if layout == _DGI:
        writer.write_groups(data)
    elif layout in {_TLV, 0}:
        writer.write_objects(data_objects(data))
    else:
        raise StatusError(SW_WRONG_DATA)
    writer.apply()


class _Writer:
    """Collects what a series of STORE DATA blocks writes, and writes it at once."""

    def __init__(self, environment: Environment, owner: Instance, decrypt: Decrypt) -> None:
        self._environment = environment
        self._owner = owner
        self._decrypt = decrypt
        self._objects: dict[int, bytes] = {}
        self._keys: list[Key] = []
        self._referenced: list[ReferencedData] = []

    def write_groups(self, data: bytes) -> None:
        """Read data groups; key values follow their attributes directly."""
        try:
            groups = iter(parse_dgis(data))
        except CardError:
            raise StatusError(SW_WRONG_DATA) from None
        keys = KeyGroups(self._decrypt, stored_curves(self._environment.image, self._owner))
        for identifier, value in groups:
            if identifier == _DGI_TLVS:
                self.write_objects(data_objects(value))
            elif identifier == KEY_ATTRIBUTES:
                keys.add(value, groups)
            else:
                raise StatusError(SW_WRONG_DATA)
        self._keys = keys.finish()

    def write_objects(self, objects: Sequence[Tlv]) -> None:
        """Take data objects that this security domain may store, or what belongs to one of its keys."""
        if objects and objects[0].tag == CONTROL_TEMPLATE:
            self._referenced.append(read_reference(objects))
            return
        issuer = self._owner is self._environment.image.isd
        storable = STORABLE_BY_ISSUER if issuer else STORABLE_BY_DOMAIN
        for entry in objects:
            own_aid = issuer and entry.tag == _OWN_AID and self._is_free(entry.value)
            if entry.tag not in storable and not own_aid:
                raise StatusError(SW_WRONG_DATA)
            self._objects[entry.tag] = entry.value

    def _is_free(self, aid: bytes) -> bool:
        image = self._environment.image
        other = image.instance(aid)
        free = image.load_file(aid) is None and (other is None or other is image.isd)
        return free and 5 <= len(aid) <= 16

    def apply(self) -> None:
        """Write keys and objects, all or none."""
        environment, owner = self._environment, self._owner
        domain = owner.domain_data()
        growth = sum(len(value) - len(domain.objects.get(tag, b"")) for tag, value in self._objects.items())
        for referenced in self._referenced:
            referenced.check(domain)
            growth += referenced.cost
        growth += sum(map(memory.key_cost, self._keys))
        environment.require_growth(owner, memory.domain_cost(domain), growth)
        if self._keys:
            add_keys(environment, owner, self._keys)
        aid = self._objects.pop(_OWN_AID, None)
        if aid is not None:
            self._rename(aid)
        domain.objects.update(self._objects)
        for referenced in self._referenced:
            referenced.write(domain)
        environment.touch()

    def _rename(self, aid: bytes) -> None:
        """§11.11.2.3: the issuer security domain answers to another AID from now on."""
        image, old = self._environment.image, self._owner.aid
        entries: list[Instance | LoadFile] = [*image.instances, *image.load_files]
        for entry in entries:
            if entry.sd == old:
                entry.sd = aid
        self._owner.aid = aid
