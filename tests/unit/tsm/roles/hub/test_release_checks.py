"""The automatic checks of load files: what passes, and what each finding needs to be found."""

from msgspec.structs import replace

from opentsm.card.codec.aid import Aid
from opentsm.card.gp.cap_builder import AppletSpec, CapSpec, build_cap, build_raw
from opentsm.card.gp.cap_components import Import, Version
from opentsm.card.profiles import SeProfile
from opentsm.tsm.bootstrap import card_profiles
from opentsm.tsm.domain.release import KnownBad, ReleasePolicy, Severity
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.roles.hub.releases.checks import Declared, Facts, examine

RID = "F04F54534D"
PACKAGE, APPLET = Aid.from_hex(RID + "77"), Aid.from_hex(RID + "7701")
FRAMEWORK, LANGUAGE = Aid.from_hex("A0000000620101"), Aid.from_hex("A0000000620001")
OWNER = TenantId("issuer")
NOTHING_SAID = Declared()
JAVA_CARD_2_2_2 = Version(1, 3)
PROFILES: dict[str, SeProfile] = {"scp03-i70": card_profiles()["scp03-i70"]}
FACTS = Facts(rids=(RID,), profiles=PROFILES, policy=ReleasePolicy(owner_id=OWNER))


def spec(*more: Import, framework: Version = JAVA_CARD_2_2_2) -> CapSpec:
    imports = (Import(FRAMEWORK, framework), Import(LANGUAGE, Version(1, 0)), *more)
    return CapSpec(PACKAGE, "org/opentsm/x", Version(1, 0), (AppletSpec(APPLET, "X"),), imports)


def errors(made: CapSpec, facts: Facts = FACTS, declared: Declared = NOTHING_SAID) -> set[str]:
    found = examine(build_cap(made), declared, facts).findings
    return {one.code for one in found if one.severity is Severity.ERROR}


def with_policy(**policy: int) -> Facts:
    return Facts(rids=(RID,), profiles=PROFILES, policy=replace(FACTS.policy, **policy))


def test_load_file_when_all_is_right_then_no_error() -> None:
    assert errors(spec(), declared=Declared(PACKAGE, (APPLET,))) == set()


def test_load_file_when_its_aids_are_not_the_submitters_then_each_is_found() -> None:
    facts = Facts(rids=("A000000999",), profiles=PROFILES, policy=FACTS.policy)
    found = [one for one in examine(build_cap(spec()), Declared(), facts).findings if one.code == "rid"]
    assert [one.place for one in found] == [f"package {PACKAGE}", f"applet {APPLET}"]


def test_load_file_when_other_than_declared_then_found() -> None:
    assert errors(spec(), declared=Declared(package_aid=APPLET)) == {"declared_aid"}
    assert errors(spec(), declared=Declared(modules=(PACKAGE,))) == {"declared_aid"}


def test_load_file_when_the_platform_is_too_old_then_found() -> None:
    assert errors(spec(framework=Version(1, 8))) == {"java_card_version"}
    assert errors(spec(Import(Aid.from_hex("A00000015100"), Version(1, 7)))) == {"gp_api_version"}
    assert errors(spec(Import(Aid.from_hex("A00000015100"), Version(1, 6)))) == set()


def test_load_file_when_it_imports_another_package_then_that_one_is_to_be_released() -> None:
    library = Aid.from_hex(RID + "99")
    made = spec(Import(library, Version(1, 0)))
    assert errors(made) == {"missing_import"}
    present = Facts(rids=(RID,), profiles=PROFILES, policy=FACTS.policy, present={library})
    assert errors(made, present) == set()


def test_load_file_when_larger_than_allowed_then_found() -> None:
    size = len(examine(build_cap(spec()), Declared(), FACTS).block)
    assert errors(spec(), with_policy(max_bytes=size)) == set()
    assert errors(spec(), with_policy(max_bytes=size - 1)) == {"size"}


def test_privileges_when_the_reviewer_does_not_give_them_then_found() -> None:
    """Card Lock (GPCS Table 11-7) is nothing for an application of a provider."""
    asked = Declared(privileges=0x100000)
    assert errors(spec(), declared=asked) == {"privileges"}
    assert "privileges" not in errors(spec(), with_policy(privileges=0xFFFFFF), Declared())


def test_load_file_when_known_to_be_bad_then_found_by_content_package_and_version() -> None:
    sha256 = examine(build_cap(spec()), Declared(), FACTS).sha256
    base = KnownBad(owner_id=OWNER, id="1", reason="leaks keys")
    for entry, expected in (
        (replace(base, sha256=sha256), {"known_bad"}),
        (replace(base, sha256="00" * 32), set()),
        (replace(base, package=PACKAGE), {"known_bad"}),
        (replace(base, package=PACKAGE, package_version="1.0"), {"known_bad"}),
        (replace(base, package=PACKAGE, package_version="1.1"), set()),
    ):
        facts = Facts(rids=(RID,), profiles=PROFILES, policy=FACTS.policy, known_bad=(entry,))
        assert errors(spec(), facts) == expected


def test_load_file_when_its_code_refers_to_a_package_that_is_not_imported_then_found() -> None:
    """JCVM §6.7: the first entry's external class reference names its package by the low seven bits."""
    raw = bytearray(build_raw(spec()))
    entry = bytes.fromhex("0680 03 00".replace(" ", ""))  # static method 0 of class 3 of package 0
    at = raw.index(entry)
    raw[at + 1] = 0x85
    found = examine(bytes(raw), Declared(), FACTS).findings
    assert "constant_pool" in {one.code for one in found if one.severity is Severity.ERROR}
