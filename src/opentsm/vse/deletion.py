"""DELETE: objects, objects with what is related to them, keys.

Source: GPCS 2.3.1 §9.5, §11.2.
"""

from typing import Final

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.lv import lv
from opentsm.card.codec.tlv import Tlv, encode_tlv, find, find_all
from opentsm.vse import contactless, contactless_events
from opentsm.vse.authorization import (
    Operation,
    Policy,
    authorize_content,
    refuse_others,
    require_control,
)
from opentsm.vse.environment import Environment, LogicalChannel
from opentsm.vse.fields import data_objects
from opentsm.vse.keysets import delete_keys
from opentsm.vse.privileges import UNIQUE_PRIVILEGES, Privilege
from opentsm.vse.receipts import NO_CONFIRMATION, prepare
from opentsm.vse.state import CardImage, Instance, LoadFile
from opentsm.vse.status import SW_CONDITIONS, SW_WRONG_DATA, SW_WRONG_P1P2, StatusError
from opentsm.vse.tokens import Proof, signed_part

_MORE: Final = 0x80
_RELATED: Final = 0x80
_AID: Final = 0x4F
_TOKEN: Final = 0x9E
_KEY_IDENTIFIER: Final = 0xD0
_KEY_VERSION: Final = 0xD2


def delete(
    environment: Environment, channel: LogicalChannel, domain: Instance, command: CommandApdu
) -> bytes:
    """Delete an application, a load file, a load file with its instances, or keys.

    Returns:
        The confirmation of a delegated deletion, else `00`.

    Raises:
        StatusError: 6A88 unknown, 6985 in use or not allowed, 6A80 malformed, 6A86 chaining.
    """
    if command.p1 & _MORE:
        raise StatusError(SW_WRONG_P1P2)
    objects = data_objects(command.data)
    aids = find_all(objects, _AID)
    if not aids:
        refuse_others(channel)
        _delete_keys(environment, domain, objects)
        return NO_CONFIRMATION
    if len(aids) > 1:
        raise StatusError(SW_WRONG_DATA)
    authority = authorize_content(environment, channel, domain, Operation.DELETE, _proof(command, objects))
    confirmer = prepare(environment, domain, authority)
    _delete_content(environment, domain, aids[0], related=bool(command.p2 & _RELATED))
    return confirmer.confirm(lv(aids[0]))


def _proof(command: CommandApdu, objects: tuple[Tlv, ...]) -> Proof:
    """§C.4.6: the token is the last object and signs all before it."""
    token = find(objects, _TOKEN) or b""
    fields = command.data
    if token:
        last = encode_tlv(_TOKEN, token)
        if not fields.endswith(last):
            raise StatusError(SW_WRONG_DATA)
        fields = fields[: -len(last)]
    return Proof(signed_part(command.p1, command.p2, fields), token, objects)


def _delete_keys(environment: Environment, domain: Instance, objects: tuple[Tlv, ...]) -> None:
    kid, kvn = find(objects, _KEY_IDENTIFIER), find(objects, _KEY_VERSION)
    if (kid is None and kvn is None) or any(value is not None and len(value) != 1 for value in (kid, kvn)):
        raise StatusError(SW_WRONG_DATA)
    delete_keys(environment, domain, kid[0] if kid else None, kvn[0] if kvn else None)


def _delete_content(environment: Environment, domain: Instance, aid: bytes, *, related: bool) -> None:
    image = environment.image
    instance = image.instance(aid)
    if instance is not None:
        # §9.5.3 knows related objects only of load files.
        if related and environment.profile.related_of_instance == "refused":
            raise StatusError(SW_CONDITIONS)
        doomed: list[Instance | LoadFile] = [instance]
    else:
        load_file = image.load_file(aid)
        if load_file is None:
            raise StatusError(int(environment.profile.sw_unknown_in_delete, 16))
        doomed = [*_instances_of(image, load_file), load_file] if related else [load_file]
    for entry in doomed:
        _require_deletable(environment, domain, entry, doomed)
    for entry in doomed:
        _remove(environment, entry)
    environment.touch()


def _instances_of(image: CardImage, load_file: LoadFile) -> list[Instance]:
    return [entry for entry in image.instances if entry.load_file == load_file.aid]


def _require_deletable(
    environment: Environment,
    domain: Instance,
    entry: Instance | LoadFile,
    doomed: list[Instance | LoadFile],
) -> None:
    image = environment.image
    if entry is image.isd or entry is domain or environment.is_selected(entry):
        raise StatusError(SW_CONDITIONS)
    if not domain.holds(Privilege.GLOBAL_DELETE):
        require_control(environment, domain, entry, Policy.ACCEPT_DELETION)
    users: list[Instance | LoadFile] = []
    if isinstance(entry, LoadFile):
        users = [*_instances_of(image, entry)]
        users += [other for other in image.load_files if entry.aid in other.imports]
    elif entry.domain is not None:
        users = image.associated(entry)
    if any(all(user is not gone for gone in doomed) for user in users):
        raise StatusError(SW_CONDITIONS)


def _remove(environment: Environment, entry: Instance | LoadFile) -> None:
    image = environment.image
    if isinstance(entry, LoadFile):
        image.load_files = [other for other in image.load_files if other is not entry]
        return
    for unique in UNIQUE_PRIVILEGES:
        if entry.holds(unique):
            image.isd.privileges |= unique
    image.instances = [other for other in image.instances if other is not entry]
    environment.forget_applet(entry.aid)
    contactless.forget(environment.image, entry.aid)
    if entry.contactless is not None:
        contactless_events.tell(environment, entry, [contactless_events.Event.DELETED])
    for other in environment.channels.values():
        if other.personalizing is entry:
            other.end_personalization()
