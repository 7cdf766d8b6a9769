"""The pure part of a description: order of load files, options, priorities."""

from hypothesis import given
from hypothesis import strategies as st

from opentsm.tsm.roles.sp.describe import Application, build, imports_first
from opentsm.tsm.roles.sp.forms import Document

NAMES = [f"F0000000{number:02X}" for number in range(6)]
SERVICE: Document = {"id": "service", "spId": "provider", "sdAid": "F04F54534DF00000000000000001"}


def load_file(aid: str, *imports: str) -> Document:
    return {"aid": aid, "importedPackages": list(imports), "_block": {"sha256": "00", "size": 1}}


def test_load_files_when_one_imports_another_then_the_imported_one_comes_first() -> None:
    library, applet, other = (
        load_file(n, *i) for n, i in ((NAMES[0], ()), (NAMES[1], (NAMES[0],)), (NAMES[2], ()))
    )
    assert imports_first([applet, other, library]) == [library, applet, other]
    assert imports_first([other, library, applet]) == [other, library, applet]


def test_load_files_when_they_import_each_other_then_each_still_occurs_once() -> None:
    one, two = load_file(NAMES[0], NAMES[1]), load_file(NAMES[1], NAMES[0])
    assert sorted(str(found["aid"]) for found in imports_first([one, two])) == NAMES[:2]


@given(st.dictionaries(st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=3)))
def test_load_files_when_they_import_anything_then_all_are_kept(imports: dict[str, list[str]]) -> None:
    given_files = [load_file(name, *needed) for name, needed in imports.items()]
    ordered = [str(found["aid"]) for found in imports_first(given_files)]
    assert sorted(ordered) == sorted(imports)
    for name, needed in imports.items():
        for one in needed:
            acyclic = all(not imports[other] for other in needed if other in imports)
            if one in imports and one != name and acyclic:
                assert ordered.index(one) < ordered.index(name)


def application(instance: str, priority: int) -> Application:
    module: Document = {"aid": NAMES[1]}
    return Application(priority, module, {"instanceAid": instance}, load_file(NAMES[0]))


def test_applications_when_they_have_priorities_then_the_lowest_comes_first() -> None:
    flavor: Document = {"id": "flavor", "featureConfig": {"genericOptions": {"underIssuerDomain": True}}}
    applications = [application(NAMES[3], 255), application(NAMES[4], 1), application(NAMES[5], 255)]
    description = build(SERVICE, "1.0.0", flavor, [load_file(NAMES[0])], applications)
    order = [str(one.instance_aid) for one in description.applications]
    assert order == [NAMES[4], NAMES[3], NAMES[5]]
    assert not description.dedicated_sd
    assert not description.extradite
    assert all(one.make_selectable and one.install_parameters == b"" for one in description.applications)
