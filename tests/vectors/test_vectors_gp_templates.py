"""Published templates and parameter fields: card data, registry, keys, privileges, INSTALL.

Sources, one a vector: GlobalPlatformPro `TestParseTags`, `TestGPKeyInfo`, `TestBitField`; the globalplatform
C library `installDataTest.c`; osmocom pySim `test_globalplatform.py` (`Install_param_Test`); load and
extradition tokens made by gpshell3 3.0.0 with published test keys.
"""

from opentsm.card.codec.aid import Aid
from opentsm.card.gp import install_params as params
from opentsm.card.gp import responses as rsp
from opentsm.card.gp.instructions import StatusScope
from opentsm.card.gp.privileges import Privilege


def unhex(text: str) -> bytes:
    return bytes.fromhex(text)


def test_parse_card_data_2_2_1_scp02i15() -> None:
    card = rsp.parse_card_data(
        unhex(
            "664c734a06072a864886fc6b01600c060a2a864886fc6b02020101630906072a864886fc6b03640b06092a864886fc6b04"
            "0215650b06092b8510864864020103660c060a2b060104012a026e0102"
        )
    )
    assert card.version == "2.1.1"
    assert card.secure_channels == ((2, 0x15),)


def test_parse_card_data_scp03i70_scp80() -> None:
    card = rsp.parse_card_data(
        unhex(
            "6657735506072a864886fc6b01600b06092a864886fc6b020202630906072a864886fc6b03640b06092a864886fc6b0403"
            "70640b06092a864886fc6b048000650a06082a864886fc6b0504660c060a2b060104012a026e0103"
        )
    )
    assert card.version == "2.2"
    assert card.secure_channels == ((3, 0x70), (0x80, 0))


def test_parse_isd() -> None:
    (isd,) = rsp.parse_status(unhex("e3144f07a00000015100009f700107c50180ea028000"), StatusScope.ISD)
    assert isd.aid.hex() == "a0000001510000"
    assert isd.state_name == "INITIALIZED"
    assert isd.privileges == Privilege.SECURITY_DOMAIN


def test_key_info_template_rsa() -> None:
    keys = rsp.parse_key_information(
        unhex("e020c00401018820c00402018820c00403018820c0060170a180a003c00401718010")
    )
    assert len(keys) == 5
    assert [key.kvn for key in keys] == [1, 1, 1, 0x70, 0x71]
    assert keys[0].components == (rsp.KeyComponent(0x88, 32),)
    assert keys[3].components == (rsp.KeyComponent(0xA1, 128), rsp.KeyComponent(0xA0, 3))


def test_key_info_template_extended() -> None:
    keys = rsp.parse_key_information(
        unhex("e021c00401018010c00402018010c00403018010c00d0173ffa10080a0000301840100")
    )
    assert len(keys) == 4
    assert keys[3].components == (rsp.KeyComponent(0xA1, 128), rsp.KeyComponent(0xA0, 3))
    assert (keys[3].usage, keys[3].access) == (0x84, 0x00)


def test_privileges_80c000() -> None:
    privileges = Privilege.from_bytes(unhex("80c000"))
    assert privileges.names == ("Security Domain", "Trusted Path", "Authorized Management")


def test_privileges_9efe80() -> None:
    """The vector counts 13; which they are follows from the bits 9E FE 80 of Tables 11-7 to 11-9."""
    names = (
        "Security Domain",
        "Card Lock",
        "Card Terminate",
        "Card Reset",
        "CVM Management",
        "Trusted Path",
        "Authorized Management",
        "Token Verification",
        "Global Delete",
        "Global Lock",
        "Global Registry",
        "Final Application",
        "Receipt Generation",
    )
    assert len(names) == 13
    assert Privilege.from_bytes(unhex("9efe80")).names == names


def test_install_uicc_syspar() -> None:
    toolkit = params.Toolkit(
        priority=1,
        menu_text_length=0x14,
        channels=2,
        minimum_security=unhex("011e"),
        tars=(unhex("d50103"),),
        services=0,
    )
    adf = Aid(unhex("a0000000871002ffffffff8900000100"))
    value = params.uicc_parameters(toolkit, [(None, b"\x00"), (adf, b"\x00")])
    assert value.hex() == (
        "800d010014000202011e03d501030081180001000010a0000000871002ffffffff8900000100010000"
    )


def test_install_sim_params() -> None:
    toolkit = params.Toolkit(priority=1, timers=1, menu_text_length=16, channels=1, tars=(unhex("d50101"),))
    assert params.toolkit_parameters(toolkit).hex() == "010001011000010003d50101"


def test_install_sd_params() -> None:
    security_domain = params.SecurityDomainParameters(
        secure_channels=((0x02, 0x15),),
        accept_extradition=b"\x80",
        accept_deletion=b"\x80",
        personalized_by_state=True,
        casd_capability=unhex("0102"),
        accept_extradition_away=unhex("8000"),
    )
    assert security_domain.to_bytes().hex() == "8102021582018083018084008602010287028000"


def test_install_params_pysim() -> None:
    system = params.SystemParameters(
        nonvolatile_quota=256, volatile_quota=256, toolkit=unhex("010001001505000000000000000000000000")
    )
    field = params.application_parameters(system=system)
    assert field.hex() == "c900ef1cc8020100c7020100ca12010001001505000000000000000000000000"
    assert params.application_parameters().hex() == "c900"
