"""Import of issuer master keys: who may, what is refused, and that no answer or audit holds the key."""

import httpx
import pytest
from tests.scenario.api_bench import ApiBench

KEY = "A1" * 16
OTHER = "B2" * 16


async def put(
    api: ApiBench, party: str, handle: str, body: object, *, peer: str = "127.0.0.1", scheme: str = "http"
) -> httpx.Response:
    headers = {"Authorization": f"Bearer {await api.party(party)}"}
    transport = httpx.ASGITransport(
        app=api.app,  # type: ignore[arg-type]
        raise_app_exceptions=False,
        client=(peer, 4711),
    )
    async with httpx.AsyncClient(transport=transport, base_url=f"{scheme}://tsm") as client:
        return await client.put(f"/v1/master-keys/{handle}", json=body, headers=headers)


async def test_master_key_when_imported_then_usable_repeatable_and_audited(api: ApiBench) -> None:
    for _ in range(2):
        answer = await put(api, "issuer", "cards-2026", {"key": KEY})
        assert answer.status_code == 204, answer.text
        assert not answer.content
    source = {"type": "diversified", "master": "cards-2026", "method": "KDF3", "kdd": "00" * 10}
    body = {
        "identifiers": [{"type": "CIN", "value": "master-key-1"}],
        "profile": "scp03-i70",
        "key_sets": [{"kvn": 48, "source": source}],
    }
    assert (await api.post("issuer", "/v1/secure-elements", body)).status_code == 201
    trail = await api.get("issuer", "/v1/audit?subject=cards-2026")
    assert {entry["action"] for entry in trail.json()["items"]} == {"master-key.imported"}
    assert KEY.lower() not in trail.text.lower()


@pytest.mark.parametrize(
    ("party", "handle", "body", "status"),
    [
        ("issuer", "m", {"key": "zz"}, 400),
        ("issuer", "m", {"key": "00" * 15}, 400),
        ("issuer", "m", {}, 400),
        ("issuer", "m", {"key": KEY, "more": 1}, 400),
        ("issuer", "-m", {"key": KEY}, 400),
        ("issuer", "m" * 65, {"key": KEY}, 400),
        ("provider", "m", {"key": KEY}, 403),
    ],
)
async def test_master_key_when_refused_then_not_told(
    api: ApiBench, party: str, handle: str, body: object, status: int
) -> None:
    answer = await put(api, party, handle, body)
    assert answer.status_code == status, answer.text
    assert KEY not in answer.text


async def test_master_key_when_another_is_under_the_handle_then_conflict(api: ApiBench) -> None:
    assert (await put(api, "issuer", "m", {"key": KEY})).status_code == 204
    answer = await put(api, "issuer", "m", {"key": OTHER})
    assert answer.status_code == 409
    assert "new handle" in answer.json()["advice"]
    assert OTHER not in answer.text


async def test_master_key_when_it_comes_unprotected_from_afar_then_refused(api: ApiBench) -> None:
    afar = await put(api, "issuer", "m", {"key": KEY}, peer="192.0.2.7")
    assert afar.status_code == 403
    assert "disclosed" in afar.json()["advice"]
    protected = await put(api, "issuer", "m", {"key": KEY}, peer="192.0.2.7", scheme="https")
    assert protected.status_code == 204
