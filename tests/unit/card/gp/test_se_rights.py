"""Who may do what in configurations 500 to 800: the data agree with the privileges and with the text."""

import json
from importlib.resources import files

import pytest

from opentsm.card.errors import ProfileError
from opentsm.card.gp.privileges import Privilege
from opentsm.card.gp.se_configurations import SeConfiguration
from opentsm.card.gp.se_rights import RESTRICTIONS, Act, Enforcement, Rights

P = Privilege
NUMBERS = (500, 600, 700, 800)
MANAGEMENT = (Act.LOAD, Act.INSTALL, Act.EXTRADITE, Act.DELETE)
# what only the card's own privilege gives
NEEDS = {
    Act.DELETE_FOREIGN: P.GLOBAL_DELETE,
    Act.LOCK_FOREIGN: P.GLOBAL_LOCK,
    Act.SEE_ALL: P.GLOBAL_REGISTRY,
    Act.VERIFY_TOKENS: P.TOKEN_VERIFICATION,
    Act.CHECK_SIGNATURES: P.MANDATED_DAP_VERIFICATION,
    Act.PERSONALIZE: P.TRUSTED_PATH,
}


def document(name: str) -> dict[str, object]:
    text = files("opentsm.card").joinpath("configurations_data", f"{name}.json").read_text()
    value: dict[str, object] = json.loads(text)
    return value


def rights(number: int) -> Rights:
    return Rights.from_dict(document(f"rights-{number}"))


@pytest.mark.parametrize("number", NUMBERS)
def test_rights_then_have_a_row_for_each_role_of_the_configuration(number: int) -> None:
    configuration = SeConfiguration.from_dict(document(f"se-{number}"))
    assert list(rights(number).cells) == [role.name for role in configuration.roles]


@pytest.mark.parametrize("number", [600, 700, 800])
def test_rights_then_agree_with_the_privileges_of_each_role(number: int) -> None:
    found = rights(number)
    for role in SeConfiguration.from_dict(document(f"se-{number}")).roles:
        for act, privilege in NEEDS.items():
            assert found.right(role.name, act).allowed is (privilege in role.privileges), (role.name, act)
        manages = role.privileges & (P.AUTHORIZED_MANAGEMENT | P.DELEGATED_MANAGEMENT)
        for act in MANAGEMENT:
            right = found.right(role.name, act)
            # whoever has the privilege and may not is refused by something else than its privileges
            assert manages or (not right.allowed and right.enforced_by is Enforcement.CARD)
            assert not manages or right.allowed or right.enforced_by is not Enforcement.CARD
            assert right.token is (right.allowed and P.DELEGATED_MANAGEMENT in role.privileges)
        for act, privilege in ((Act.LOCK_CARD, P.CARD_LOCK), (Act.TERMINATE_CARD, P.CARD_TERMINATE)):
            assert found.right(role.name, act).allowed is (privilege in role.privileges)


@pytest.mark.parametrize("number", [600, 700, 800])
def test_issuer_domain_then_makes_domains_and_nothing_else(number: int) -> None:
    """The figures' text; what INSTALL [for install] shares with the making of domains is policy."""
    found = rights(number)
    assert found.right("ISD", Act.CREATE_ARRANGED).allowed
    assert found.refused("ISD", (Act.LOAD, Act.INSTALL, Act.EXTRADITE, Act.CREATE_SERVICE_DOMAIN)) == (
        Act.LOAD,
        Act.INSTALL,
        Act.EXTRADITE,
        Act.CREATE_SERVICE_DOMAIN,
    )
    # Table 11-53: load 02, extradition 10
    assert found.restriction("ISD") == 0x12
    assert found.restriction("Central SD") == 0


def test_central_tsm_then_locks_the_card_through_the_issuers_domain() -> None:
    asked = {(one.party, one.act, one.through) for one in rights(700).requests}
    assert asked == {("HUB", Act.LOCK_CARD, "ISD"), ("HUB", Act.UNLOCK_CARD, "ISD")}
    assert rights(500).right("Central SD", Act.LOCK_CARD).allowed


def test_refused_when_the_role_is_unknown_then_everything_is() -> None:
    assert rights(600).refused("nobody", (Act.LOAD,)) == (Act.LOAD,)
    with pytest.raises(ProfileError):
        rights(600).right("nobody", Act.LOAD)


def malformed(**cell: object) -> dict[str, object]:
    data = json.loads(json.dumps(document("rights-600")))
    data["roles"][0]["acts"]["load"].update(cell)
    found: dict[str, object] = data
    return found


def test_rights_when_malformed_then_refused() -> None:
    for wrong in (malformed(more=1), malformed(enforced_by="nobody"), {"configuration": 600}):
        with pytest.raises(ProfileError):
            Rights.from_dict(wrong)
    missing = malformed()
    del missing["roles"][0]["acts"]["load"]  # type: ignore[index]
    with pytest.raises(ProfileError):
        Rights.from_dict(missing)
    impossible = malformed()
    impossible["roles"][0]["acts"]["lock"]["enforced_by"] = "restrict"  # type: ignore[index]
    assert Act.LOCK not in RESTRICTIONS
    with pytest.raises(ProfileError):
        Rights.from_dict(impossible)
