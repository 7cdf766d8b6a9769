"""Reads the query files: blocks of SQL, each under a line `-- name: x`.

A list under `-- name: x, both ways` is read backwards too, as `x_descending`.
A block under `-- part: x` is no query: it takes the place of the line `-- x` in the queries of its file.
"""

import re
from importlib.resources import files

DESCENDING = "_descending"
_NAME = re.compile(r"^-- name: (\w+)(, both ways)?$", re.MULTILINE)
_PART = re.compile(r"^-- part: (\w+)\n(.*?)\n\n", re.MULTILINE | re.DOTALL)


def load_queries(repository: str) -> dict[str, str]:
    """Return the queries of one repository by name.

    Raises:
        ValueError: a name stands twice in the file.
    """
    text = files(__package__).joinpath("queries", f"{repository}.sql").read_text(encoding="utf-8")
    for name, body in _PART.findall(text):
        text = text.replace(f"\n-- {name}\n", f"\n{body}\n")
    _, *parts = _NAME.split(_PART.sub("", text))
    found: dict[str, str] = {}
    for name, both_ways, body in zip(parts[0::3], parts[1::3], parts[2::3], strict=True):
        if name in found:
            raise ValueError(f"queries/{repository}.sql names a query twice")
        found[name] = body.strip()
        if both_ways:
            found[f"{name}{DESCENDING}"] = _backwards(found[name])
    return found


def _backwards(query: str) -> str:
    ordered, limit = query.rsplit(" LIMIT ", 1)
    return f"{ordered} DESC LIMIT {limit}"
