"""The recipe in the documentation, and those of the demo, are in order."""

import re
from pathlib import Path

import pytest

from opentsm.tsm.roles.sp.recipe_format import read_recipe

ROOT = Path(__file__).parents[5]
DOCUMENTED = re.findall(
    r"```json\n(.*?)```", (ROOT / "docs/reference/personalization.md").read_text(), re.DOTALL
)
PACKAGED = [path.read_text() for path in sorted((ROOT / "src/opentsm/demo/recipes").glob("*.json"))]


@pytest.mark.parametrize("recipe", DOCUMENTED + PACKAGED)
def test_recipe_when_shown_to_users_then_in_order(recipe: str) -> None:
    assert read_recipe(recipe.encode()).probe == 0xDF01
