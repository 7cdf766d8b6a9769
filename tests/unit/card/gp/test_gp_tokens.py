"""Token input and placing (GPCS 2.3.1 §C.4)."""

import pytest

from opentsm.card.codec.aid import Aid
from opentsm.card.errors import ApduError
from opentsm.card.gp import commands as gp
from opentsm.card.gp.dap import dap_block
from opentsm.card.gp.privileges import Privilege
from opentsm.card.gp.tokens import token_input, with_token

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
