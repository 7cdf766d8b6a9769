"""Token input and placing (GPCS 2.3.1 §C.4)."""

import pytest

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.errors import ApduError
from opentsm.card.gp import commands as gp
from opentsm.card.gp.dap import dap_block
from opentsm.card.gp.privileges import Privilege
from opentsm.card.gp.tokens import (
    sign_combined,
    sign_command,
    split_token,
    token_control_template,
    token_input,
    with_token,
)

ELF = Aid(bytes.fromhex("F04F54534D01"))
APP = Aid(bytes.fromhex("A0000000031010"))


def test_with_token_when_install_then_same_as_built_with_it() -> None:
    token = b"\x5a" * 128
    plain = gp.install_for_load(ELF, None)
    assert with_token(plain, token).data == gp.install_for_load(ELF, None, token=token).data


def test_with_token_when_delete_then_same_as_built_with_it() -> None:
    assert with_token(gp.delete(APP), b"\x01\x02") == gp.delete(APP, token=b"\x01\x02")


def test_token_input_when_combined_then_both_commands() -> None:
    load = gp.install_for_combined_load(ELF, None)
    install = gp.install_for_combined_install(None, APP, APP, Privilege.NONE, b"\xc9\x00")
    assert token_input(load, install).hex().upper() == (
        "0E010A"
        + load.data[:-1].hex().upper()
        + "0E03"
        + f"{len(install.data) - 1:02X}"
        + install.data[:-1].hex().upper()
    )


def test_token_input_when_fields_above_255_bytes_then_three_byte_length() -> None:
    command = gp.install_for_install(ELF, APP, APP, Privilege.NONE, bytes(260), make_selectable=True)
    size = len(command.data) - 1
    assert token_input(command)[:5] == b"\x0c\x00\x00" + size.to_bytes(2, "big")


def test_token_input_when_token_already_there_then_refused() -> None:
    with pytest.raises(ApduError, match="already"):
        token_input(gp.install_for_load(ELF, None, token=b"\x01"))


def test_token_input_when_another_command_then_refused() -> None:
    with pytest.raises(ApduError, match="only INSTALL and DELETE"):
        token_input(gp.select())


def test_dap_block_when_built_then_e2_with_sd_and_signature() -> None:
    assert dap_block(ELF, b"\x01\x02").hex().upper() == "E20C4F06F04F54534D01C3020102"


class Recorder:
    """A signer outside this process, an HSM for example: it sees the message and returns a signature."""

    def __init__(self, signature: bytes) -> None:
        self.signature = signature
        self.messages: list[bytes] = []

    def sign(self, message: bytes) -> bytes:
        self.messages.append(message)
        return self.signature


@pytest.mark.parametrize("length", [8, 64, 127, 128, 132, 256])
@pytest.mark.parametrize(
    "command",
    [
        gp.install_for_load(ELF, None, hash=bytes(32)),
        gp.install_for_install(ELF, APP, APP, Privilege.NONE, b"\xc9\x00", make_selectable=False),
        gp.install_for_make_selectable(APP),
        gp.install_for_extradition(APP, ELF),
        gp.install_for_registry_update(APP, privileges=Privilege.GLOBAL_SERVICE),
        gp.delete(APP, related=True),
    ],
)
def test_sign_command_when_any_operation_then_the_token_is_found_again(
    command: CommandApdu, length: int
) -> None:
    """A token that ends in 00 is a token."""
    signer = Recorder(bytes(length))
    signed = sign_command(command, signer)
    assert signer.messages == [token_input(command)]
    fields, token = split_token(signed)
    assert token == bytes(length)
    assert fields == split_token(command)[0]
    assert signed.extended == (len(signed.data) > 255)
    with pytest.raises(ApduError, match="already"):
        sign_command(signed, signer)


def test_sign_combined_when_signed_then_one_token_in_the_last_command() -> None:
    load = gp.install_for_combined_load(ELF, None)
    install = gp.install_for_combined_install(None, APP, APP, Privilege.NONE, b"\xc9\x00")
    signer = Recorder(b"\x5a" * 64)
    signed = sign_combined(load, install, signer)
    assert signer.messages == [token_input(load, install)]
    assert split_token(signed)[1] == b"\x5a" * 64
    with pytest.raises(ApduError, match="last command"):
        sign_command(load, signer)


def test_split_token_when_fields_are_malformed_then_refused() -> None:
    for data in (b"", b"\x05\x01", b"\x00\x00\x00\x00\x00\xff"):
        with pytest.raises(ApduError):
            split_token(CommandApdu(0x80, 0xE6, 0x02, 0, data))


def test_token_control_template_when_built_then_b6_with_what_is_given() -> None:
    template = token_control_template(number=b"\x07", domain_provider=b"\x01\x02", domain_image=b"\x03")
    assert template.hex().upper() == "B60A42020102450103930107"
    assert token_control_template(provider=b"\xaa") == bytes.fromhex("B6045F2001AA")
