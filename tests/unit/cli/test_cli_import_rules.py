"""The import rules bite: a violation of each, planted in a copy of the sources, is found."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from opentsm.cli.source_tree import source_root, tool

# file, line to plant, the rule that it breaks
VIOLATIONS = [
    ("card/planted.py", "", "0. Entry points over the TSM over the card; nothing points up"),
    (
        "vse/planted.py",
        "import opentsm.tsm.kernel",
        "0. Entry points over the TSM over the card; nothing points up",
    ),
    ("tsm/engine/planted.py", "import opentsm.vse", "0. In the TSM only the virtual bearer"),
    ("demo/planted.py", "import opentsm.tsm.config", "0. The demo uses HTTP"),
    ("bench/rates.py", "import opentsm.tsm.config", "0. Measurements drive the card"),
    ("fuzz/planted.py", "import opentsm.tsm.config", "0. Campaigns feed the card"),
    ("card/codec/planted.py", "import opentsm.card.gp", "1. Inside card"),
    ("card/gp/planted.py", "import msgspec", "1. card needs the standard library and cryptography only"),
    ("tsm/domain/planted.py", "import opentsm.tsm.engine", "2. Inside the TSM"),
    ("tsm/roles/one/planted.py", "import opentsm.tsm.roles.two", "3. Roles never import each other"),
    ("tsm/adapters/postgres/planted.py", "import opentsm.tsm.adapters.storage", "4. Adapters never import"),
    ("api/planted.py", "import asyncpg", "4. The database is spoken to in adapters/storage only"),
    ("vse/planted_too.py", "import opentsm.card.gp", "5. The virtual secure element reads"),
    ("agent/planted.py", "import opentsm.card.codec", "5. The agent imports none of ours"),
    ("sdk/planted.py", "import opentsm.card.codec", "5. The client library imports none of ours"),
    ("tsm/ports/planted.py", "import time", "6. The pure core"),
]


def plant(package: Path) -> None:
    """Write every violation into a copy of the sources."""
    for role in ("one", "two"):
        (package / "tsm" / "roles" / role).mkdir()
        (package / "tsm" / "roles" / role / "__init__.py").touch()
    for name, line, _ in VIOLATIONS:
        (package / name).write_text(f"{line}\n")


def broken_rules(directory: Path) -> list[str]:
    """Run import-linter on the sources in a directory and return the names of the broken rules."""
    shown = subprocess.run(
        [tool("lint-imports"), "--no-cache"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(directory)},
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    return re.findall(r"^(\d\. .*) BROKEN", shown, re.MULTILINE)


def test_import_rules_when_each_is_violated_find_each(tmp_path: Path) -> None:
    root = source_root()
    shutil.copytree(
        root / "src" / "opentsm", tmp_path / "opentsm", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(root / ".importlinter", tmp_path)
    plant(tmp_path / "opentsm")
    broken = broken_rules(tmp_path)
    for _, _, rule in VIOLATIONS:
        assert any(name.startswith(rule) for name in broken), rule
    rules = re.findall(r"^name = (.*)$", (root / ".importlinter").read_text(), re.MULTILINE)
    assert set(broken) == set(rules), "a rule without a planted violation"
