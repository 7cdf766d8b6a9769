"""`opentsm fuzz`: the long campaigns against every reader and the virtual card."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError, JsonOption, print_json, print_table, say

if TYPE_CHECKING:
    from opentsm.fuzz.campaign import Result

_ALL = "all"
_HTTP = "http"
_ADVICE = "for coverage guidance install atheris into this environment: pip install atheris"

fuzz_app = typer.Typer(no_args_is_help=True, help="Feed every reader and the card what nobody would send.")


@fuzz_app.command()
def fuzz(
    target: Annotated[str, typer.Argument(help="One target, `all`, or `list`.")],
    *,
    inputs: Annotated[int, typer.Option(min=1, help="Inputs to each target.")] = 1_000_000,
    seed: Annotated[
        int, typer.Option(min=1, help="The same seed without guidance yields the same inputs.")
    ] = 1,
    guided: Annotated[bool, typer.Option(help="Guidance by coverage, when atheris is installed.")] = True,
    keep: Annotated[Path, typer.Option(help="Where inputs that found something are written.")] = Path(
        "fuzz-findings"
    ),
    replay: Annotated[Path | None, typer.Option(help="Run one saved input instead.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a campaign; exit with a failure when it finds anything.

    `http` starts a sandbox of its own and sends it requests; `all` leaves it out.
    """
    from opentsm.fuzz.catalogue import TARGETS
    from opentsm.fuzz.results import document, save_findings

    if target == "list":
        print_table(
            ("target", "feeds"),
            [{"target": one.name, "feeds": one.help} for one in TARGETS.values()]
            + [{"target": _HTTP, "feeds": "every operation of a server of its own, with broken requests"}],
        )
        return
    if target == _HTTP:
        from opentsm.cli.fuzz_http import feed_server

        feed_server(inputs, seed, as_json=as_json)
        return
    names = list(TARGETS) if target == _ALL else [target]
    if not set(names) <= TARGETS.keys():
        raise CliError(f"no target {target!r}", advice="`opentsm fuzz list` names them", code=ExitCode.USAGE)
    if replay is not None:
        TARGETS[names[0]].prepare()(replay.read_bytes())
        say(f"fuzz: {names[0]} takes this input")
        return
    guide = guided and find_spec("atheris") is not None
    if guided and not guide:
        say(f"fuzz: seeded mutations only; {_ADVICE}")
    rows, found = [], 0
    for name in names:
        result = _guided(name, inputs, seed) if guide else _seeded(name, inputs, seed)
        save_findings(keep, result)
        found += len(result.findings)
        rows.append(document(result))
        say(f"fuzz: {name}: {result.inputs} inputs, {len(result.findings)} findings")
    if as_json:
        print_json({"campaigns": rows, "findings": found})
    else:
        print_table(("target", "inputs", "inputs_per_s", "guided", "findings"), rows)
    if found:
        raise CliError(f"{found} findings", advice=f"their inputs are in {keep}", code=ExitCode.FAILED)


def _seeded(name: str, inputs: int, seed: int) -> Result:
    from opentsm.fuzz.campaign import run_seeded
    from opentsm.fuzz.catalogue import TARGETS

    return run_seeded(TARGETS[name], inputs=inputs, seed=seed)


def _guided(name: str, inputs: int, seed: int) -> Result:
    from opentsm.fuzz.results import read_result

    with tempfile.TemporaryDirectory(prefix="opentsm-fuzz-") as place:
        result, corpus = Path(place) / "result.json", Path(place) / "corpus"
        corpus.mkdir()
        numbers = ["--inputs", str(inputs), "--seed", str(seed)]
        paths = ["--result", str(result), "--corpus", str(corpus)]
        ended = subprocess.run(
            [sys.executable, "-m", "opentsm.fuzz.guided", name, *numbers, *paths],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
        if not result.exists():
            why = ended.stderr.decode("utf-8", "replace")[-500:]
            raise CliError(f"the campaign against {name} ended early", why=why, code=ExitCode.INTERNAL)
        return read_result(result)
