"""`opentsm operation`, `se` and `service` against a sandbox."""

import asyncio
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.demo_process import start
from tests.e2e.test_sandbox_process import deploy_everywhere

END_S = 120


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    directory = tempfile.mkdtemp(prefix="otsm-")
    Path(directory).chmod(0o755)
    process = start(directory, "sandbox", "--ses", "3", "--json")
    try:
        assert process.stdout is not None
        document = json.loads(process.stdout.readline())
        asyncio.run(deploy_everywhere(document))
        yield document
    finally:
        process.terminate()
        process.communicate(timeout=END_S)
        shutil.rmtree(directory)


def ask(
    sandbox: dict[str, Any], directory: Path, *words: str, caller: str = "operator_token"
) -> "subprocess.CompletedProcess[str]":
    environment = {"OPENTSM_CLIENT_BASE_URL": sandbox["base_url"], "OPENTSM_CLIENT_TOKEN": sandbox[caller]}
    process = start(str(directory), *words, environment=environment)
    out, errors = process.communicate(timeout=END_S)
    return subprocess.CompletedProcess(words, process.returncode, out, errors)


def items(done: "subprocess.CompletedProcess[str]") -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["items"]
    return found


def test_operations_when_listed_then_shown_and_followed(sandbox: dict[str, Any], tmp_path: Path) -> None:
    operations = items(ask(sandbox, tmp_path, "operation", "list", "--json"))
    assert [one["type"] for one in operations] == ["DEPLOY"] * 3
    id_ = operations[0]["id"]
    shown = json.loads(ask(sandbox, tmp_path, "operation", "show", id_, "--json").stdout)
    assert shown["plan"]
    followed = ask(sandbox, tmp_path, "operation", "follow", id_)
    assert followed.returncode == 0
    assert "DEPLOY SUCCEEDED" in followed.stderr
    one = items(ask(sandbox, tmp_path, "operation", "list", "--se", operations[0]["se_id"], "--json"))
    assert [found["id"] for found in one] == [id_]


def test_operations_when_limited_then_the_newest_come_and_the_cursor_goes_on(
    sandbox: dict[str, Any], tmp_path: Path
) -> None:
    newest_first = [one["id"] for one in items(ask(sandbox, tmp_path, "operation", "list", "--json"))]
    assert newest_first == sorted(newest_first, reverse=True)
    done = ask(sandbox, tmp_path, "operation", "list", "--limit", "2", "--state", "SUCCEEDED", "--json")
    page = json.loads(done.stdout)
    assert [one["id"] for one in page["items"]] == newest_first[:2]
    assert page["next"] == newest_first[1]
    words = ("operation", "list", "--limit", "2", "--after", page["next"], "--type", "DEPLOY", "--json")
    rest = json.loads(ask(sandbox, tmp_path, *words).stdout)
    assert ([one["id"] for one in rest["items"]], rest["next"]) == (newest_first[2:], None)
    refused = ask(sandbox, tmp_path, "operation", "list", "--state", "LOST")
    assert refused.returncode != 0
    assert "state" in refused.stderr


def test_secure_elements_when_listed_then_shown_with_content(sandbox: dict[str, Any], tmp_path: Path) -> None:
    ses = items(ask(sandbox, tmp_path, "se", "list", "--json"))
    assert {one["id"] for one in ses} == {one["id"] for one in sandbox["ses"]}
    shown = json.loads(ask(sandbox, tmp_path, "se", "show", ses[0]["id"], "--json").stdout)
    assert "F04F54534D020101" in [entry["aid"] for entry in shown["content"]["objects"]]
    table = ask(sandbox, tmp_path, "se", "show", ses[0]["id"])
    assert "F04F54534D020101" in table.stdout
    assert "no operation is running" in ask(sandbox, tmp_path, "se", "follow", ses[0]["id"]).stderr


def test_services_when_asked_by_their_provider_then_shown(sandbox: dict[str, Any], tmp_path: Path) -> None:
    (service,) = items(ask(sandbox, tmp_path, "service", "list", "--json", caller="sp_token"))
    shown = ask(sandbox, tmp_path, "service", "show", service["id"], "--json", caller="sp_token")
    document = json.loads(shown.stdout)
    assert len(document["instances"]) == 3
    assert document["flavors"][0]["published"]
    followed = ask(sandbox, tmp_path, "service", "follow", service["id"], caller="sp_token")
    assert followed.returncode == 0


def test_refusals_when_asked_then_named_with_their_exit_codes(
    sandbox: dict[str, Any], tmp_path: Path
) -> None:
    refused = ask(sandbox, tmp_path, "service", "list")
    assert refused.returncode == 5
    assert "OPENTSM_CLIENT_TOKEN" in refused.stderr
    unknown = ask(sandbox, tmp_path, "operation", "show", "none", "--json")
    assert unknown.returncode == 5
    assert json.loads(unknown.stdout)["error"]["code"] == "REFUSED"
    away = ask({**sandbox, "base_url": "http://127.0.0.1:1"}, tmp_path, "se", "list")
    assert away.returncode == 4
    assert "no server at" in away.stderr
