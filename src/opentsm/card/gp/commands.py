"""Pure builders of the GlobalPlatform commands; each returns one plain command (no secure channel).

Specification: GlobalPlatform Card Specification 2.3.1, §11. Lengths of token fields and of INSTALL
parameter fields are BER; all other length fields have one byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.dgi import encode_dgi
from opentsm.card.codec.lv import lv
from opentsm.card.codec.tlv import encode_length, encode_tlv
from opentsm.card.errors import ApduError
from opentsm.card.gp.instructions import (
    CLA_GP,
    CLA_ISO,
    NE_ANY,
    Ins,
    InstallKind,
    StatusTarget,
    StoreDataEncryption,
    StoreDataStructure,
)
from opentsm.card.gp.privileges import Privilege

_MAX_SHORT_DATA = 255


def select(aid: Aid | None = None, *, next_occurrence: bool = False) -> CommandApdu:
    """Select an application by name; without AID the issuer security domain (§11.9)."""
    p2 = 0x02 if next_occurrence else 0x00
    return CommandApdu(CLA_ISO, Ins.SELECT, 0x04, p2, bytes(aid or b""), NE_ANY)


def initialize_update(kvn: int, host_challenge: bytes) -> CommandApdu:
    """Open a secure channel.

    Args:
        kvn: key version number, 0 for the security domain's first available set.
        host_challenge: 8 bytes, or 16 for SCP03 in S16 mode.
    Source: GPCS §E.5.1, Amendment D §7.1.1.
    """
    if len(host_challenge) not in (8, 16):
        raise ApduError(f"the host challenge has 8 or 16 bytes, not {len(host_challenge)}")
    return CommandApdu(CLA_GP, Ins.INITIALIZE_UPDATE, kvn, 0x00, host_challenge, NE_ANY)


def get_data(tag: int, data: bytes = b"") -> CommandApdu:
    """Read one data object; the answer is the whole TLV (§11.3).

    Args:
        tag: one or two bytes, for example 0x66, 0xE0, 0xC1, 0xFF21.
        data: only for tag 0x2F00, which needs `5C00`.
    """
    return CommandApdu(CLA_GP, Ins.GET_DATA, tag >> 8, tag & 0xFF, data, NE_ANY)


def get_associated_applications() -> CommandApdu:
    """Read the AIDs of the associated applications (tag 2F00, §11.3.2.1)."""
    return get_data(0x2F00, b"\x5c\x00")


def get_status(
    p1: int,
    *,
    aid_prefix: bytes = b"",
    next: bool = False,  # the standard's word for the continuation
    tag_list: bytes = b"",
) -> CommandApdu:
    """Read a part of the registry in TLV format (§11.4).

    Args:
        p1: a `StatusScope`.
        aid_prefix: search criterion of 0 to 16 bytes; empty matches all.
        next: continue after an answer 6310.
        tag_list: value of tag 5C, the tags wanted; empty leaves it to the card.
    """
    criteria = encode_tlv(0x4F, aid_prefix)
    tags = encode_tlv(0x5C, tag_list) if tag_list else b""
    return CommandApdu(CLA_GP, Ins.GET_STATUS, p1, 0x03 if next else 0x02, criteria + tags, NE_ANY)


def set_status(target: StatusTarget, state: int, aid: Aid | None = None) -> CommandApdu:
    """Change a life-cycle state (§11.10).

    Args:
        target: the card, one application or security domain, or a security domain with all below it.
        state: the new state; for another object only bit b8 counts (80 lock, 00 unlock).
        aid: the object; the card ignores it for `StatusTarget.CARD`.
    Raises:
        ApduError: an object is to change but no AID was given.
    """
    if aid is None and target is not StatusTarget.CARD:
        raise ApduError("SET STATUS of an application or security domain needs its AID")
    return CommandApdu(CLA_GP, Ins.SET_STATUS, target, state, bytes(aid or b""))


def lock(aid: Aid, *, with_applications: bool = False) -> CommandApdu:
    """Lock an application or security domain, on request with everything below it."""
    return set_status(_object_target(with_applications), 0x80, aid)


def unlock(aid: Aid, *, with_applications: bool = False) -> CommandApdu:
    """Bring a locked application or security domain back to its earlier state."""
    return set_status(_object_target(with_applications), 0x00, aid)


def _object_target(with_applications: bool) -> StatusTarget:
    return StatusTarget.SECURITY_DOMAIN_TREE if with_applications else StatusTarget.APPLICATION


def put_key(new_kvn: int, keys: Sequence[bytes], *, replace_kvn: int = 0, first_kid: int = 1) -> CommandApdu:
    """Add or replace keys (§11.8).

    Args:
        new_kvn: key version number of the new keys, 01 to 7F.
        keys: per key its data field: type, key block, KCV (`gp.keys` makes them).
        replace_kvn: key version number to be replaced; 0 adds.
        first_kid: key identifier of the first key, 00 to 7F; the others follow.
    Raises:
        ApduError: no key, or a number out of range.
    """
    if not keys:
        raise ApduError("PUT KEY needs at least one key")
    if not (0x01 <= new_kvn <= 0x7F and 0 <= replace_kvn <= 0x7F and 0 <= first_kid <= 0x7F):
        raise ApduError("PUT KEY: key version numbers are 01 to 7F, key identifiers 00 to 7F")
    p2 = first_kid | (0x80 if len(keys) > 1 else 0x00)
    return CommandApdu(CLA_GP, Ins.PUT_KEY, replace_kvn, p2, bytes((new_kvn,)) + b"".join(keys), NE_ANY)


def delete(aid: Aid, *, related: bool = False, crt: bytes = b"", token: bytes = b"") -> CommandApdu:
    """Delete an application or a load file, on request with its instances (§11.2).

    Args:
        related: for a load file: delete its instances too.
        crt: value of the control reference template (tag B6) that goes with a token.
        token: delete token of delegated management.
    """
    data = encode_tlv(0x4F, bytes(aid))
    data += encode_tlv(0xB6, crt) if crt else b""
    data += encode_tlv(0x9E, token) if token else b""
    return CommandApdu(CLA_GP, Ins.DELETE, 0x00, 0x80 if related else 0x00, data, NE_ANY)


def delete_key(kid: int | None, kvn: int | None) -> CommandApdu:
    """Delete one key, or with one number left out all keys that have the other (§11.2.2.3.2).

    Raises:
        ApduError: neither a key identifier nor a key version number.
    """
    if kid is None and kvn is None:
        raise ApduError("DELETE of a key needs a key identifier or a key version number")
    data = b"" if kid is None else encode_tlv(0xD0, bytes((kid,)))
    data += b"" if kvn is None else encode_tlv(0xD2, bytes((kvn,)))
    return CommandApdu(CLA_GP, Ins.DELETE, 0x00, 0x00, data, NE_ANY)


def _install(p1: InstallKind, p2: int, fields: bytes, parameters: bytes, token: bytes) -> CommandApdu:
    data = fields + encode_length(len(parameters)) + parameters + encode_length(len(token)) + token
    return CommandApdu(CLA_GP, Ins.INSTALL, p1, p2, data, NE_ANY, extended=len(data) > _MAX_SHORT_DATA)


def _load_fields(elf: Aid, sd: Aid | None, hash: bytes) -> bytes:
    return lv(bytes(elf)) + lv(bytes(sd or b"")) + lv(hash)


def install_for_load(
    elf: Aid, sd: Aid | None, *, hash: bytes = b"", parameters: bytes = b"", token: bytes = b""
) -> CommandApdu:
    """Announce a load file (§11.5.2.3.1).

    Args:
        elf: AID of the load file.
        sd: the security domain it is to belong to; None for the one that gets the command.
        hash: load-file data block hash of 0, 20, 32, 48 or 64 bytes.
        parameters: load parameters (`install_params.load_parameters`).
        token: load token of delegated management.
    """
    return _install(InstallKind.LOAD, 0x00, _load_fields(elf, sd, hash), parameters, token)


def install_for_combined_load(
    elf: Aid, sd: Aid | None, *, hash: bytes = b"", parameters: bytes = b""
) -> CommandApdu:
    """Start a combined load, install and make selectable; the token goes with its last command."""
    return _install(InstallKind.COMBINED, 0x01, _load_fields(elf, sd, hash), parameters, b"")


def _install_fields(elf: Aid | None, module: Aid | None, instance: Aid, privileges: Privilege) -> bytes:
    names = lv(bytes(elf or b"")) + lv(bytes(module or b"")) + lv(bytes(instance))
    return names + lv(privileges.to_bytes3())


def install_for_install(
    elf: Aid,
    module: Aid,
    instance: Aid,
    privileges: Privilege,
    parameters: bytes,
    *,
    make_selectable: bool,
    token: bytes = b"",
    privilege_bytes: int = 3,
) -> CommandApdu:
    """Make an instance of a module (§11.5.2.3.2).

    Args:
        parameters: install parameters; C9 is mandatory (`install_params.application_parameters`).
        make_selectable: make the instance selectable with the same command.
        privilege_bytes: 3, or 1 for a card of Card Specification 2.1.1.
    """
    names = lv(bytes(elf)) + lv(bytes(module)) + lv(bytes(instance))
    fields = names + lv(privileges.coded(privilege_bytes))
    kind = InstallKind.INSTALL_AND_MAKE_SELECTABLE if make_selectable else InstallKind.INSTALL
    return _install(kind, 0x00, fields, parameters, token)


def install_for_combined_install(
    elf: Aid | None,
    module: Aid,
    instance: Aid,
    privileges: Privilege,
    parameters: bytes,
    *,
    token: bytes = b"",
) -> CommandApdu:
    """Finish a combined load, install and make selectable (P1 0E, P2 03)."""
    fields = _install_fields(elf, module, instance, privileges)
    return _install(InstallKind.COMBINED, 0x03, fields, parameters, token)


def install_for_make_selectable(
    instance: Aid,
    *,
    privileges: Privilege = Privilege.NONE,
    parameters: bytes = b"",
    token: bytes = b"",
) -> CommandApdu:
    """Make an installed instance selectable; of the privileges only Card Reset counts (§11.5.2.3.3)."""
    fields = _install_fields(None, None, instance, privileges)
    return _install(InstallKind.MAKE_SELECTABLE, 0x00, fields, parameters, token)


def install_for_extradition(
    application: Aid, new_sd: Aid, *, parameters: bytes = b"", token: bytes = b""
) -> CommandApdu:
    """Associate an application or load file with another security domain (§11.5.2.3.4)."""
    fields = lv(bytes(new_sd)) + b"\x00" + lv(bytes(application)) + b"\x00"
    return _install(InstallKind.EXTRADITION, 0x00, fields, parameters, token)


def install_for_registry_update(
    application: Aid | None,
    *,
    new_sd: Aid | None = None,
    privileges: Privilege | None = None,
    parameters: bytes = b"",
    token: bytes = b"",
) -> CommandApdu:
    """Change the registry entry of an application (§11.5.2.3.5).

    Args:
        application: the object; None means the card's OPEN (to restrict functions for good).
        new_sd: the new associated security domain; None keeps it.
        privileges: the new set, in place of the old; None keeps it.
        parameters: registry update parameters.
    """
    granted = b"" if privileges is None else privileges.to_bytes3()
    fields = lv(bytes(new_sd or b"")) + b"\x00" + lv(bytes(application or b"")) + lv(granted)
    return _install(InstallKind.REGISTRY_UPDATE, 0x00, fields, parameters, token)


def install_for_personalization(application: Aid) -> CommandApdu:
    """Direct the STORE DATA commands that follow to an application (§11.5.2.3.6)."""
    fields = b"\x00\x00" + lv(bytes(application)) + b"\x00"
    return _install(InstallKind.PERSONALIZATION, 0x00, fields, b"", b"")


def load_blocks(load_file: bytes, *, block_size: int, dap_blocks: Iterable[bytes] = ()) -> list[CommandApdu]:
    """Cut a load file into LOAD commands (§11.6).

    Args:
        load_file: the load-file data block, without its tag C4 (this function adds it).
        block_size: most data bytes a command; above 255 the commands get extended length.
        dap_blocks: whole DAP blocks (tag E2) that go first.
    Raises:
        ApduError: an empty load file or an impossible block size.
    """
    if not load_file:
        raise ApduError("a load file cannot be empty")
    return load_objects(b"".join(dap_blocks) + encode_tlv(0xC4, load_file), block_size=block_size)


def load_objects(load_file: bytes, *, block_size: int) -> list[CommandApdu]:
    """Cut a whole load file into LOAD commands (§11.6).

    Args:
        load_file: its data objects: DAP blocks (E2), then C4, or D4 with an optional D3 before it.
        block_size: as in `load_blocks`.
    Raises:
        ApduError: an impossible block size.
    """
    blocks = _cut(load_file, block_size)
    last = len(blocks) - 1
    # Block numbers beyond 256 blocks wrap to 00: the text codes 00 to FF and says no more.
    return [
        CommandApdu(
            CLA_GP,
            Ins.LOAD,
            0x80 if number == last else 0x00,
            number & 0xFF,
            block,
            NE_ANY,
            extended=block_size > _MAX_SHORT_DATA,
        )
        for number, block in enumerate(blocks)
    ]


def store_data(
    block: bytes,
    number: int,
    *,
    last: bool,
    encryption: StoreDataEncryption = StoreDataEncryption.NONE,
    structure: StoreDataStructure = StoreDataStructure.NONE,
    response_expected: bool = False,
) -> CommandApdu:
    """Send one block of data to a security domain or, through it, to an application (§11.11).

    Args:
        number: block number from 0, modulo 256.
        response_expected: case 4, with data in the answer.
    """
    p1 = (0x80 if last else 0x00) | encryption | structure | (0x01 if response_expected else 0x00)
    ne = NE_ANY if response_expected else None
    long = len(block) > _MAX_SHORT_DATA
    return CommandApdu(CLA_GP, Ins.STORE_DATA, p1, number & 0xFF, block, ne, extended=long)


def store_data_blocks(
    dgis: Iterable[tuple[int, bytes]],
    *,
    block_size: int,
    encryption: StoreDataEncryption = StoreDataEncryption.NONE,
) -> list[CommandApdu]:
    """Pack data groupings into STORE DATA commands.

    A grouping that fits into one command is never cut; a larger one runs on in the next commands.

    Args:
        dgis: identifier (two bytes) and value of each grouping, in order.
        block_size: most data bytes a command.
    Raises:
        ApduError: no grouping, or an impossible block size.
    """
    blocks = _pack([encode_dgi(tag, value) for tag, value in dgis], block_size)
    if not blocks:
        raise ApduError("STORE DATA needs at least one data grouping")
    last = len(blocks) - 1
    return [
        store_data(block, n, last=n == last, encryption=encryption, structure=StoreDataStructure.DGI)
        for n, block in enumerate(blocks)
    ]


def _pack(items: Sequence[bytes], block_size: int) -> list[bytes]:
    blocks: list[bytes] = []
    current = b""
    for item in items:
        if current and len(current) + len(item) > block_size:
            blocks.append(current)
            current = b""
        current += item
        if len(current) > block_size:
            *full, current = _cut(current, block_size)
            blocks += full
    return [*blocks, current] if current else blocks


def _cut(data: bytes, block_size: int) -> list[bytes]:
    if block_size < 1:
        raise ApduError(f"a block size of {block_size} bytes is impossible")
    return [data[at : at + block_size] for at in range(0, len(data), block_size)]
