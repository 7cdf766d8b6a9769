"""`opentsm agent run` as a process: enrolment, a virtual card, signals, exit codes."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.contract.seram_server import CODE, START, STOP, SeramServer, seram_order

from opentsm.card.crypto.secret import Secret
from opentsm.cli.agent import secure_elements
from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError
from opentsm.cli.readers import NamedReader, open_reader
from opentsm.vse.card import KeyMaterial
from opentsm.vse.cards_on_disk import CardDirectory

TEST_KEY = Secret(bytes(range(0x40, 0x50)))
SELECT_ISD = "00A4040000"


@pytest.fixture
def card(tmp_path: Path) -> str:
    CardDirectory(tmp_path / "card").issue("scp03-i70", 7, KeyMaterial(TEST_KEY, TEST_KEY, TEST_KEY))
    return f"vse:{tmp_path / 'card'}"


@asynccontextmanager
async def running(
    server: str, state: Path, card: str, *more: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start the command; kill it if it is still there at the end."""
    arguments = ["agent", "run", "--server", server, "--state", str(state), "--reader", card, "--json", *more]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from opentsm.cli.main import main; main()",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_agent_command_enrols_runs_and_tells_what_it_did(tmp_path: Path, card: str) -> None:
    orders = [START, seram_order(1, SELECT_ISD, expect=[{"sw": ["9000"]}]), STOP]
    async with (
        SeramServer(orders) as server,
        running(server.url, tmp_path / "state", card, "--enrol", CODE) as process,
    ):
        out, err = await process.communicate()
    assert process.returncode == ExitCode.OK, err.decode()
    (row,) = json.loads(out)["ses"]
    assert row["se"] == "F04F54530000000000000007"
    assert (row["ending"], row["orders"], row["apdus"]) == ("STOPPED_BY_SERVER", 3, 1)
    assert server.sessions.popitem()[1] == row["se"]
    assert CODE.encode() not in err
    assert not any(token.encode() in err for token in server.tokens)


async def test_agent_command_sigterm_in_a_long_poll_ends_well(tmp_path: Path, card: str) -> None:
    async with (
        SeramServer([START]) as server,
        running(server.url, tmp_path / "state", card, "--enrol", CODE) as process,
    ):
        await server.idle.wait()
        process.send_signal(signal.SIGTERM)
        out, _ = await process.communicate()
    assert process.returncode == ExitCode.OK
    assert json.loads(out)["ses"][0]["ending"] == "LEFT"


async def test_agent_command_killed_and_started_again_goes_on_with_its_record(
    tmp_path: Path, card: str
) -> None:
    state = tmp_path / "state"
    async with SeramServer([seram_order(1, SELECT_ISD)]) as server:
        async with running(server.url, state, card, "--enrol", CODE) as process:
            await server.idle.wait()
            process.kill()
            await process.wait()
        server.orders += [seram_order(1, SELECT_ISD), STOP]
        server.acknowledge = False
        async with running(server.url, state, card, "--enrol", CODE) as process:
            out, err = await process.communicate()
    assert process.returncode == ExitCode.OK, err.decode()
    assert json.loads(out)["ses"][0]["repeated_orders"] == 1
    first, second = (report for report in server.reports if "orderSequence" in report)
    assert first == second


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--enrol", "guess"], ExitCode.REFUSED, "enrolment_code_invalid"),
        ([], ExitCode.CONFIGURATION, "one-time code"),
        (["--enrol", CODE, "--server", "http://tsm.example"], ExitCode.UNAVAILABLE, "only https"),
        (["--enrol", CODE, "--se", "SIM:1"], ExitCode.USAGE, "TYPE is one of"),
    ],
)
async def test_agent_command_says_what_is_wrong(
    tmp_path: Path, card: str, arguments: list[str], code: ExitCode, words: str
) -> None:
    async with (
        SeramServer([]) as server,
        running(server.url, tmp_path / "state", card, *arguments) as process,
    ):
        out, err = await process.communicate()
    assert process.returncode == code
    assert words in err.decode()
    assert json.loads(out)["error"]["code"] == code.name


def test_secure_elements_real_reader_needs_a_name(card: str) -> None:
    real, virtual = NamedReader(open_reader("vpcd:127.0.0.1:1").reader), open_reader(card)
    assert [e.se_id for e in secure_elements([virtual], [])] == ["F04F54530000000000000007"]
    assert secure_elements([real], ["uicc:8900"])[0].se_type == "uicc"
    for readers, names in (([real], []), ([real, virtual], ["eSE:1"]), ([real, real], ["eSE:1", "eSE:1"])):
        with pytest.raises(CliError):
            secure_elements(readers, names)
