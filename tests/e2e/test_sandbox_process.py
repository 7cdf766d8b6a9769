"""`opentsm sandbox` as a real process: what it prints is enough to deploy a service."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from tests.e2e.demo_process import require_nothing_left, start

from opentsm.demo.http_api import Caller, open_client
from opentsm.demo.services import TRANSIT, Shelf

END_S = 120


def test_sandbox_when_ready_then_a_service_can_be_deployed(open_data_dir: str) -> None:
    words = ["sandbox", "--ses", "3", "--profile", "scp03-i70", "--profile", "scp03-i60", "--json"]
    process = start(open_data_dir, *words)
    try:
        assert process.stdout is not None
        document = json.loads(process.stdout.readline())
        assert document["sptsm_url"] == f"{document['base_url']}/sptsm/1.0.4"
        assert [one["profile"] for one in document["ses"]] == ["scp03-i70", "scp03-i60", "scp03-i70"]
        assert len({one["id"] for one in document["ses"]}) == 3
        asyncio.run(deploy_everywhere(document))
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=END_S)
        assert process.returncode == 0, errors
    finally:
        process.kill()
        process.wait(END_S)
    require_nothing_left(open_data_dir)
    assert not list(Path(open_data_dir).iterdir())


async def deploy_everywhere(document: dict[str, object]) -> None:
    ses = document["ses"]
    assert isinstance(ses, list)
    async with open_client(str(document["base_url"])) as client:
        operator = Caller(client, str(document["operator_token"]))
        assert len((await operator.get("/v1/secure-elements"))["items"]) == 3
        provider = Caller(client, str(document["sp_token"]))
        shelf = Shelf(await provider.provider_door())
        kind = replace(TRANSIT, nfc=False)
        load_file = await shelf.upload_load_file(kind)
        recipe = await shelf.upload_recipe(kind)
        service = await shelf.publish(kind, load_file, recipe, ["scp03-i70", "scp03-i60"])
        bodies = [
            {"service_id": service.id, "se_id": se["id"], "data": {"label": "PASS", "limit": "100"}}
            for se in ses
        ]
        asked = [(await provider.post("/v1/instances", body))["operation"] for body in bodies]
        for operation in asked:
            found = operation
            while found["ended_at"] is None:
                found = await provider.follow(found)
            assert found["state"] == "SUCCEEDED", found["failure"]


def test_sandbox_when_it_was_killed_then_starts_again_in_its_directory(open_data_dir: str) -> None:
    words = ["sandbox", "--data-dir", f"{open_data_dir}/kept", "--ses", "1", "--json"]
    for ending in (signal.SIGKILL, signal.SIGTERM):
        process = start(open_data_dir, *words)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, process.communicate(timeout=END_S)[1]
            assert len(json.loads(line)["ses"]) == 1
            process.send_signal(ending)
            process.communicate(timeout=END_S)
        finally:
            process.kill()
            process.wait(END_S)
    require_nothing_left(open_data_dir)


def test_sandbox_when_the_profile_is_unknown_then_says_which_there_are(open_data_dir: str) -> None:
    process = start(open_data_dir, "sandbox", "--profile", "none")
    _, errors = process.communicate(timeout=END_S)
    assert process.returncode == 2
    assert "opentsm vse profiles" in errors


def test_sandbox_when_the_database_stays_but_the_keystores_would_not_refuses(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "opentsm.cli", "sandbox"]
    environment = {**os.environ, "OPENTSM_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    ended = subprocess.run(
        program, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=END_S, check=False
    )
    assert ended.returncode == 2
    assert "--data-dir" in ended.stderr
