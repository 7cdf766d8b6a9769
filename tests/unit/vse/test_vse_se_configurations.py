"""Configurations 500, 600, 700, 800: the matrix as data, the profiles of both sides, the cards.

The counts of each row are those of the published tables 1, 4, 12.1 and 12.2; the tables of 700 are inferred.
"""

import json
from importlib import resources

import pytest
from tests.unit.vse.card_host import (
    FACTORY_KEYS,
    INSTANCE,
    ISD,
    PACKAGE,
    SD_MODULE,
    SD_PACKAGE,
    SSD,
    CardHost,
    load_file,
    make_keys,
)

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.errors import ProfileError, ResponseFormatError
from opentsm.card.gp import commands
from opentsm.card.gp.install_params import application_parameters
from opentsm.card.gp.instructions import StatusScope
from opentsm.card.gp.privileges import Privilege
from opentsm.card.gp.registry import RegistryEntry
from opentsm.card.gp.responses import parse_status
from opentsm.card.gp.se_configurations import DomainRole, SeConfiguration
from opentsm.card.profiles import SeProfile
from opentsm.vse.card import CardIdentity, KeyMaterial, VirtualCard
from opentsm.vse.nvm import MemoryNvm
from opentsm.vse.profiles import load_profile

P = Privilege
CONFIGURATIONS = (500, 600, 700, 800)
# Row of the matrix -> number of cells: definite ones, and optional ones for DAP Verification.
COUNTS = {
    500: {P.SECURITY_DOMAIN: 2, P.CARD_LOCK: 1, P.CARD_TERMINATE: 1, P.CVM_MANAGEMENT: 1},
    600: {
        P.SECURITY_DOMAIN: 4,
        P.CARD_LOCK: 1,
        P.CARD_TERMINATE: 1,
        P.CVM_MANAGEMENT: 1,
        P.TRUSTED_PATH: 4,
        P.AUTHORIZED_MANAGEMENT: 3,
        P.GLOBAL_DELETE: 1,
        P.GLOBAL_LOCK: 1,
        P.GLOBAL_REGISTRY: 1,
    },
    800: {
        P.SECURITY_DOMAIN: 8,
        P.DELEGATED_MANAGEMENT: 1,
        P.CARD_LOCK: 1,
        P.CARD_TERMINATE: 1,
        P.CVM_MANAGEMENT: 1,
        P.MANDATED_DAP_VERIFICATION: 1,
        P.TRUSTED_PATH: 6,
        P.AUTHORIZED_MANAGEMENT: 4,
        P.TOKEN_VERIFICATION: 1,
        P.GLOBAL_DELETE: 1,
        P.GLOBAL_LOCK: 1,
        P.GLOBAL_REGISTRY: 1,
        P.GLOBAL_SERVICE: 1,
        P.RECEIPT_GENERATION: 1,
    },
}
OPTIONAL_DAP = {500: 1, 600: 1, 800: 2}


def document(folder: str, name: str) -> dict[str, object]:
    text = resources.files("opentsm.card").joinpath(folder, f"{name}.json").read_text("utf-8")
    value: dict[str, object] = json.loads(text)
    return value


def configuration(number: int) -> SeConfiguration:
    return SeConfiguration.from_dict(document("configurations_data", f"se-{number}"))


# --- the matrix --------------------------------------------------------------------------------


@pytest.mark.parametrize("number", COUNTS)
def test_matrix_when_rows_are_counted_then_as_published(number: int) -> None:
    found = configuration(number)
    counted = {one: len(found.holders(one)) for one in Privilege if one}
    assert {one: count for one, count in counted.items() if count} == COUNTS[number]
    optional = [role for role in found.roles if role.optional]
    assert len(optional) == OPTIONAL_DAP[number]
    assert {role.optional for role in optional} == {P.DAP_VERIFICATION}


def test_matrix_when_700_then_800_without_the_operator() -> None:
    mine = {role.name: (role.privileges, role.optional) for role in configuration(700).roles}
    others = {role.name: (role.privileges, role.optional) for role in configuration(800).roles}
    assert others.pop("MNO SD") and mine == others
    assert {role.source for role in configuration(700).roles} == {"INF"}


def test_role_when_mandated_dap_then_coded_with_dap() -> None:
    role = configuration(800).role("MDPH SD")
    assert role.privileges == P.SECURITY_DOMAIN | P.MANDATED_DAP_VERIFICATION
    assert role.coded.to_bytes3().hex() == "c10000"


def test_role_when_privileges_are_asked_then_optional_ones_may_be_there() -> None:
    role = configuration(600).role("SP SD")
    assert role.may_hold(role.privileges) and role.may_hold(role.privileges | P.DAP_VERIFICATION)
    assert not role.may_hold(P.SECURITY_DOMAIN)
    assert not role.may_hold(role.privileges | P.AUTHORIZED_MANAGEMENT)


@pytest.mark.parametrize(
    "change",
    [
        {"configuration": "600"},
        {"roles": {}},
        {"roles": [{"role": "X", "privileges": ["King"], "preissued": False, "source": "REC"}]},
        {"roles": [{"role": "X", "privileges": ["Security Domain"], "preissued": True, "source": "REC"}]},
        {"roles": [{"role": "X", "privileges": ["Trusted Path"], "preissued": False, "source": "REC"}]},
        {"roles": [{"role": "X", "privileges": [], "preissued": False, "source": "GUESS"}]},
        {"roles": [{"role": "X", "privileges": [], "preissued": False, "source": "REC", "more": 1}]},
    ],
)
def test_configuration_when_malformed_then_refused(change: dict[str, object]) -> None:
    with pytest.raises(ProfileError):
        SeConfiguration.from_dict(document("configurations_data", "se-600") | change)
    with pytest.raises(ProfileError):
        configuration(600).role("nobody")


# --- cards -------------------------------------------------------------------------------------


def issue(number: int) -> VirtualCard:
    profile = load_profile(f"se-{number}")
    keys = KeyMaterial(FACTORY_KEYS.enc, FACTORY_KEYS.mac, FACTORY_KEYS.dek)
    domain_keys = {
        bytes.fromhex(entry.aid): KeyMaterial(
            *(getattr(make_keys(at), name) for name in ("enc", "mac", "dek"))
        )
        for at, entry in enumerate(profile.factory_domains, 1)
    }
    card = VirtualCard.issue(profile, CardIdentity.from_serial(1), keys, MemoryNvm(), domain_keys=domain_keys)
    card.power_on()
    return card


def opened(number: int, role: DomainRole | None = None, card: VirtualCard | None = None) -> CardHost:
    """A session with the domain of a role, or the issuer's."""
    host, profile = CardHost(card or issue(number)), load_profile(f"se-{number}")
    aids = [Aid(bytes.fromhex(entry.aid)) for entry in profile.factory_domains]
    keys = FACTORY_KEYS
    if role is not None and role.aid in aids:
        host.select(role.aid)
        keys = make_keys(aids.index(role.aid) + 1)
    else:
        host.select()
    host.authenticate(keys, level=0x03 if number == 500 else 0x33, i=0x55)
    return host


def registry(host: CardHost) -> dict[Aid, RegistryEntry]:
    issuer = host.ok(commands.get_status(StatusScope.ISD))
    answer = host.send(commands.get_status(StatusScope.APPLICATIONS))
    others = answer.data
    while answer.sw == 0x6310:
        answer = host.send(commands.get_status(StatusScope.APPLICATIONS, next=True))
        others += answer.data
    assert answer.sw == 0x9000
    entries = parse_status(issuer, StatusScope.ISD)
    return {one.aid: one for one in (*entries, *parse_status(others, StatusScope.APPLICATIONS))}


@pytest.mark.parametrize("number", CONFIGURATIONS)
def test_card_when_new_then_its_domains_are_those_of_the_matrix(number: int) -> None:
    found, shown = configuration(number), registry(opened(number))
    preissued = {role.aid: role for role in found.roles if role.preissued}
    assert {aid for aid, one in shown.items() if P.SECURITY_DOMAIN in one.privileges} == set(preissued)
    for aid, role in preissued.items():
        assert aid is not None and shown[aid].privileges == role.coded
        assert shown[aid].state == 0x0F
        assert opened(number, role).ok(commands.get_data(0xE0))


@pytest.mark.parametrize("number", CONFIGURATIONS)
def test_privileges_when_assigned_later_then_only_those_that_the_matrix_gives_to_such_domains(
    number: int,
) -> None:
    """GPCS §H.4, tags 81 and 82: what the issuer alone holds in the matrix nobody else gets afterwards."""
    found = configuration(number)
    issuer = next(role for role in found.roles if role.aid == ISD)
    given = P.NONE
    for role in found.roles:
        given |= P.NONE if role is issuer else role.coded | role.optional
    # Card Specification 2.1.1 has one byte, and the others get their defaults: Trusted Path (Table 6-2).
    given |= P.TRUSTED_PATH if number == 500 else P.NONE
    assert load_profile(f"se-{number}").assignable_domain == f"{int(given):06X}"


@pytest.mark.parametrize("number", [600, 700, 800])
@pytest.mark.parametrize(
    "privilege",
    [P.CARD_LOCK, P.CARD_TERMINATE, P.TOKEN_VERIFICATION, P.GLOBAL_DELETE, P.GLOBAL_LOCK, P.GLOBAL_REGISTRY],
)
def test_central_domain_when_it_grants_what_is_the_issuers_then_refused(
    number: int, privilege: Privilege
) -> None:
    host = opened(number, configuration(number).role("Central SD"))
    assert host.create_domain(SSD, P.SECURITY_DOMAIN | P.TRUSTED_PATH | privilege) == 0x6A80
    assert host.create_domain(SSD, P.SECURITY_DOMAIN | P.TRUSTED_PATH) == 0x9000


@pytest.mark.parametrize("number", CONFIGURATIONS)
def test_profiles_when_read_on_both_sides_then_they_agree(number: int) -> None:
    card, host = load_profile(f"se-{number}"), SeProfile.from_dict(document("profiles_data", f"se-{number}"))
    assert card.channels == ((host.scp, host.i),) and bytes.fromhex(card.isd_aid) == host.isd_aid
    assert card.initial_kvn == host.initial_kvn and configuration(number).profile == host.name
    assert host.privilege_bytes == (1 if card.gp211 else 3)


@pytest.mark.parametrize("number", [600, 700, 800])
def test_load_when_each_preissued_domain_tries_then_only_managers_may(number: int) -> None:
    for role in configuration(number).roles:
        if not role.preissued:
            continue
        host = opened(number, role)
        manages = P.AUTHORIZED_MANAGEMENT in role.privileges
        assert host.sw(commands.install_for_load(PACKAGE, None)) == (0x9000 if manages else 0x6985), role.name


@pytest.mark.parametrize("number", [600, 700, 800])
def test_central_domain_when_it_makes_a_service_providers_then_that_cannot_load(number: int) -> None:
    found = configuration(number)
    host = opened(number, found.role("Central SD"))
    assert host.create_domain(SSD, found.role("SP SD").coded) == 0x9000
    host.forward_keys(SSD, make_keys(9))
    provider = CardHost(host.card)
    provider.select(SSD)
    provider.authenticate(make_keys(9))
    assert provider.sw(commands.install_for_load(PACKAGE, None)) == 0x6985
    assert provider.sw(commands.lock(found.role("Central SD").aid or SSD)) == 0x6985


# --- configuration 500: a card of 2.1.1 --------------------------------------------------------


def install_one_byte(host: CardHost, length: int) -> int:
    role = configuration(500).role("SP SD")
    privileges = role.coded | P.DAP_VERIFICATION
    return host.sw(
        commands.install_for_install(
            SD_PACKAGE,
            SD_MODULE,
            SSD,
            privileges,
            application_parameters(),
            make_selectable=True,
            privilege_bytes=length,
        )
    )


def test_privileges_when_card_is_2_1_1_then_one_byte_only() -> None:
    host = opened(500)
    assert install_one_byte(host, 3) == 0x6A80
    assert install_one_byte(host, 1) == 0x9000
    assert registry(host)[SSD].privileges == P.SECURITY_DOMAIN | P.DAP_VERIFICATION


def test_privileges_when_one_byte_cannot_say_them_then_not_built() -> None:
    with pytest.raises(ResponseFormatError):
        (P.SECURITY_DOMAIN | P.AUTHORIZED_MANAGEMENT).coded(1)
    assert (P.SECURITY_DOMAIN | P.TRUSTED_PATH).coded(1) == b"\x80"


def test_commands_when_card_is_2_1_1_then_later_ones_are_unknown() -> None:
    host = opened(500)
    install_one_byte(host, 1)
    assert host.sw(commands.install_for_registry_update(SSD, privileges=P.SECURITY_DOMAIN)) == 0x6A86
    assert host.sw(commands.install_for_combined_load(PACKAGE, None)) == 0x6A86
    assert host.sw(commands.lock(SSD, with_applications=True)) == 0x6A86
    assert host.sw(commands.lock(SSD)) == 0x9000
    assert host.load(load_file(), block_size=200) == 0x9000
    assert host.sw(commands.install_for_extradition(PACKAGE, SSD)) == 0x6985


def test_status_when_old_format_then_plain_fields() -> None:
    host = opened(500)
    answer = host.send(CommandApdu(0x80, 0xF2, 0x80, 0x00, b"\x4f\x00", 256))
    assert (answer.sw, answer.data.hex().upper()) == (0x9000, "08A0000001510000000F9A")
    modules = host.send(CommandApdu(0x80, 0xF2, 0x10, 0x00, bytes.fromhex("4F07A0000001515350"), 256))
    assert modules.data.hex().upper() == "07A00000015153500100" + "0108A000000151535041"
    newer = opened(600)
    assert newer.sw(CommandApdu(0x80, 0xF2, 0x80, 0x00, b"\x4f\x00", 256)) == 0x6A86
    assert newer.card.image().instance(INSTANCE) is None
