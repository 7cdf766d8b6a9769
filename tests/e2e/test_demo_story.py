"""`opentsm demo` as a new user runs it: real processes, both forms of output, and how it ends."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from tests.e2e.demo_process import processes_with, require_nothing_left, start

from opentsm.demo.story import STEPS

DEMO_S = 300
ISD, CENTRAL_SD = "A000000151000000", "F04F545344000001"


def read_until(process: subprocess.Popen[str], words: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            return
    raise AssertionError(f"{words!r} was never told")


def test_demo_when_everything_is_verified_then_one_json_document(open_data_dir: str) -> None:
    process = start(open_data_dir, "demo", "--json")
    out, told = process.communicate(timeout=DEMO_S)
    assert process.returncode == 0, told
    document = json.loads(out)
    operations = document["operations"]
    assert {one["state"] for one in operations} == {"SUCCEEDED"}
    counted = [one["type"] for one in operations]
    assert {kind: counted.count(kind) for kind in set(counted) - {"AUDIT"}} == {
        "DEPLOY": 6,
        "TOP_UP": 2,
        "SUSPEND": 2,
        "RESUME": 2,
        "TERMINATE": 6,
        "CONFIGURE": 2,
        "CONVERSATION": 1,
    }
    for one in operations:
        assert one["id"]
        assert min(one["apdus"], one["round_trips"], one["bytes"]) > 0
        assert one["duration_ms"] >= 0
    assert len({one["id"] for one in operations}) == len(operations)
    assert [card["profile"] for card in document["cards"]] == ["scp03-nfc-i70", "scp02-nfc-i55"]
    for card in document["cards"]:
        kinds = sorted(entry["kind"] for entry in card["registry"])
        assert kinds == 3 * ["APPLICATION"] + ["ISD"] + 4 * ["LOAD_FILE"]
        assert card["free_memory"] > 0
    kinds = [(card["profile"], card["mode"], card["handover"]) for card in document["arranged_cards"]]
    assert kinds == [("se-700-blank", "CM", "relay-trusted"), ("se-700", "DM", "confidential")]
    for card in document["arranged_cards"]:
        held = {entry["aid"]: entry["privileges"] for entry in card["registry"]}
        assert held[CENTRAL_SD] == ["Security Domain", "Trusted Path", "Authorized Management"]
        assert "Token Verification" in held[ISD]
        assert "Global Registry                 x" in "\n".join(card["matrix"])
    for line in (
        "plan for: deploy «Bank card» on SE 1",
        "another provider asks for this instance, and for the subscription  404 not_found; 404 not_found",
        "the card refuses INSTALL [for load] with 6985",
        "5 tokens, 5 receipts",
        "the POS no longer finds the bank card",
        "lets no app use it any more",
    ):
        assert line in told
    require_nothing_left(open_data_dir)
    assert not list(Path(open_data_dir).iterdir())


def test_demo_when_a_person_watches_then_plans_come_before_their_results(open_data_dir: str) -> None:
    process = start(open_data_dir, "demo")
    out, errors = process.communicate(timeout=DEMO_S)
    assert process.returncode == 0, errors
    assert out.index("plan for: deploy «Bank card» on SE 1") < out.index("✔ deploy «Bank card» on SE 1")
    assert "Every step was verified on the cards." in out
    assert "APDUs" in out[out.index("Operations") :]
    assert "\x1b[" not in out
    assert out.count("✔") == STEPS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_when_interrupted_then_leaves_nothing_behind(open_data_dir: str, number: signal.Signals) -> None:
    process = start(open_data_dir, "demo", "--json")
    read_until(process, "plan for: deploy «Bank card» on SE 1")
    process.send_signal(number)
    process.communicate(timeout=DEMO_S)
    assert process.returncode == 130
    require_nothing_left(open_data_dir)
    assert not list(Path(open_data_dir).iterdir())


def test_demo_when_killed_then_its_children_end_by_themselves(open_data_dir: str) -> None:
    process = start(open_data_dir, "demo", "--json")
    read_until(process, "✔ the TSM audits SE 1")
    process.kill()
    process.communicate(timeout=DEMO_S)
    require_nothing_left(open_data_dir, within_s=120)


def test_demo_when_the_server_dies_then_names_the_step_and_cleans_up(open_data_dir: str) -> None:
    process = start(open_data_dir, "demo", "--json")
    read_until(process, "✔ the TSM audits SE 1")
    servers = [pid for pid, line in processes_with(open_data_dir).items() if " serve " in line]
    os.kill(servers[0], signal.SIGKILL)
    out, told = process.communicate(timeout=DEMO_S)
    assert process.returncode == 1
    error = json.loads(out)["error"]
    assert error["what"].startswith("the demo failed at: ")
    assert error["why"]
    assert "error: the demo failed at: " in told
    require_nothing_left(open_data_dir, within_s=120)
