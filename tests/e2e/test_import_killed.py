"""A server that is killed in the middle of an import: the next one goes on, and no line is stored twice."""

import csv
import json
from pathlib import Path

import httpx
from tests.e2e.test_cli_commands import opentsm
from tests.e2e.test_deliveries_killed import serving

LINES, WRONG = 4_000, 3_500
DEFAULTS = {"profile": "scp03-i70", "kvn": "48", "master": "m", "method": "KDF3"}


def file_of_lines(directory: str) -> Path:
    """Write a file with one wrong line."""
    rows = [f"4250{n:012d},{'00' if n == WRONG else f'{n:020X}'}" for n in range(LINES)]
    path = Path(directory) / "batch.csv"
    path.write_text("cin,kdd\n" + "\n".join(rows))
    return path


def elements(client: httpx.Client) -> list[str]:
    """Return the names of all secure elements."""
    names, after = [], ""
    while True:
        query = {"limit": "200", **({"after": after} if after else {})}
        page = client.get("/v1/secure-elements", params=query).json()
        names += [one["identifiers"][0]["value"] for one in page["items"]]
        if page["next"] is None:
            return names
        after = page["next"]


def test_import_when_the_server_is_killed_midway_then_resumed_and_every_line_is_stored_once(
    open_data_dir: str,
) -> None:
    file = file_of_lines(open_data_dir)
    with serving(open_data_dir, worker=True) as client:
        made = client.post("/v1/parties", json={"kind": "SE_ISSUER", "name": "issuer"}).json()
        owner = {"Authorization": f"Bearer {made['token']}"}
        key = {"key": bytes(range(0x40, 0x50)).hex()}
        assert client.put("/v1/master-keys/m", json=key, headers=owner).is_success
        body = {"format": "csv", "defaults": DEFAULTS}
        job = client.post("/v1/imports", json=body, headers=owner).json()
        path = f"/v1/imports/{job['id']}"
        first = file.read_bytes()[:60_000].rpartition(b"\n")[0] + b"\n"
        assert client.put(f"{path}/parts/0", content=first, headers=owner).is_success
        while not client.get(path, headers=owner).json()["accepted"]:
            pass  # killed when something is stored, and not everything
    with serving(open_data_dir, worker=True) as client:
        report = f"{open_data_dir}/refused.csv"
        ended = opentsm(
            *("se", "import", str(file), "--resume", job["id"], "--refused", report, "--json"),
            OPENTSM_CLIENT_BASE_URL=str(client.base_url),
            OPENTSM_CLIENT_TOKEN=str(made["token"]),
        )
        assert ended.returncode == 1, ended.stderr  # a line was refused
        told = json.loads(ended.stdout)
        assert (told["state"], told["lines"]) == ("FINISHED", LINES + 1)
        assert (told["accepted"], told["unchanged"], told["refused"]) == (LINES - 1, 0, 1)
        client.headers.update(owner)
        found = elements(client)
    assert len(found) == len(set(found)) == LINES - 1
    (row,) = csv.DictReader(Path(report).read_text().splitlines())
    assert (row["line"], row["field"]) == (str(WRONG + 2), "/key_sets/0/source/kdd")
