"""Reads the query files: blocks of SQL, each under a line `-- name: x`."""

import re
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load_queries(repository: str) -> dict[str, str]:
    """Return the queries of one repository by name.

    Raises:
        ValueError: a name stands twice in the file.
    """
    text = files(__package__).joinpath("queries", f"{repository}.sql").read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    names, bodies = parts[0::2], parts[1::2]
    if len(set(names)) != len(names):
        raise ValueError(f"queries/{repository}.sql names a query twice")
    return {name: body.strip() for name, body in zip(names, bodies, strict=True)}
