"""Content commands taken apart and put together again, as the party that signs their tokens sees them.

Specification: GPCS 2.3.1 §11.2.2, §11.5.2.3, §C.4, §C.5 (layouts spelled out here byte by byte).
"""

import pytest

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.errors import ApduError
from opentsm.card.gp import commands as gp
from opentsm.card.gp.content_commands import (
    ContentKind,
    parse_content_command,
    receipt_context,
    takes_token,
    with_reference,
    without_reference,
)
from opentsm.card.gp.install_params import application_parameters
from opentsm.card.gp.privileges import Privilege
from opentsm.card.gp.tokens import split_token, token_input, with_token

SD, OTHER = Aid.from_hex("A000000151000000"), Aid.from_hex("A0000001510000AA")
ELF, MODULE, APP = (Aid.from_hex(f"F0010203{end}") for end in ("04", "0401", "040101"))
REFERENCE = bytes.fromhex("450407070707930801" + "00" * 7)
HASH = bytes(range(32))

COMMANDS = {
    ContentKind.LOAD: gp.install_for_load(ELF, SD, hash=HASH),
    ContentKind.INSTALL: gp.install_for_install(
        ELF, MODULE, APP, Privilege(0), application_parameters(b"\x01\x02"), make_selectable=False
    ),
    ContentKind.INSTALL_AND_MAKE_SELECTABLE: gp.install_for_install(
        ELF, MODULE, APP, Privilege.CARD_RESET, application_parameters(), make_selectable=True
    ),
    ContentKind.MAKE_SELECTABLE: gp.install_for_make_selectable(APP),
    ContentKind.EXTRADITION: gp.install_for_extradition(APP, OTHER),
    ContentKind.REGISTRY_UPDATE: gp.install_for_registry_update(APP, parameters=bytes.fromhex("EF03D90110")),
    ContentKind.DELETE: gp.delete(APP),
}


@pytest.mark.parametrize("kind", COMMANDS, ids=lambda kind: kind.value.replace(" ", "-"))
def test_content_command_when_parsed_tells_what_it_does(kind: ContentKind) -> None:
    parsed = parse_content_command(COMMANDS[kind])
    assert parsed.kind is kind
    assert parsed.target == (ELF if kind is ContentKind.LOAD else APP)
    assert takes_token(COMMANDS[kind])


def test_fields_when_parsed_are_those_of_the_command() -> None:
    load = parse_content_command(COMMANDS[ContentKind.LOAD])
    assert (load.load_file, load.security_domain, load.digest) == (ELF, SD, HASH)
    install = parse_content_command(COMMANDS[ContentKind.INSTALL])
    assert (install.load_file, install.module) == (ELF, MODULE)
    assert [(one.tag, one.value) for one in install.own_parameters] == [(0xC9, b"\x01\x02")]
    assert parse_content_command(COMMANDS[ContentKind.EXTRADITION]).security_domain == OTHER
    assert parse_content_command(gp.delete(ELF, related=True)).related


@pytest.mark.parametrize("kind", COMMANDS, ids=lambda kind: kind.value.replace(" ", "-"))
def test_reference_and_token_when_added_are_signed_and_taken_off_again(kind: ContentKind) -> None:
    plain = COMMANDS[kind]
    referring = with_reference(plain, REFERENCE)
    parsed = parse_content_command(referring)
    assert parsed.reference == REFERENCE
    assert parsed.own_parameters == parse_content_command(plain).own_parameters
    signed = with_token(referring, b"\xa5" * 64)
    assert split_token(signed)[1] == b"\xa5" * 64
    assert REFERENCE in token_input(referring)
    assert without_reference(signed) == plain


def test_reference_of_an_installation_when_added_stands_in_its_parameters() -> None:
    """§11.5.2.3.7: B6 beside C9; its length counts into that of the parameter field."""
    made = with_reference(COMMANDS[ContentKind.INSTALL], bytes.fromhex("930101"))
    names = b"\x05" + ELF + b"\x06" + MODULE + b"\x07" + APP + b"\x03\x00\x00\x00"
    assert made.data == names + bytes.fromhex("09C9020102B60393010100")


def test_reference_of_a_deletion_when_added_follows_the_name() -> None:
    made = with_reference(gp.delete(APP), bytes.fromhex("930101"))
    assert made.data == b"\x4f\x07" + APP + bytes.fromhex("B603930101")


REFUSED = {
    "get data": gp.get_data(0xE0),
    "personalization": gp.install_for_personalization(APP),
    "deletion of a key": gp.delete_key(1, 0x30),
    "combined": gp.install_for_combined_load(ELF, SD, hash=HASH),
    "one of a series": CommandApdu(0x80, 0xE6, 0x82, 0x00, COMMANDS[ContentKind.LOAD].data),
    "another class": CommandApdu(0x84, 0xE6, 0x02, 0x00, COMMANDS[ContentKind.LOAD].data),
    "cut off": CommandApdu(0x80, 0xE6, 0x02, 0x00, COMMANDS[ContentKind.LOAD].data[:9]),
    "bytes behind": CommandApdu(0x80, 0xE6, 0x02, 0x00, COMMANDS[ContentKind.LOAD].data + b"\x00"),
    "two names": CommandApdu(0x80, 0xE4, 0x00, 0x00, gp.delete(APP).data + gp.delete(ELF).data),
    "no AID": CommandApdu(0x80, 0xE4, 0x00, 0x00, b"\x4f\x01\x01"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_command_when_it_takes_no_token_or_is_malformed_is_refused(name: str) -> None:
    with pytest.raises(ApduError):
        parse_content_command(REFUSED[name])


def test_reference_when_there_is_one_or_a_token_is_not_added_again() -> None:
    for command in (
        with_reference(gp.delete(APP), REFERENCE),
        gp.delete(APP, token=b"t"),
        with_token(COMMANDS[ContentKind.LOAD], b"t"),
    ):
        with pytest.raises(ApduError):
            with_reference(command, REFERENCE)


def lv(*values: bytes) -> bytes:
    return b"".join(bytes((len(value),)) + value for value in values)


CONTEXTS = {
    ContentKind.LOAD: lv(ELF, SD),
    ContentKind.INSTALL: lv(ELF, APP),
    ContentKind.INSTALL_AND_MAKE_SELECTABLE: lv(ELF, APP),
    ContentKind.MAKE_SELECTABLE: lv(ELF, APP),
    ContentKind.EXTRADITION: lv(SD, APP, OTHER),
    ContentKind.REGISTRY_UPDATE: lv(b"", APP, b"", b"") + lv(bytes.fromhex("EF03D90110")),
    ContentKind.DELETE: lv(APP),
}


@pytest.mark.parametrize("kind", CONTEXTS, ids=lambda kind: kind.value.replace(" ", "-"))
def test_receipt_of_a_command_signs_what_the_specification_lists(kind: ContentKind) -> None:
    assert receipt_context(parse_content_command(COMMANDS[kind]), SD, ELF) == CONTEXTS[kind]


def test_receipt_of_a_load_without_domain_names_the_one_that_did_it() -> None:
    command = parse_content_command(gp.install_for_load(ELF, None, hash=HASH))
    assert receipt_context(command, OTHER) == lv(ELF, OTHER)


def test_receipt_of_make_selectable_when_the_load_file_is_not_known_cannot_be_told() -> None:
    with pytest.raises(ApduError):
        receipt_context(parse_content_command(COMMANDS[ContentKind.MAKE_SELECTABLE]), SD)
