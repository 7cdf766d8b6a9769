"""What each verb of the desk sends in its session, as scripts: printable before anything is sent."""

from __future__ import annotations

from dataclasses import dataclass

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.gp import commands
from opentsm.card.gp.cap import LoadFile
from opentsm.card.gp.install_params import application_parameters
from opentsm.card.gp.instructions import Ins, StatusTarget
from opentsm.card.gp.keys import AesLayout, Dek, KeyType, StaticKeys, key_check_value, put_key_fields
from opentsm.card.gp.lifecycle import CardState
from opentsm.card.gp.privileges import Privilege
from opentsm.card.gp.script import Script, Step

# Answers of content commands and PUT KEY must be 9000; nothing else is success here.
_SHOWN_BYTES = 24
_SECRET_INS = frozenset({Ins.PUT_KEY, Ins.STORE_DATA})


@dataclass(frozen=True, slots=True)
class LoadOrder:
    """How to load a file.

    Attributes:
        target: the security domain it shall belong to; None for the session's.
        descriptor: load the Descriptor component too.
        hash: name of the load-file data block hash to send, empty for none.
        token: load token of delegated management.
    """

    load_file: LoadFile
    target: Aid | None = None
    descriptor: bool = False
    hash: str = ""
    token: bytes = b""


@dataclass(frozen=True, slots=True)
class InstallOrder:
    """How to make an instance of a module."""

    package: Aid
    module: Aid
    instance: Aid
    privileges: Privilege = Privilege.NONE
    c9: bytes = b""
    make_selectable: bool = True
    token: bytes = b""


def load_script(order: LoadOrder, block_size: int) -> Script:
    """Plan INSTALL [for load] and LOAD."""
    file = order.load_file
    digest = file.hash(order.hash, descriptor=order.descriptor) if order.hash else b""
    block = file.load_file_data_block(order.descriptor)
    announce = commands.install_for_load(file.package_aid, order.target, hash=digest, token=order.token)
    blocks = commands.load_blocks(block, block_size=block_size)
    steps = [
        Step(one, meaning=f"LOAD block {number} of {len(blocks)}") for number, one in enumerate(blocks, 1)
    ]
    return Script((Step(announce, meaning=f"announce load file {file.package_aid}"), *steps))


def install_script(order: InstallOrder) -> Script:
    """Plan INSTALL [for install]."""
    command = commands.install_for_install(
        order.package,
        order.module,
        order.instance,
        order.privileges,
        application_parameters(order.c9),
        make_selectable=order.make_selectable,
        token=order.token,
    )
    return Script((Step(command, meaning=f"install {order.instance} from module {order.module}"),))


def delete_script(aid: Aid, *, related: bool, token: bytes = b"") -> Script:
    """Plan DELETE of an application or load file."""
    what = f"delete {aid}" + (" and its instances" if related else "")
    return Script((Step(commands.delete(aid, related=related, token=token), meaning=what),))


def delete_key_script(kvn: int, kid: int | None) -> Script:
    """Plan DELETE of a key, or of a whole set."""
    what = f"delete key set {kvn:02X}" if kid is None else f"delete key {kvn:02X}/{kid:02X}"
    return Script((Step(commands.delete_key(kid, kvn), meaning=what),))


def lock_script(aid: Aid | None, *, lock: bool, tree: bool = False) -> Script:
    """Plan SET STATUS of an object, or without AID of the card."""
    word = "lock" if lock else "unlock"
    if aid is None:
        state = CardState.CARD_LOCKED if lock else CardState.SECURED
        return Script((Step(commands.set_status(StatusTarget.CARD, state), meaning=f"{word} the card"),))
    command = (commands.lock if lock else commands.unlock)(aid, with_applications=tree)
    return Script((Step(command, meaning=f"{word} {aid}" + (" and all below it" if tree else "")),))


@dataclass(frozen=True, slots=True)
class PutKeyOrder:
    """A key set to be put.

    Attributes:
        replaces: version of the set that goes; 0 adds.
    """

    keys: StaticKeys
    key_type: KeyType
    kvn: int
    replaces: int = 0
    layout: AesLayout = AesLayout.INNER_LENGTH

    def check_values(self) -> tuple[bytes, ...]:
        """Return what the card must answer, key by key."""
        keys = (self.keys.enc, self.keys.mac, self.keys.dek)
        return tuple(key_check_value(key, self.key_type) for key in keys)

    @property
    def meaning(self) -> str:
        """What this does, in words."""
        what = f"replace key set {self.replaces:02X} by" if self.replaces else "add key set"
        values = " ".join(value.hex().upper() for value in self.check_values())
        return f"{what} {self.kvn:02X} ({self.key_type.name}, check values {values})"


def put_key_command(order: PutKeyOrder, dek: Dek) -> CommandApdu:
    """Make PUT KEY for a whole set."""
    fields = put_key_fields(order.keys, order.key_type, dek, order.layout)
    return commands.put_key(order.kvn, fields, replace_kvn=order.replaces)


def plan_document(script: Script) -> list[dict[str, object]]:
    """Return a script as the plan that `--dry-run` prints: plain commands, without what may be a key."""
    return [{"step": step.meaning, "apdu": _shown(step.command)} for step in script.steps]


def _shown(command: CommandApdu) -> str:
    if command.ins in _SECRET_INS:
        return f"{command.header.hex().upper()} ({len(command.data)} bytes, not shown)"
    text = command.to_bytes().hex().upper()
    if command.ins != Ins.LOAD:
        return text
    return f"{text[: 2 * _SHOWN_BYTES]}… ({len(command.data)} bytes of data)"


def parse_privileges(text: str) -> Privilege:
    """Read privileges: one or three bytes in hex, or names of `Privilege` divided by commas.

    Raises:
        ValueError: neither.
    """
    names = [
        word.strip().upper().replace(" ", "_").replace("-", "_") for word in text.split(",") if word.strip()
    ]
    if all(name in Privilege.__members__ for name in names):
        found = Privilege.NONE
        for name in names:
            found |= Privilege[name]
        return found
    return Privilege.from_bytes(bytes.fromhex(text))
