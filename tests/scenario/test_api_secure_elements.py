"""Secure elements over HTTP: registration, import, look-up, content, who sees what."""

import json
from collections.abc import AsyncIterator

import asyncpg
import pytest
from msgspec.structs import replace
from tests.scenario.api_bench import APPLET, MASTER, ApiBench, Json, problem

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.card_content import Access, CardObject, Claim, ObjectKind, ObservedContent
from opentsm.tsm.domain.secure_element import KeySetState, SeState
from opentsm.tsm.kernel.ids import InstanceId, SeId, TenantId


async def test_issuer_when_registering_then_the_element_is_shown_and_its_keys_are_written_down(
    api: ApiBench,
) -> None:
    body = api.new_element("CIN-" + api.world.new_id())
    body["key_sets"][0] |= {"kcvs": await api.kcvs(), "counter": 7}
    made = await api.post("issuer", "/v1/secure-elements", body)
    assert made.status_code == 201, made.text
    se = made.json()
    assert se == {
        "id": se["id"],
        "profile": "scp03-i70",
        "state": "REGISTERED",
        "identifiers": body["identifiers"],
        "device_id": None,
        "arrangement_id": None,
        "content_url": f"/v1/secure-elements/{se['id']}/content",
    }
    assert made.headers["location"] == f"/v1/secure-elements/{se['id']}"
    assert (await api.get("issuer", made.headers["location"])).json() == se
    async with api.storage.transaction() as tx:
        (key_set,) = await tx.key_sets.list(TenantId(api.ids["issuer"]), SeId(se["id"]))
    assert (key_set.kvn, key_set.scp, key_set.counter, key_set.state) == (0x30, 3, 7, KeySetState.CURRENT)
    assert [kcv.hex() for kcv in key_set.kcvs] == await api.kcvs()


async def test_registration_when_no_counter_is_known_then_the_key_set_is_pending(api: ApiBench) -> None:
    se = await api.element()
    async with api.storage.transaction() as tx:
        (key_set,) = await tx.key_sets.list(TenantId(api.ids["issuer"]), SeId(se["id"]))
    assert key_set.state is KeySetState.PENDING
    assert len(key_set.kcvs) == 3


def _source(**more: object) -> Json:
    return {"type": "diversified", "master": MASTER, "method": "KDF3", "kdd": "00" * 10, **more}


@pytest.mark.parametrize(
    ("change", "field", "says"),
    [
        ({"profile": "unheard-of"}, "/profile", "scp03-i70"),
        ({"identifiers": []}, "/identifiers", ""),
        ({"identifiers": [{"type": "CIN", "value": "a b"}]}, "/identifiers/0/value", "letters"),
        ({"identifiers": [{"type": "IMEI", "value": "1"}]}, "/identifiers/0/type", "IMEI"),
        ({"isd_aid": "A000"}, "/isd_aid", ""),
        ({"key_sets": []}, "/key_sets", ""),
        ({"key_sets": [{"kvn": 0, "source": _source()}]}, "/key_sets/0/kvn", ""),
        ({"key_sets": [{"kvn": 48, "source": _source(kdd="00")}]}, "/key_sets/0/source/kdd", "10 bytes"),
        ({"key_sets": [{"kvn": 48, "source": _source(method="X")}]}, "/key_sets/0/source/method", ""),
        ({"key_sets": [{"kvn": 48, "source": _source(type="clear")}]}, "/key_sets/0/source/type", ""),
        (
            {"key_sets": [{"kvn": 48, "source": _source(master="no")}]},
            "/key_sets/0/source/master",
            "keystore",
        ),
        ({"key_sets": [{"kvn": 48, "source": _source(), "kcvs": ["00"]}]}, "/key_sets/0/kcvs", "three"),
        (
            {"key_sets": [{"kvn": 48, "source": _source(), "kcvs": ["000000"] * 3}]},
            "/key_sets/0/kcvs",
            "Key set 30: the check value of ENC, MAC, DEK",
        ),
        ({"key_sets": [{"kvn": 48, "source": _source()}] * 2}, "/key_sets", "different"),
    ],
)
async def test_registration_when_a_value_is_wrong_then_the_problem_names_it_and_nothing_is_stored(
    api: ApiBench, change: Json, field: str, says: str
) -> None:
    found = problem(
        await api.post("issuer", "/v1/secure-elements", api.new_element() | change), 400, "invalid_input"
    )
    assert found["field"] == field, found
    assert says in found["detail"]
    assert (await api.get("issuer", "/v1/secure-elements")).json()["items"] == []


async def test_registration_when_wrapped_keys_do_not_unwrap_then_the_problem_names_the_key_set(
    api: ApiBench,
) -> None:
    source = {"type": "wrapped", "transport": MASTER, "blob": "00" * 56}
    answer = await api.post(
        "issuer", "/v1/secure-elements", api.new_element() | {"key_sets": [{"kvn": 48, "source": source}]}
    )
    found = problem(answer, 400, "invalid_input")
    assert found["field"] == "/key_sets/0/source"
    assert found["detail"].startswith("Key set 30")


async def test_registration_when_the_identifier_is_taken_then_conflict_but_not_for_another_issuer(
    api: ApiBench,
) -> None:
    cin = api.world.new_id()
    await api.element(cin)
    problem(await api.post("issuer", "/v1/secure-elements", api.new_element(cin)), 409, "conflict")
    assert (await api.post("other-issuer", "/v1/secure-elements", api.new_element(cin))).status_code == 201


@pytest.mark.parametrize("who", ["provider", "operator"])
async def test_registration_when_not_an_issuer_then_forbidden(api: ApiBench, who: str) -> None:
    problem(await api.post(who, "/v1/secure-elements", api.new_element()), 403, "forbidden")


async def test_elements_then_another_issuer_and_providers_find_nothing_of_them(api: ApiBench) -> None:
    se = await api.element()
    for path in ("", "/content"):
        for who in ("other-issuer", "provider"):
            problem(await api.get(who, f"/v1/secure-elements/{se['id']}{path}"), 404, "not_found")
    for action in ("audits", "reinstate"):
        problem(await api.post("other-issuer", f"/v1/secure-elements/{se['id']}/{action}"), 404, "not_found")
    problem(await api.get("provider", "/v1/secure-elements"), 403, "forbidden")
    assert (await api.get("other-issuer", "/v1/secure-elements")).json()["items"] == []
    assert (await api.get("operator", f"/v1/secure-elements/{se['id']}")).json() == se


async def test_provider_when_looking_up_an_identifier_then_sees_no_more_than_it_needs(api: ApiBench) -> None:
    cin = api.world.new_id()
    se = await api.element(cin)
    found = (await api.get("provider", "/v1/secure-elements", params={"identifier": cin})).json()
    assert found["items"] == [{"id": se["id"], "profile": "scp03-i70", "state": "REGISTERED"}]
    none = await api.get("other-issuer", "/v1/secure-elements", params={"identifier": cin})
    assert none.json() == {"items": [], "next": None}


async def test_import_then_every_line_has_its_own_result(api: ApiBench) -> None:
    good, twin = api.new_element(), api.new_element()
    lines = [
        json.dumps(good),
        "",
        "{nonsense",
        json.dumps(twin | {"profile": "unheard-of"}),
        json.dumps(good),
        json.dumps(api.new_element() | {"more": 1}),
        " " * 70_000,
        json.dumps(twin),
    ]
    answer = await api.client.post(
        "/v1/secure-elements/import",
        content=_in_chunks("\n".join(lines).encode()),
        headers={"Authorization": f"Bearer {await api.party('issuer')}"},
    )
    assert answer.status_code == 200, answer.text
    report = answer.json()
    assert report["lines"] == 8
    assert [entry["line"] for entry in report["registered"]] == [1, 8]
    assert [(entry["line"], entry["code"], entry["field"]) for entry in report["refused"]] == [
        (3, "malformed_json", None),
        (4, "invalid_input", "/profile"),
        (5, "conflict", "/identifiers"),
        (6, "invalid_input", "/more"),
        (7, "too_large", None),
    ]
    listed = (await api.get("issuer", "/v1/secure-elements")).json()["items"]
    assert [se["id"] for se in listed] == [entry["id"] for entry in report["registered"]]


async def _in_chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 999):
        yield data[start : start + 999]


async def test_content_then_objects_are_named_and_ours_are_marked(api: ApiBench) -> None:
    se = await api.element()
    isd = Aid.from_hex("A000000151000000")
    objects = (
        CardObject(aid=isd, kind=ObjectKind.ISSUER_SECURITY_DOMAIN, state=0x0F, privileges=0x9EFE80),
        CardObject(aid=APPLET, kind=ObjectKind.APPLICATION, state=0x87, security_domain=isd),
    )
    claim = Claim(aid=APPLET, kind=ObjectKind.APPLICATION, instance_ids=(InstanceId("i"),))
    async with api.storage.transaction() as tx:
        content = ObservedContent(objects=objects, fresh=True, free_memory=1234)
        await tx.secure_elements.save_content(SeId(se["id"]), content)
        await tx.secure_elements.save_claims(SeId(se["id"]), (claim,))
        await tx.commit()
    found = (await api.get("issuer", se["content_url"])).json()
    assert (found["fresh"], found["free_memory"]) == (True, 1234)
    assert [(o["kind"], o["state_name"], o["owned"]) for o in found["objects"]] == [
        ("ISD", "SECURED", False),
        ("APPLICATION", "LOCKED (was SELECTABLE)", True),
    ]
    assert "Security Domain" in found["objects"][0]["privileges"]
    assert found["objects"][1]["security_domain"] == str(isd)
    assert found["access_rules"] is None
    assert [o["contactless"] for o in found["objects"]] == [None, None]


async def test_content_when_access_rules_were_read_then_ours_and_foreign_ones_are_told_apart(
    api: ApiBench,
) -> None:
    se = await api.element()
    ours = Access(aid=bytes(APPLET), device=b"\x11" * 32, apdu=True, nfc=False, rule=b"\xe2\x00")
    foreign = Access(aid=b"", device=b"", apdu=None, nfc=None, limited=True, rule=b"\xe2\x01\x00")
    applet = CardObject(aid=APPLET, kind=ObjectKind.APPLICATION, state=0x07)
    content = ObservedContent(
        objects=(applet,),
        fresh=True,
        access=(ours, foreign),
        own_access={"E200": InstanceId("i")},
        contactless={APPLET.hex().upper(): "ACTIVATED"},
    )
    async with api.storage.transaction() as tx:
        await tx.secure_elements.save_content(SeId(se["id"]), content)
        await tx.commit()
    found = (await api.get("issuer", se["content_url"])).json()
    silent = {"apdu": None, "nfc": None}
    assert found["access_rules"] == [
        {"aid": str(APPLET), "device_app": "11" * 32, "apdu": True, "nfc": False, "limited": False}
        | {"owned": True},
        {"aid": "", "device_app": "", "limited": True, "owned": False} | silent,
    ]
    assert found["objects"][0]["contactless"] == "ACTIVATED"


async def test_quarantine_when_reinstated_then_registered_and_audited(api: ApiBench) -> None:
    se = await api.element()
    problem(await api.post("issuer", f"/v1/secure-elements/{se['id']}/reinstate"), 409, "illegal_transition")
    async with api.storage.transaction() as tx:
        found = await tx.secure_elements.get(SeId(se["id"]))
        assert found is not None
        await tx.secure_elements.save(replace(found, state=SeState.QUARANTINED))
        await tx.commit()
    answer = await api.post("issuer", f"/v1/secure-elements/{se['id']}/reinstate")
    assert (answer.status_code, answer.json()["state"]) == (200, "REGISTERED")
    page = (await api.get("issuer", "/v1/audit", params={"subject": se["id"]})).json()
    assert "secure-element.reinstated" in [entry["action"] for entry in page["items"]]


async def test_key_sets_when_replaced_then_the_new_ones_are_on_record_and_audited(api: ApiBench) -> None:
    se = await api.element()
    path = f"/v1/secure-elements/{se['id']}/key-sets"
    body = {"key_sets": [{**api.new_element()["key_sets"][0], "kvn": 0x31, "kcvs": await api.kcvs()}]}
    headers = {"Authorization": f"Bearer {await api.party('issuer')}"}
    for _ in range(2):
        answer = await api.client.put(path, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.json() == se
    async with api.storage.transaction() as tx:
        stored = await tx.key_sets.list(TenantId(api.ids["issuer"]), SeId(se["id"]))
        found = await tx.secure_elements.get(SeId(se["id"]))
    assert [(k.kvn, k.state) for k in stored] == [(0x30, KeySetState.RETIRED), (0x31, KeySetState.PENDING)]
    assert found is not None
    assert found.isd_kvn == 0x31
    page = (await api.get("issuer", "/v1/audit", params={"subject": se["id"]})).json()
    assert "secure-element.key-sets-replaced" in [entry["action"] for entry in page["items"]]


async def test_key_sets_when_a_check_value_is_wrong_then_refused_and_nothing_changes(api: ApiBench) -> None:
    se = await api.element()
    path = f"/v1/secure-elements/{se['id']}/key-sets"
    kcvs = [*(await api.kcvs())[:2], "000000"]
    body = {"key_sets": [{**api.new_element()["key_sets"][0], "kvn": 0x31, "kcvs": kcvs}]}
    headers = {"Authorization": f"Bearer {await api.party('issuer')}"}
    refused = problem(await api.client.put(path, json=body, headers=headers), 400, "invalid_input")
    assert (refused["field"], "DEK" in refused["detail"]) == ("/key_sets/0/kcvs", True)
    async with api.storage.transaction() as tx:
        (stored,) = await tx.key_sets.list(TenantId(api.ids["issuer"]), SeId(se["id"]))
    assert stored.kvn == 0x30


async def test_retired_element_then_its_identifiers_are_free_and_it_takes_no_more(api: ApiBench) -> None:
    cin = "CIN-" + api.world.new_id()
    se = await api.element(cin)
    path = f"/v1/secure-elements/{se['id']}"
    key = {"Idempotency-Key": api.world.new_id()}
    for _ in range(2):
        retired = await api.post("issuer", f"{path}/retirements", headers=dict(key))
        assert (retired.status_code, retired.json()["state"]) == (200, "RETIRED")
    again = await api.element(cin)
    assert again["id"] != se["id"]
    (found,) = (await api.get("issuer", "/v1/secure-elements", params={"identifier": cin})).json()["items"]
    assert found["id"] == again["id"]
    assert (await api.get("issuer", path)).json()["identifiers"] == se["identifiers"]
    for action in ("retirements", "reinstate"):
        problem(await api.post("issuer", f"{path}/{action}"), 409, "illegal_transition")
    page = (await api.get("issuer", "/v1/audit", params={"subject": se["id"]})).json()
    assert [entry["action"] for entry in page["items"]].count("secure-element.retired") == 1


async def test_audit_of_a_card_then_an_operation_is_accepted(api: ApiBench) -> None:
    se = await api.element()
    answer = await api.post("issuer", f"/v1/secure-elements/{se['id']}/audits")
    assert answer.status_code == 202
    assert (answer.json()["type"], answer.json()["state"]) == ("AUDIT", "REQUESTED")
    assert answer.headers["location"] == f"/v1/operations/{answer.json()['id']}"


async def test_registration_then_no_key_reaches_the_database(api: ApiBench, scenario_dsn: str) -> None:
    await api.element()
    connection = await asyncpg.connect(scenario_dsn)
    rows = await connection.fetch("SELECT key_sets::text FROM key_sets")
    await connection.close()
    assert not any(bytes(range(16)).hex() in row[0].lower() for row in rows)
