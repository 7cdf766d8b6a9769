"""Tokens that another program made with published keys: the host builds their input, the card accepts them.

Sources: gpshell3 3.0.0 (`sign-load-token`, `sign-extradition-token`) with GlobalPlatformPro's
test-dm-rsa-1k.pem; the globalplatform C library's `installDataTest.c` for the data to be signed.
"""

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from tests.unit.vse.card_host import (
    SSD_PRIVILEGES,
    CardHost,
    load_file,
    make_card,
    make_keys,
)

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.crypto.signature import RsaVerificationKey
from opentsm.card.errors import SignatureError
from opentsm.card.gp import commands as gp
from opentsm.card.gp import install_params as params
from opentsm.card.gp.keys import rsa_public_put_key_field
from opentsm.card.gp.privileges import Privilege
from opentsm.card.gp.tokens import token_input

KEYS = make_keys(0x66)
DELEGATED = Aid.from_hex("A000000151000000")
RECEIVER = Aid.from_hex("D0D1D2D3D4D50102")
OBJECT = Aid.from_hex("010203040507")
LOAD_FIELDS = (
    "05010203040508a0000001510000002032bd8f40d709c500204d3887f83fe4aa4440daf70e7268e6ecceced6fad86eef"
    "06ef04c6020128"
)
# The data to be signed: P1, P2, the length of the fields, the fields (GPCS 2.3.1 section C.4.1).
LOAD_DTBS = (
    "02003705010203040508a0000001510000002032bd8f40d709c500204d3887f83fe4aa4440daf70e7268e6ecceced6fad86eef"
    "06ef04c6020128"
)
EXTRADITION_DTBS = "10001308d0d1d2d3d4d5010200060102030405070000"
LOAD_TOKEN = (
    "72e6c687b1347504e520fa622ae14d1381201cfcfc68473c64b4bbdb36a862f44bac7f6bdc82fb06c81655c889c3387809ff1632"
    "98abeb329367877b38eb56a3b876673419a98faf2b0cf0abd35987b5eb381cd63afce084ddba117354be5a9c61152960f96c3d5f"
    "74685204d1f559d8e97cb400dac75fa2153fc68e28964d57"
)
EXTRADITION_FIELDS = "08d0d1d2d3d4d5010200060102030405070000"
EXTRADITION_TOKEN = (
    "8259d60c2609c308efefcd9cfca8a6a5fe0ed94a2c0504fbee8dc7375332127f77d5f73ba90ca202cc38c759e609b814d359"
    "d9876f0de619e0c6e3e3c15441a8c2aa8b9abaf217b7f825b175a475a0e0d3f9f38ec42a987899a29cbcf4bd3d992af827dc"
    "528f221aed8808997244d23ac3bfe88fca858c3bffc35981d48a7cfc"
)
DM_KEY = b"""-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCweHHNANr7knZY8c+vfdurFmFz
AsLHQfnpr57HF6d7DvUddQiCEdl2iJWRKKZRDA0jJt5M6rk6Fn8juWujI3zwDSy9
vOKygiqpNzeRRUz57JObzgUYAldoZCajs9wQssszvF229jDCgv9Z02IQqiwPP4W9
Gy+Dx8tap0FwcA7STQIDAQAB
-----END PUBLIC KEY-----
"""


def unhex(text: str) -> bytes:
    return bytes.fromhex(text)


def numbers() -> tuple[bytes, bytes]:
    """Modulus and exponent of the published token key."""
    native = serialization.load_pem_public_key(DM_KEY)
    assert isinstance(native, RSAPublicKey)
    public = native.public_numbers()
    return public.n.to_bytes(128, "big"), public.e.to_bytes(3, "big")


def test_token_extradition_dtbs() -> None:
    command = gp.install_for_extradition(Aid(unhex("d0d1d2d3d4d50101")), Aid(unhex("d4d4d4d4d4010101")))
    assert token_input(command).hex() == "10001508d4d4d4d4d40101010008d0d1d2d3d4d501010000"


def test_token_delete_dtbs() -> None:
    # This client signs two AIDs at once; the Card Specification knows one, so the command is made here.
    command = CommandApdu(0x80, 0xE4, 0x00, 0x80, unhex("4f07d0d1d2d3d4d5014f08d0d1d2d3d4d50101"), 256)
    assert token_input(command).hex() == "0080134f07d0d1d2d3d4d5014f08d0d1d2d3d4d50101"


def test_token_rsa1k_load() -> None:
    command = gp.install_for_load(
        Aid(unhex("0102030405")),
        DELEGATED,
        hash=unhex("32bd8f40d709c500204d3887f83fe4aa4440daf70e7268e6ecceced6fad86eef"),
        parameters=params.load_parameters(code=0x128),
    )
    signed = token_input(command)
    assert signed.hex() == LOAD_DTBS
    key = RsaVerificationKey(*numbers())
    key.verify(signed, unhex(LOAD_TOKEN))
    with pytest.raises(SignatureError):
        key.verify(signed[:-1] + b"\x00", unhex(LOAD_TOKEN))


def test_token_rsa1k_extradition() -> None:
    signed = token_input(gp.install_for_extradition(OBJECT, RECEIVER))
    assert signed.hex() == EXTRADITION_DTBS
    RsaVerificationKey(*numbers()).verify(signed, unhex(EXTRADITION_TOKEN))


def delegated_card() -> CardHost:
    """The security domain that the tokens name, with Delegated Management, below an issuer with the key."""
    profile: dict[str, object] = {
        "base": "scp03-i70",
        "name": "test",
        "isd_aid": "A000000003000000",
        "receipts": "never",
    }
    host = CardHost(make_card(profile))
    host.authenticate()
    host.ok(gp.put_key(0x70, [rsa_public_put_key_field(*numbers())]))
    assert host.create_domain(DELEGATED, SSD_PRIVILEGES | Privilege.DELEGATED_MANAGEMENT) == 0x9000
    host.forward_keys(DELEGATED, KEYS)
    assert host.create_domain(RECEIVER, parameters=bytes.fromhex("820120")) == 0x9000
    host.forward_keys(RECEIVER, KEYS)
    assert host.load(load_file(OBJECT, ()), package=OBJECT, sd=DELEGATED) == 0x9000
    host.select(DELEGATED)
    host.authenticate(KEYS)
    return host


@pytest.mark.parametrize(
    ("p1", "fields", "token"),
    [(0x02, LOAD_FIELDS, LOAD_TOKEN), (0x10, EXTRADITION_FIELDS, EXTRADITION_TOKEN)],
    ids=["load", "extradition"],
)
def test_token_rsa1k_is_accepted_by_the_card_and_a_changed_one_is_not(
    p1: int, fields: str, token: str
) -> None:
    host = delegated_card()
    for length in ("80", "8180"):
        wrong = unhex(fields + length + token[:-2] + "00")
        assert host.sw(CommandApdu(0x80, 0xE6, p1, 0x00, wrong, 256)) == 0x6982
    data = unhex(fields + "8180" + token)
    assert host.sw(CommandApdu(0x80, 0xE6, p1, 0x00, data, 256)) == 0x9000
