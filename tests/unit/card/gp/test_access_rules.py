"""Access rules: published examples, builders, and the decision of a device.

Sources of the examples: AOSP UiccCarrierPrivilegeRulesTest (FF40…), GlobalPlatform's OMAPI-ARA
test applet (FF50…); order of the searches: AOSP AccessRuleCache.
"""

import pytest

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.errors import ApduError, CardError, ResponseFormatError
from opentsm.card.gp.access_rules import (
    AccessRule,
    ApduFilter,
    RuleTarget,
    decide,
    delete_rules,
    get_specific,
    grants_carrier_privilege,
    missing_bytes,
    parse_clients,
    parse_refresh_tag,
    parse_rules,
    parse_specific,
    store_rule,
)

WITH_PACKAGE = bytes.fromhex(
    "FF4045E243E135C114ABCD92CBB156B280FA4E1429A6ECEEB6E5C1BFE4CA1D"
    "636F6D2E676F6F676C652E616E64726F69642E617070732E6D79617070E30ADB080000000000000001"
)
WITH_AID = bytes.fromhex(
    "FF4034E232E11E4F06FFFFFFFFFFFFC114B61BE34AD2C20D7AFED8493C313A137F89FA2765"
    "E310D00101D10101DB080000000000000001"
)
WITH_4F00 = bytes.fromhex("FF4024E222E1184F00C11475C073AFD219AEB221948E828F066E778ADFDF23E306D00101D10101")
WITHOUT_DB = bytes.fromhex(
    "FF402AE228E11E4F06FFFFFFFFFFFFC114B61BE34AD2C20D7AFED8493C313A137F89FA2765E306D00101D10101"
)
HASH, OTHER, PARENT = b"\x11" * 20, b"\x22" * 20, b"\x33" * 32
AID = Aid.from_hex("F0000000010101")
GET_BALANCE = CommandApdu(0x80, 0x5C, 0x00, 0x02)


def test_rules_when_of_android_with_package_then_read() -> None:
    (rule,) = parse_rules(WITH_PACKAGE)
    assert rule.target.package == "com.google.android.apps.myapp" and rule.target.aid == b""
    assert rule.target.device.hex() == "abcd92cbb156b280fa4e1429a6eceeb6e5c1bfe4"
    assert (rule.apdu, rule.nfc, rule.permissions) == (None, None, bytes(7) + b"\x01")
    assert grants_carrier_privilege(rule)


def test_rules_when_of_android_with_aid_then_written_again_alike() -> None:
    (rule,) = parse_rules(WITH_AID)
    assert (rule.apdu, rule.nfc) == (True, True) and grants_carrier_privilege(rule)
    assert rule.to_bytes() == WITH_AID[3:]
    assert store_rule(rule).to_bytes().hex().upper() == "80E2900036F034" + WITH_AID[3:].hex().upper()


@pytest.mark.parametrize("data", [WITH_4F00, WITHOUT_DB])
def test_rules_when_without_permissions_then_no_carrier_privilege(data: bytes) -> None:
    (rule,) = parse_rules(data)
    assert not grants_carrier_privilege(rule)


def test_specific_when_of_the_omapi_applet_then_both_never() -> None:
    target = RuleTarget(bytes.fromhex("A000000600010001EE05FE"))
    assert get_specific(target).to_bytes().hex().upper() == "80CAFF5011E10F4F0BA000000600010001EE05FEC10000"
    (rule,) = parse_specific(bytes.fromhex("FF5008E306D00100D10100"), target)
    assert (rule.apdu, rule.nfc) == (False, False)


def test_missing_bytes_when_answer_is_cut_then_told() -> None:
    assert missing_bytes(WITH_AID) == 0
    assert missing_bytes(WITH_AID[:20]) == len(WITH_AID) - 20
    with pytest.raises(ResponseFormatError):
        missing_bytes(WITH_AID + b"\x00")
    with pytest.raises(ResponseFormatError):
        missing_bytes(b"\xff\x50\x00")


@pytest.mark.parametrize(
    "text",
    ["FF5000", "FF4002E200", "FF4004E202E100", "FF400AE208E1024F00E302D000", "FF400BE209E1024F00E303D00102"],
)
def test_rules_when_malformed_then_refused(text: str) -> None:
    with pytest.raises(CardError):
        parse_rules(bytes.fromhex(text))


def test_small_answers_when_read_then_their_values() -> None:
    assert parse_refresh_tag(bytes.fromhex("DF20080102030405060708")) == bytes(range(1, 9))
    assert parse_clients(bytes.fromhex("FF70074F05F000000001")) == (Aid.from_hex("F000000001"),)
    with pytest.raises(ResponseFormatError):
        parse_refresh_tag(bytes.fromhex("DF200101"))


def test_delete_when_each_form_then_its_object() -> None:
    rule = AccessRule(RuleTarget(AID, device=HASH), apdu=True)
    assert delete_rules().data == b"\xf1\x00"
    assert delete_rules(AID).data.hex() == "f1094f07f0000000010101"
    assert delete_rules(rule.target).data[2] == 0xE1 and delete_rules(rule).data[2] == 0xE2


@pytest.mark.parametrize(
    "rule",
    [
        AccessRule(RuleTarget(b"\xf0")),
        AccessRule(RuleTarget(AID, implicit=True)),
        AccessRule(RuleTarget(AID, device=b"\x01")),
        AccessRule(RuleTarget(AID, package="ü")),
        AccessRule(RuleTarget(AID), apdu=False, filters=(ApduFilter(bytes(4), bytes(4)),)),
        AccessRule(RuleTarget(AID), permissions=b"\x01"),
    ],
)
def test_rule_when_impossible_then_not_built(rule: AccessRule) -> None:
    with pytest.raises(ApduError):
        rule.to_bytes()


# --- the decision ------------------------------------------------------------------------------


def rule(
    aid: bytes = b"", device: bytes = b"", *, apdu: bool | None = True, nfc: bool | None = None
) -> AccessRule:
    return AccessRule(RuleTarget(aid, device=device), apdu, nfc=nfc)


@pytest.mark.parametrize(
    ("rules", "expected", "reason"),
    [
        ([], False, "no rule"),
        ([rule(AID, HASH)], True, "A"),
        ([rule(AID, PARENT)], True, "A"),
        ([rule(AID, OTHER), rule(AID)], False, "A: rules for other device applications only"),
        ([rule(AID), rule(b"", HASH, apdu=False)], True, "B"),
        ([rule(b"", HASH)], True, "C"),
        ([rule(b"", OTHER), rule()], False, "C: rules for other device applications only"),
        ([rule()], True, "D"),
        ([rule(AID, apdu=False), rule()], False, "B"),
        ([rule(Aid.from_hex("F000000002"))], False, "no rule"),
        ([rule(AID, HASH, apdu=None, nfc=True)], False, "A"),
    ],
)
def test_decide_when_rules_stand_in_order_then_the_first_search_wins(
    rules: list[AccessRule], expected: bool, reason: str
) -> None:
    access = decide(rules, AID, [HASH, PARENT])
    assert (access.apdu, access.reason) == (expected, reason)
    assert access.permits(GET_BALANCE) is expected


def test_decide_when_own_certificate_and_chain_have_rules_then_the_own_counts() -> None:
    rules = [rule(AID, PARENT), rule(AID, HASH, apdu=False)]
    assert not decide(rules, AID, [HASH, PARENT]).apdu
    assert decide(rules, AID, [PARENT]).apdu


def test_decide_when_two_rules_for_one_target_then_deny_beats_allow() -> None:
    access = decide([rule(AID, HASH), rule(AID, HASH, apdu=False, nfc=True)], AID, [HASH])
    assert not access.apdu and access.nfc


def test_decide_when_filters_then_only_what_passes_and_they_add_up() -> None:
    first = AccessRule(
        RuleTarget(AID), True, (ApduFilter(bytes.fromhex("805C0000"), bytes.fromhex("FFFF0000")),)
    )
    second = AccessRule(RuleTarget(AID), True, (ApduFilter(bytes.fromhex("00A40400"), b"\xff" * 4),))
    access = decide([first, second], AID, [])
    assert access.permits(GET_BALANCE) and access.permits(CommandApdu(0x00, 0xA4, 0x04, 0x00))
    assert not access.permits(CommandApdu(0x80, 0x50, 0x00, 0x02)) and not access.nfc
    assert not decide([first], AID, []).permits(CommandApdu(0x00, 0xA4, 0x04, 0x00))


def test_decide_when_implicit_application_then_only_its_rules() -> None:
    implicit = AccessRule(RuleTarget(implicit=True), True)
    assert decide([implicit], None, [HASH]).apdu
    assert not decide([implicit], AID, [HASH]).apdu


def test_decide_when_nfc_is_undefined_then_as_the_apdu_rule() -> None:
    assert decide([rule(AID)], AID, []).nfc
    assert not decide([rule(AID, apdu=False)], AID, []).nfc
    assert not decide([rule(AID, nfc=False)], AID, []).nfc
