"""Messages show values as JSON writes them, and nothing of Python's spelling gets into one."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from opentsm.tsm.kernel.wording import quoted

SOURCE = Path(__file__).parents[4] / "src/opentsm"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("it's", '"it\'s"'),
        ('a "b"', '"a \\"b\\""'),
        ("line\nbreak", '"line\\nbreak"'),
        ("für", '"für"'),
        (True, "true"),
        (None, "null"),
        ({"a": [1, False]}, '{"a": [1, false]}'),
    ],
    ids=["apostrophe", "quotes", "line", "umlaut", "true", "null", "object"],
)
def test_value_when_quoted_then_as_json_writes_it(value: object, text: str) -> None:
    assert quoted(value) == text


def reprs(tree: ast.AST) -> Iterator[int]:
    """Return the lines of formatted strings that show a value as Python writes it; `__repr__` may."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "__repr__":
            continue
        if isinstance(node, ast.FormattedValue) and node.conversion == ord("r"):
            yield node.lineno
        yield from reprs(node)


def test_messages_of_the_server_when_searched_then_none_shows_a_python_repr() -> None:
    files = [file for part in ("tsm", "api") for file in (SOURCE / part).rglob("*.py")]
    found = [
        f"{file.relative_to(SOURCE)}:{line}"
        for file in files
        for line in reprs(ast.parse(file.read_text("utf-8")))
    ]
    assert len(files) > 100
    assert found == []
