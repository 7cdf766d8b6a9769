"""Keys of security domains and of attestation over HTTP; nothing tells a secret key again."""

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from tests.scenario.api_bench import ApiBench

from opentsm.card.crypto.kcv import kcv_aes

KEY = "A1" * 16
SET = bytes(range(48))
CHECKS = [kcv_aes(SET[at : at + 16]).hex() for at in (0, 16, 32)]


async def put(
    api: ApiBench, party: str, path: str, body: object, *, peer: str = "127.0.0.1"
) -> httpx.Response:
    headers = {"Authorization": f"Bearer {await api.party(party)}"}
    transport = httpx.ASGITransport(
        app=api.app,  # type: ignore[arg-type]
        raise_app_exceptions=False,
        client=(peer, 4711),
    )
    async with httpx.AsyncClient(transport=transport, base_url="http://tsm") as client:
        return await client.put(f"/v1/{path}", json=body, headers=headers)


async def test_key_set_when_deposited_then_listed_without_its_keys(api: ApiBench) -> None:
    assert (await put(api, "provider", "transport-keys/t-1", {"key": KEY})).status_code == 204
    wrapped = aes_key_wrap(bytes.fromhex(KEY), SET).hex()
    body = {"key_index": "t-1", "keys": wrapped, "check_values": CHECKS}
    made = await api.post("provider", "/v1/domain-key-sets", body)
    assert made.status_code == 201, made.text
    listed = await api.get("provider", "/v1/domain-key-sets")
    (found,) = listed.json()["items"]
    assert found == made.json()
    assert (found["key_index"], found["scp"], found["used"]) == ("t-1", 3, False)
    trail = await api.get("provider", "/v1/audit")
    assert {"transport-key.imported", "domain-key-set.deposited"} <= {
        entry["action"] for entry in trail.json()["items"]
    }
    for text in (made.text, listed.text, trail.text):
        assert wrapped not in text.lower()
        assert KEY.lower() not in text.lower()
    other = await api.get("other provider", "/v1/domain-key-sets")
    assert other.json() == {"items": []}


@pytest.mark.parametrize(
    ("party", "index", "body", "status"),
    [
        ("provider", "m", {"key": "zz"}, 400),
        ("provider", "m", {"key": "00" * 15}, 400),
        ("provider", "-m", {"key": KEY}, 400),
        ("issuer", "m", {"key": KEY}, 403),
        ("operator", "m", {"key": KEY}, 403),
    ],
)
async def test_key_when_refused_then_not_told(
    api: ApiBench, party: str, index: str, body: object, status: int
) -> None:
    for kind in ("domain-master-keys", "transport-keys"):
        answer = await put(api, party, f"{kind}/{index}", body)
        assert answer.status_code == status, answer.text
        assert KEY not in answer.text


async def test_key_when_it_comes_in_the_clear_from_elsewhere_then_refused(api: ApiBench) -> None:
    for kind in ("domain-master-keys", "transport-keys"):
        answer = await put(api, "provider", f"{kind}/m", {"key": KEY}, peer="192.0.2.1")
        assert answer.status_code == 403, answer.text


async def test_domain_keys_when_there_is_no_such_instance_then_404(api: ApiBench) -> None:
    answer = await api.get("provider", "/v1/instances/unknown/domain-keys")
    assert answer.status_code == 404
    refused = await api.get("issuer", "/v1/instances/unknown/domain-keys")
    assert refused.status_code == 403


async def test_attestation_key_when_asked_for_then_a_certificate_and_rotation_adds_one(api: ApiBench) -> None:
    first = await api.get("provider", "/v1/attestation-keys")
    (key,) = first.json()["items"]
    leaf = x509.load_pem_x509_certificate(key["certificate"].encode())
    leaf.verify_directly_issued_by(leaf)
    assert first.json()["tsm_identifier"].startswith("2.25.")
    made = await api.post("provider", "/v1/attestation-keys", {})
    assert made.status_code == 201, made.text
    listed = (await api.get("provider", "/v1/attestation-keys")).json()["items"]
    assert [(one["signer"], one["current"]) for one in listed] == [
        (made.json()["signer"], True),
        (key["signer"], False),
    ]
    for party in ("issuer", "operator"):
        assert (await api.get(party, "/v1/attestation-keys")).status_code == 403
