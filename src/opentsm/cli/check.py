"""`opentsm check`: format, lint, types, import rules, and what the tree must not hold."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

import typer

from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import JsonOption, print_json, say
from opentsm.cli.source_tree import source_root, tool, tracked_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

check_app = typer.Typer()

URL = re.compile(r"\b[a-z][a-z0-9+.-]*://|\bfile:|\bgit\+|--(?:extra-)?index-url|--find-links", re.IGNORECASE)
LOCKS_WITH_HOSTS = frozenset({"uv.lock", "pylock.toml", "poetry.lock", "Pipfile.lock"})
PAGE_SUFFIXES = frozenset({".html", ".htm", ".j2", ".jinja", ".jinja2", ".css", ".svg"})
FOREIGN_ORIGIN = re.compile(
    r"""(?:\b(?:src|srcset|action|data|poster)\s*=\s*["']?
      |<link\b[^>]*\bhref\s*=\s*["']?
      |\burl\(\s*["']?
      |@import\s+["']?)
      (?:https?:)?//""",
    re.IGNORECASE | re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found; no findings means that it passed."""

    name: str
    findings: tuple[str, ...]
    duration_s: float

    @property
    def passed(self) -> bool:
        """Tell whether nothing was found."""
        return not self.findings


def run_tool(root: Path, arguments: Sequence[str]) -> list[str]:
    """Run a development tool in the source tree and return its output as findings if it failed."""
    command = [tool(arguments[0]), *arguments[1:]]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return []
    return [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]


def urls_in_lock(root: Path) -> list[str]:
    """Find URLs in `requirements.lock`, and committed locks of formats that carry host names."""
    lock = root / "requirements.lock"
    lines = enumerate(lock.read_text(encoding="utf-8").splitlines(), 1)
    found = [
        f"{lock.name}:{number}: holds a URL: {line.strip()}" for number, line in lines if URL.search(line)
    ]
    wrong = [path for path in tracked_files(root) if path.name in LOCKS_WITH_HOSTS]
    return found + [
        f"{path.relative_to(root)}: carries host names, commit {lock.name} instead" for path in wrong
    ]


def foreign_origins(root: Path) -> list[str]:
    """Find pages and style sheets that load something from another origin."""
    pages = [path for path in tracked_files(root) if path.suffix in PAGE_SUFFIXES and "src" in path.parts]
    return [
        finding
        for page in pages
        for finding in foreign_origins_of(page.relative_to(root), page.read_text("utf-8"))
    ]


def foreign_origins_of(name: Path, text: str) -> Iterable[str]:
    """Find what one page loads from another origin."""
    for number, line in enumerate(text.splitlines(), 1):
        if FOREIGN_ORIGIN.search(line):
            yield f"{name}:{number}: loads from a foreign origin: {line.strip()[:100]}"


CHECKS: dict[str, Callable[[Path], list[str]]] = {
    "format": lambda root: run_tool(root, ["ruff", "format", "--check", "."]),
    "lint": lambda root: run_tool(root, ["ruff", "check", "-q", "."]),
    "imports": lambda root: run_tool(root, ["lint-imports", "--no-cache"]),
    "lock": urls_in_lock,
    "foreign origins": foreign_origins,
    "types": lambda root: run_tool(root, ["mypy", "--no-error-summary"]),
}


def run_checks(root: Path, names: Iterable[str] = tuple(CHECKS)) -> list[CheckResult]:
    """Run checks one after the other and say on stderr how each went.

    Args:
        root: The source tree.
        names: Keys of `CHECKS`.
    """
    results = []
    for name in names:
        start = monotonic()
        result = CheckResult(name, tuple(CHECKS[name](root)), monotonic() - start)
        say(f"{'ok' if result.passed else 'FAILED':<6} {name} ({result.duration_s:.1f} s)")
        for finding in result.findings:
            say(f"    {finding}")
        results.append(result)
    return results


@check_app.command()
def check(as_json: JsonOption = False) -> None:
    """Check format, lint, types, import rules, the lock and pages."""
    results = run_checks(source_root())
    if as_json:
        print_json(
            {"checks": [{"name": r.name, "passed": r.passed, "findings": list(r.findings)} for r in results]}
        )
    if not all(result.passed for result in results):
        raise typer.Exit(ExitCode.FAILED)
