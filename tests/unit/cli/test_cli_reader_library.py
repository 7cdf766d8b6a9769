"""The test command builds pyscard from a locked source, and nothing else does."""

import re
import subprocess
from pathlib import Path

import pytest

from opentsm.cli import reader_library
from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError
from opentsm.cli.source_tree import source_root


def tree(directory: Path, text: str = "# a comment\npyscard==1.2 \\\n    --hash=sha256:00\n") -> Path:
    (directory / reader_library.LOCK).write_text(text)
    return directory


def test_lock_when_read_pins_one_source_that_the_other_lock_excludes() -> None:
    root = source_root()
    lock = (root / reader_library.LOCK).read_text()
    assert re.fullmatch(r"# [^\n]+\npyscard==[0-9.]+ \\\n {4}--hash=sha256:[0-9a-f]{64}\n", lock), (
        "one package by one hash, without URLs"
    )
    version = reader_library.locked_version(lock)
    assert f"pyscard=={version} ; sys_platform == 'never'" in (root / "requirements.lock").read_text()


def test_require_pyscard_when_the_version_is_there_then_nothing_is_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(reader_library, "installed_version", lambda: "1.2")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("something was run"))
    reader_library.require_pyscard(tree(tmp_path))


def test_require_pyscard_when_another_version_is_there_then_it_is_built_by_hash_outside_the_tree(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    runs: list[tuple[list[str], Path]] = []

    def run(command: list[str], *, cwd: str, **_: object) -> "subprocess.CompletedProcess[bytes]":
        runs.append((command, Path(cwd)))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(reader_library, "installed_version", lambda: "1.1")
    monkeypatch.setattr(subprocess, "run", run)
    reader_library.require_pyscard(tree(tmp_path))
    [(command, directory)] = runs
    assert {"--require-hashes", "--no-build-isolation", "--no-deps"} <= set(command)
    assert str(tmp_path / reader_library.LOCK) in command
    # The tree's pyproject.toml says that pyscard is never wanted.
    assert directory not in {tmp_path, *source_root().parents} - {Path("/")}


def test_require_pyscard_when_it_cannot_be_built_then_the_packages_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(reader_library, "installed_version", lambda: None)
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1))
    with pytest.raises(CliError) as refused:
        reader_library.require_pyscard(tree(tmp_path))
    assert refused.value.code == ExitCode.CONFIGURATION
    assert "libpcsclite-dev" in str(refused.value.advice)


def test_locked_version_when_the_lock_names_no_pyscard_then_it_is_refused() -> None:
    with pytest.raises(ValueError, match="does not name pyscard"):
        reader_library.locked_version("swig==1\n")
