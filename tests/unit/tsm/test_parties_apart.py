"""A party's own rooms touch no table of the hub: what they need to know comes through the peer port."""

import ast
from pathlib import Path

import pytest

TSM = Path(__file__).parents[3] / "src/opentsm/tsm"
ROOMS = ("custody", "roles/sp", "roles/sei")
OF_THE_HUB = {
    *("instances", "secure_elements", "operations", "orders", "outbox", "devices", "turns", "credits"),
    *("prepared_data", "webhooks", "deliveries"),
}
# The provider asks the TSM that runs its instances which keys one of them has.
ALLOWED = {("roles/sp/domain_keys.py", "instances")}


def touched(source: str) -> set[str]:
    """Return the repositories of a unit of work that a module names."""
    return {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "tx"
        and node.attr in OF_THE_HUB
    }


@pytest.mark.parametrize("room", ROOMS)
def test_room_of_a_party_when_read_then_names_no_table_of_the_hub(room: str) -> None:
    modules = sorted((TSM / room).rglob("*.py"))
    assert modules
    found = {
        (str(module.relative_to(TSM)), name) for module in modules for name in touched(module.read_text())
    }
    assert found - ALLOWED == set()


def test_search_when_a_module_reads_instances_then_finds_it() -> None:
    source = "async def f(uow):\n    async with uow as tx:\n        await tx.instances.get('x')\n"
    assert touched(source) == {"instances"}
