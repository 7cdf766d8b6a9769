"""Authorities for cards over HTTP: what a provider puts on record, and what is refused."""

from typing import Any

import httpx
import pytest
from tests.scenario.api_bench import ApiBench

from opentsm.card.crypto.signature import Curve
from opentsm.vse import virtual_authority

PATH = "/v1/card-authorities"
POINT = virtual_authority.point().hex()


async def call(api: ApiBench, method: str, party: str, path: str, content: object = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {await api.party(party)}"}
    return await api.client.request(method, path, json=content, headers=headers)


async def put(api: ApiBench, party: str, path: str, content: object) -> httpx.Response:
    return await call(api, "PUT", party, path, content)


async def remove(api: ApiBench) -> httpx.Response:
    return await call(api, "DELETE", "provider", f"{PATH}/se-700")


async def own_key(api: ApiBench, party: str = "provider") -> bytes:
    return bytes.fromhex((await api.get(party, PATH)).json()["signing_key"])


async def body(api: ApiBench, **changes: Any) -> dict[str, Any]:
    certificate = virtual_authority.certify(
        Curve.P_256, await own_key(api), b"\x05", b"provider", agreement=False
    )
    return {"public_key": POINT, "certificate": certificate.hex(), **changes}


async def test_authority_when_trusted_then_listed_audited_and_removed(api: ApiBench) -> None:
    made = await put(api, "provider", f"{PATH}/se-700", await body(api, required=True))
    assert made.status_code == 200, made.text
    assert made.json()["required"] is True
    listed = (await api.get("provider", PATH)).json()["items"]
    assert [(one["profile"], one["public_key"]) for one in listed] == [("se-700", POINT.upper())]
    assert (await remove(api)).status_code == 204
    assert (await remove(api)).status_code == 404
    assert (await api.get("provider", PATH)).json()["items"] == []
    trail = (await api.get("provider", "/v1/audit?subject=se-700")).json()["items"]
    assert {one["action"] for one in trail} == {"card-authority.trusted", "card-authority.removed"}


@pytest.mark.parametrize(
    ("party", "profile", "changes", "status"),
    [
        ("issuer", "se-700", {}, 403),
        ("provider", "nothing", {}, 404),
        ("provider", "se-700", {"public_key": "04" + "11" * 64}, 400),
        ("provider", "se-700", {"curve": "P_384"}, 400),
        ("provider", "se-700", {"curve": "P_000"}, 400),
        ("provider", "se-700", {"certificate": "7F2100"}, 400),
        ("provider", "se-700", {"more": 1}, 400),
    ],
    ids=["issuer", "profile", "no point", "other curve", "no curve", "no certificate", "more"],
)
async def test_authority_when_refused_is_not_on_record(
    api: ApiBench, party: str, profile: str, changes: dict[str, Any], status: int
) -> None:
    answer = await put(api, party, f"{PATH}/{profile}", await body(api, **changes))
    assert answer.status_code == status, answer.text
    assert (await api.get("provider", PATH)).json()["items"] == []


@pytest.mark.parametrize("agreement", [True, False], ids=["other purpose", "other key"])
async def test_authority_when_the_certificate_is_not_the_callers_is_refused(
    api: ApiBench, agreement: bool
) -> None:
    key = await own_key(api) if agreement else virtual_authority.point()
    certificate = virtual_authority.certify(Curve.P_256, key, b"\x05", b"provider", agreement=agreement)
    answer = await put(api, "provider", f"{PATH}/se-700", await body(api, certificate=certificate.hex()))
    assert answer.status_code == 400
    assert "of no use" in answer.text
