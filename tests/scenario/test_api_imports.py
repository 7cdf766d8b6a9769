"""Imports of secure elements over HTTP: parts, progress, refused lines, repetitions, crashes midway."""

import csv
import json
from typing import Any

import httpx
import pytest
from tests.scenario.api_bench import KDD, MASTER, ApiBench, Json, problem

from opentsm.card.crypto.secret import Secret
from opentsm.tsm.domain.secure_element import DiversifiedKeys
from opentsm.tsm.kernel.errors import StaleVersionError
from opentsm.tsm.kernel.ids import ImportId, KeyHandle, SeId, TenantId
from opentsm.tsm.roles.hub.registry import import_work
from opentsm.tsm.roles.hub.registry.import_jobs import ImportServices
from opentsm.tsm.roles.hub.registry.import_work import ImportWork

SHARED = {"profile": "scp03-i70", "kvn": "48", "master": MASTER, "method": "KDF3", "se_type": "ESE"}


class Import:
    """An import of the issuer."""

    def __init__(self, api: ApiBench, job_id: str) -> None:
        self.api, self.id, self.parts = api, job_id, 0

    @classmethod
    async def begin(cls, api: ApiBench, format_: str = "jsonl", **more: Any) -> "Import":
        await api.party("issuer")
        made = await api.post("issuer", "/v1/imports", {"format": format_, "defaults": SHARED, **more})
        assert made.status_code == 201, made.text
        return cls(api, made.json()["id"])

    async def put(self, data: bytes, number: int | None = None, who: str = "issuer") -> httpx.Response:
        chosen = self.parts if number is None else number
        headers = {"Authorization": f"Bearer {await self.api.party(who)}"}
        path = f"/v1/imports/{self.id}/parts/{chosen}"
        answer = await self.api.client.put(path, content=data, headers=headers)
        self.parts += number is None and answer.status_code == 200
        return answer

    async def send(self, *lines: Json | bytes) -> None:
        written = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in lines]
        answer = await self.put(b"".join(one + b"\n" for one in written))
        assert answer.status_code == 200, answer.text

    async def complete(self) -> Json:
        body = {"parts": self.parts}
        answer = await self.api.post("issuer", f"/v1/imports/{self.id}/completion", body)
        assert answer.status_code == 200, answer.text
        await self.api.work()
        return await self.shown()

    async def shown(self) -> Json:
        return dict((await self.api.get("issuer", f"/v1/imports/{self.id}")).json())

    async def refused(self) -> list[Json]:
        return list((await self.api.get("issuer", f"/v1/imports/{self.id}/refused")).json()["items"])


def counts(shown: Json) -> tuple[str, int, int, int, int]:
    return shown["state"], shown["lines"], shown["accepted"], shown["unchanged"], shown["refused"]


def some(api: ApiBench, count: int) -> list[Json]:
    tail = api.world.new_id()
    return [{"cin": f"{number}-{tail}", "kdd": f"{number:020x}"} for number in range(count)]


async def registered(api: ApiBench) -> list[Json]:
    return list((await api.get("issuer", "/v1/secure-elements?limit=200")).json()["items"])


async def test_import_when_finished_then_every_line_is_a_secure_element_with_its_keys(api: ApiBench) -> None:
    job = await Import.begin(api)
    lines = some(api, 5)
    await job.send(*lines[:3])
    await job.send(*lines[3:])
    assert counts(await job.complete()) == ("FINISHED", 5, 5, 0, 0)
    found = await registered(api)
    assert [one["identifiers"][0]["value"] for one in found] == [line["cin"] for line in lines]
    issuer = TenantId(api.ids["issuer"])
    async with api.storage.transaction() as tx:
        (key_set,) = await tx.key_sets.list(issuer, SeId(found[4]["id"]))
    source = DiversifiedKeys(master=KeyHandle(MASTER), method="KDF3", kdd=(4).to_bytes(10, "big"))
    assert key_set.source == source
    assert key_set.kcvs == await api.keystore("issuer").key_check_values(source, scp=3)
    data = (await api.get("issuer", f"/v1/secure-elements/{found[0]['id']}/data")).json()["data"]
    assert data["se_type"] == "ESE"


async def test_import_when_csv_then_columns_count_and_empty_ones_are_left_out(api: ApiBench) -> None:
    job = await Import.begin(api, "csv")
    one, two = api.world.new_id(), api.world.new_id()
    await job.send(
        b"cin,iccid,kdd,kcvs,certification",
        f'"{one}",8949{one[-12:]},{KDD},{"".join(await api.kcvs())},"CC, EAL5+"'.encode() + b"\r",
        f"{two},,{KDD},,".encode(),
    )
    assert counts(await job.complete()) == ("FINISHED", 3, 2, 0, 0)
    first, second = await registered(api)
    assert [name["type"] for name in first["identifiers"]] == ["CIN", "ICCID"]
    assert [name["value"] for name in second["identifiers"]] == [two]
    data = (await api.get("issuer", f"/v1/secure-elements/{first['id']}/data")).json()["data"]
    assert data["certification"] == "CC, EAL5+"


async def test_import_when_key_sets_are_wrapped_then_they_are_sealed_for_their_rows(api: ApiBench) -> None:
    job = await Import.begin(api)
    keystore = api.keystore("issuer")
    await keystore.import_key(KeyHandle("transport"), Secret(bytes(range(32))))
    derived = DiversifiedKeys(master=KeyHandle(MASTER), method="KDF3", kdd=bytes.fromhex(KDD))
    blob = (await keystore.export_key_set(derived, KeyHandle("transport"))).blob.hex()
    source = {"type": "wrapped", "transport": "transport", "blob": blob}
    whole = {
        "identifiers": [{"type": "EID", "value": api.world.new_id()}],
        "key_sets": [{"kvn": 48, "source": source, "kcvs": await api.kcvs()}],
    }
    await job.send(whole, whole)
    assert counts(await job.complete()) == ("FINISHED", 2, 1, 1, 0)
    (se,) = await registered(api)
    async with api.storage.transaction() as tx:
        (key_set,) = await tx.key_sets.list(TenantId(api.ids["issuer"]), SeId(se["id"]))
    assert [kcv.hex() for kcv in key_set.kcvs] == await api.kcvs()
    assert type(key_set.source).__name__ == "SealedKeys"


async def test_import_when_lines_are_wrong_then_the_report_names_line_and_field_and_the_rest_is_stored(
    api: ApiBench,
) -> None:
    job = await Import.begin(api)
    good = some(api, 2)
    secret = "00112233445566778899AABBCCDDEEFF"
    await job.send(
        good[0],
        b"no json",
        {"cin": api.world.new_id(), "kdd": "00"},
        {"cin": api.world.new_id(), "kdd": secret, "method": "X"},
        {"cin": api.world.new_id(), "kdd": KDD, "profile": "unheard-of"},
        {"kdd": KDD},
        {"cin": api.world.new_id(), "kdd": KDD, "master": "none"},
        {"cin": api.world.new_id(), "kdd": KDD, "kcvs": "00" * 9},
        {"cin": api.world.new_id(), "kdd": KDD, "key": secret},
        {"cin": api.world.new_id(), "kdd": KDD, "network_operator_id": "nobody"},
        {**good[0], "kdd": KDD},
        b'{"cin": "x1", "cin": "x2"}',
        b"",
        good[1],
    )
    assert counts(await job.complete()) == ("FINISHED", 14, 2, 0, 11)
    refused = await job.refused()
    assert [one["line"] for one in refused] == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    assert [one["field"] for one in refused[1:8]] == [
        "/key_sets/0/source/kdd",
        "/key_sets/0/source/method",
        "/profile",
        "/identifiers",
        "/key_sets/0/source/master",
        "/key_sets/0/kcvs",
        "",
    ]
    assert {one["code"] for one in refused} == {"malformed", "invalid_input", "not_found", "conflict"}
    assert secret not in json.dumps(refused)
    assert len(await registered(api)) == 2
    report = await api.get("issuer", f"/v1/imports/{job.id}/refused-report?format=csv")
    rows = list(csv.DictReader(report.text.splitlines()))
    assert [int(row["line"]) for row in rows] == [one["line"] for one in refused]
    lines = await api.get("issuer", f"/v1/imports/{job.id}/refused-report?format=jsonl")
    assert [json.loads(line) for line in lines.text.splitlines()] == refused


async def test_import_when_the_same_file_comes_again_then_nothing_changes(api: ApiBench) -> None:
    lines = some(api, 4)
    for expected in (("FINISHED", 4, 4, 0, 0), ("FINISHED", 4, 0, 4, 0)):
        job = await Import.begin(api)
        await job.send(*lines)
        assert counts(await job.complete()) == expected
    assert len(await registered(api)) == 4


async def test_part_when_sent_again_then_unchanged_but_another_is_a_conflict(api: ApiBench) -> None:
    job = await Import.begin(api)
    first, second = (json.dumps(line).encode() + b"\n" for line in some(api, 2))
    problem(await job.put(second, 1), 409, "conflict")  # part 0 is missing
    for _ in range(2):
        assert (await job.put(first, 0)).status_code == 200
    await api.work()  # the part is worked off and emptied
    assert (await job.put(first, 0)).json()["accepted"] == 1
    problem(await job.put(second, 0), 409, "conflict")
    problem(await job.put(second.strip(), 1), 400, "invalid_input")
    body = {"parts": 3}
    problem(await api.post("issuer", f"/v1/imports/{job.id}/completion", body), 409, "conflict")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"format": "csv", "defaults": {"colour": "red"}}, "/defaults"),
        ({"format": "csv", "defaults": {"profile": "unheard-of"}}, "/profile"),
        ({"format": "csv", "defaults": {"master": "none"}}, "/defaults"),
        ({"format": "csv", "defaults": {"kvn": "many"}}, "/defaults"),
        ({"format": "xml"}, "/format"),
        ({"format": "csv", "stop_after": 0}, "/stop_after"),
    ],
)
async def test_import_when_begun_with_wrong_values_then_refused_at_once(
    api: ApiBench, body: Json, field: str
) -> None:
    assert problem(await api.post("issuer", "/v1/imports", body), 400, "invalid_input")["field"] == field


async def test_import_when_the_csv_header_is_wrong_then_the_first_part_is_refused(api: ApiBench) -> None:
    job = await Import.begin(api, "csv")
    answer = problem(await job.put(b"cin,kdd,secret key\n"), 400, "invalid_input")
    assert "Column 3" in answer["detail"]
    assert "secret" not in answer["detail"]


async def test_import_when_too_many_lines_are_refused_then_it_stops(api: ApiBench) -> None:
    job = await Import.begin(api, stop_after=2)
    await job.send(b"{}", b"{}", *some(api, 1))
    assert counts(await job.complete())[0] == "STOPPED"
    problem(await job.put(b"{}\n", 1), 409, "conflict")


async def test_import_when_cancelled_then_the_rest_is_not_stored(api: ApiBench) -> None:
    job = await Import.begin(api)
    await job.send(*some(api, 3))
    cancelled = await api.post("issuer", f"/v1/imports/{job.id}/cancellation")
    assert cancelled.json()["state"] == "CANCELLED"
    await api.work()
    assert await registered(api) == []
    problem(await api.post("issuer", f"/v1/imports/{job.id}/cancellation"), 409, "conflict")


@pytest.mark.parametrize("who", ["other-issuer", "provider", "operator"])
async def test_import_when_another_asks_then_it_is_not_there(api: ApiBench, who: str) -> None:
    job = await Import.begin(api)
    expected = (404, "not_found") if who == "other-issuer" else (403, "forbidden")
    for path in ("", "/refused", "/refused-report"):
        problem(await api.get(who, f"/v1/imports/{job.id}{path}"), *expected)
    problem(await job.put(b"{}\n", 0, who=who), *expected)
    for path, body in (("completion", {"parts": 0}), ("cancellation", None)):
        problem(await api.post(who, f"/v1/imports/{job.id}/{path}", body), *expected)


async def test_import_when_a_worker_dies_or_two_work_at_once_then_every_line_is_stored_once(
    api: ApiBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_work, "BATCH", 2)
    job = await Import.begin(api)
    await job.send(*some(api, 7))
    services = api.container.imports._s
    assert isinstance(services, ImportServices)
    work, id_ = ImportWork(services), ImportId(job.id)
    # one that is about to store a batch when another stores the same
    batches = []
    store = ImportWork._store

    async def overtaken(self: ImportWork, *args: Any, **more: Any) -> None:
        monkeypatch.setattr(ImportWork, "_store", store)
        await work.advance(id_, 0)
        batches.append((await job.shown())["accepted"])
        await store(self, *args, **more)

    monkeypatch.setattr(ImportWork, "_store", overtaken)
    with pytest.raises(StaleVersionError):
        await work.advance(id_, 0)
    assert batches == [2]
    await work.advance(id_, 0)  # the message of a batch that is stored
    assert (await job.shown())["accepted"] == 2

    # one that dies after its last statement, before the commit
    def dying(self: ImportWork, *_: Any) -> None:
        raise ConnectionError("the process dies here")

    monkeypatch.setattr(ImportWork, "_counted", dying)
    with pytest.raises(ConnectionError):
        await work.advance(id_, 1)
    monkeypatch.undo()
    assert counts(await job.complete()) == ("FINISHED", 7, 7, 0, 0)
    assert len(await registered(api)) == 7


async def test_import_then_each_batch_leaves_an_audit_entry_over_what_it_stored(api: ApiBench) -> None:
    job = await Import.begin(api)
    await job.send(*some(api, 3))
    await job.complete()
    entries = (await api.get("issuer", f"/v1/audit?subject={job.id}")).json()["items"]
    assert [one["action"] for one in entries] == [
        "import.begun",
        "import.received",
        "secure-elements.imported",
        "import.finished",
    ]
    details = entries[2]["details"]
    ids = [one["id"] for one in await registered(api)]
    assert (details["lines"], details["count"]) == ("1-3", 3)
    assert (details["first"], details["last"]) == (ids[0], ids[-1])
    assert len(bytes.fromhex(details["sha256"])) == 32


DEEP = b"[" * 60_000


@pytest.mark.parametrize(
    "line",
    [
        DEEP,
        b'{"cin": "A", "kdd": "00", "iccid": ' + DEEP,
        b'{"cin": "A", "network_operator_id": "a\\u0000"}',
        b'{"cin": "A", "arrangement_id": "\\ud800"}',
        b'{"cin": "A", "\\ud800": "a"}',
        '{"cin": "A"}'.encode("utf-16"),
    ],
    ids=["deep", "deep in a member", "NUL", "half a surrogate pair", "half a pair as a name", "UTF-16"],
)
async def test_line_when_no_database_or_reader_takes_it_then_refused_alone(
    api: ApiBench, line: bytes
) -> None:
    job = await Import.begin(api)
    first, last = some(api, 2)
    await job.send(first, line.replace(b"\n", b""), last)
    assert counts(await job.complete()) == ("FINISHED", 3, 2, 0, 1)


async def test_csv_line_when_it_has_a_nul_then_refused_alone(api: ApiBench) -> None:
    job = await Import.begin(api, "csv")
    await job.put(b"cin,kdd,network_operator_id\nA," + KDD.encode() + b",a\0b\n")
    assert counts(await job.complete()) == ("FINISHED", 2, 0, 0, 1)  # the header is a line


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"Eva Berg": "1"}, ""),
        ({"Eva Berg - at `$.Eva Berg`": "1"}, ""),
        ({"se_type": "Eva Berg"}, "/se_type"),
        ({"profile": "Eva Berg"}, "/profile"),
        ({"master": "Eva Berg"}, "/key_sets/0/source/master"),
    ],
    ids=["member", "member with a path", "choice", "profile", "handle"],
)
async def test_refused_line_when_reported_then_what_stood_there_is_not(
    api: ApiBench, more: Json, field: str
) -> None:
    job = await Import.begin(api)
    await job.send({**some(api, 1)[0], **more})
    assert counts(await job.complete())[-1] == 1
    (refusal,) = await job.refused()
    assert (refusal["field"] or "") == field
    assert "Eva" not in json.dumps(refusal)


@pytest.mark.parametrize("after", ["9" * 30, "9" * 5000, "\u0663"], ids=["large", "huge", "other digits"])
async def test_refused_lines_when_the_cursor_is_no_number_of_a_line_then_refused(
    api: ApiBench, after: str
) -> None:
    job = await Import.begin(api)
    answer = await api.get("issuer", f"/v1/imports/{job.id}/refused?after={after}")
    problem(answer, 400, "invalid_input")
