"""The index of names: one read finds any name, whatever it names."""

import re

from tests.contract.test_storage_queries import plan_of

from opentsm.tsm.adapters.storage.sql import load_queries


async def test_look_up_when_planned_then_one_read_of_the_index_of_names_and_keys_behind_it(
    untouched_dsn: str,
) -> None:
    plan = await plan_of(untouched_dsn, load_queries("se_registry")["look_up"])
    scans = re.findall(r"(?:Index (?:Only )?|Seq |Bitmap Heap )Scan using (\w+) on (\w+)", plan)
    assert scans == [
        ("se_identifiers_value", "se_identifiers"),
        ("secure_elements_pkey", "secure_elements"),
        ("se_data_pkey", "se_data"),
    ], plan
    assert "loops" not in plan
    assert plan.count("Scan") == len(scans), plan
