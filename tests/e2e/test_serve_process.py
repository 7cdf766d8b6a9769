"""`opentsm serve` as a real process: ready line, token, health, drain, second start, refusals."""

import json
import os
import signal
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from tests.e2e.demo_process import require_nothing_left, start

END_S = 120


@contextmanager
def serving(directory: str, *words: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    process = start(directory, "serve", "--port", "0", "--data-dir", f"{directory}/data", "--json", *words)
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate(timeout=END_S)


def ended(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=END_S)
    return process.returncode, errors.splitlines()


def bearer(ready: dict[str, str]) -> dict[str, str]:
    token = Path(ready["operator_token_file"]).read_text("ascii").strip()
    return {"Authorization": f"Bearer {token}"}


def test_serve_when_started_then_healthy_and_the_operators_token_works(open_data_dir: str) -> None:
    with serving(open_data_dir) as (process, ready):
        with httpx.Client(base_url=ready["base_url"], trust_env=False, timeout=END_S) as client:
            for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"):
                assert client.get(path).status_code == 200, path
            assert client.get("/v1/parties").status_code == 401
            assert client.get("/v1/parties", headers=bearer(ready)).json()["items"]
        mode = Path(ready["operator_token_file"]).stat().st_mode
        assert stat.S_IMODE(mode) == 0o600
        code, lines = ended(process)
    assert code == 0
    assert all("event" in json.loads(line) for line in lines)
    assert bearer(ready)["Authorization"] not in "".join(lines)
    require_nothing_left(open_data_dir)


def test_serve_when_started_again_then_the_operators_token_is_the_same(open_data_dir: str) -> None:
    with serving(open_data_dir) as (process, ready):
        first = bearer(ready)
        party = {"kind": "SE_ISSUER", "name": "kept"}
        made = httpx.post(
            f"{ready['base_url']}/v1/parties", json=party, headers=first, trust_env=False, timeout=END_S
        )
        assert made.status_code == 201
        ended(process)
    with serving(open_data_dir) as (process, ready):
        assert bearer(ready) == first
        found = httpx.get(
            f"{ready['base_url']}/v1/parties", headers=first, trust_env=False, timeout=END_S
        ).json()
        assert made.json()["id"] in [item["id"] for item in found["items"]]
        ended(process)


def test_serve_when_the_database_is_another_then_the_token_is_made_anew(open_data_dir: str) -> None:
    (Path(open_data_dir) / "data").mkdir()
    stale = Path(open_data_dir) / "data" / "operator.token"
    stale.write_text("otsm_stale\n", "ascii")
    with serving(open_data_dir) as (process, ready):
        assert bearer(ready)["Authorization"] != "Bearer otsm_stale"
        answer = httpx.get(
            f"{ready['base_url']}/v1/parties", headers=bearer(ready), trust_env=False, timeout=END_S
        )
        assert answer.status_code == 200
        assert stat.S_IMODE(stale.stat().st_mode) == 0o600
        ended(process)


def test_serve_when_its_starter_closes_the_pipe_then_ends(open_data_dir: str) -> None:
    reading, writing = os.pipe()
    words = ["serve", "--port", "0", "--data-dir", f"{open_data_dir}/data", "--json", "--attached"]
    process = start(open_data_dir, *words, stdin=reading)
    os.close(reading)
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["base_url"]
        os.close(writing)
        process.communicate(timeout=END_S)
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait(END_S)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_when_told_to_stop_then_finishes_what_waits(open_data_dir: str, number: signal.Signals) -> None:
    with serving(open_data_dir) as (process, ready):
        headers = bearer(ready)
        url = ready["base_url"]
        with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=END_S) as client:
            issuer = client.post("/v1/parties", json={"kind": "SE_ISSUER", "name": "i"}).json()
            issued = {"Authorization": f"Bearer {issuer['token']}"}
            client.put("/v1/master-keys/m", json={"key": "40" * 16}, headers=issued).raise_for_status()
            se = client.post("/v1/secure-elements", json=element(), headers=issued).json()
            asked = client.post(f"/v1/secure-elements/{se['id']}/audits", headers=issued).json()
            waited: list[httpx.Response] = []
            path = f"{url}/v1/operations/{asked['id']}?wait=25"
            poll = threading.Thread(
                target=lambda: waited.append(httpx.get(path, headers=issued, timeout=END_S, trust_env=False))
            )
            # sent to its device, which never comes, it changes no more: the poll stays open
            while (
                client.get(f"/v1/operations/{asked['id']}", headers=issued).json()["state"]
                != "AWAITING_DEVICE"
            ):
                pass
            poll.start()
            while "opentsm_http_requests_held 1.0" not in client.get("/metrics").text:
                assert poll.is_alive()
            process.send_signal(number)
            process.communicate(timeout=END_S)
            poll.join(END_S)
    assert process.returncode == 0
    assert [answer.status_code for answer in waited] == [200]


def element() -> dict[str, object]:
    source = {"type": "diversified", "master": "m", "method": "KDF3", "kdd": "00" * 10}
    return {
        "identifiers": [{"type": "CIN", "value": "1234"}],
        "profile": "scp03-i70",
        "key_sets": [{"kvn": 48, "source": source}],
    }


def test_serve_when_the_port_is_taken_then_says_so(open_data_dir: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = start(open_data_dir, "serve", "--port", port, "--data-dir", f"{open_data_dir}/data")
        _, errors = process.communicate(timeout=END_S)
    assert process.returncode == 4
    assert f"cannot listen on 127.0.0.1:{port}" in errors
    require_nothing_left(open_data_dir)


def test_serve_when_the_external_database_is_away_then_unavailable(open_data_dir: str) -> None:
    words = ["serve", "--data-dir", f"{open_data_dir}/data"]
    url = {"OPENTSM_DATABASE_URL": "postgresql://nobody:x@127.0.0.1:1/none"}
    process = start(open_data_dir, *words, environment=url)
    _, errors = process.communicate(timeout=END_S)
    assert process.returncode == 4
    assert "the database cannot be reached" in errors
