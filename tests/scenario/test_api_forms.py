"""The form of a service over HTTP: refusals; what it holds is tested with a card."""

import pytest
from tests.scenario.api_bench import ApiBench


@pytest.mark.parametrize(
    ("party", "query", "status"),
    [
        ("provider", "?profile=scp03-i70", 404),
        ("provider", "?profile=scp03-i70&version=1.0.0", 404),
        ("provider", "", 400),
        ("provider", "?profile=scp03-i70&surprise=1", 400),
        ("issuer", "?profile=scp03-i70", 403),
        ("operator", "?profile=scp03-i70", 403),
    ],
)
async def test_form_when_it_cannot_be_shown_then_refused(
    api: ApiBench, party: str, query: str, status: int
) -> None:
    answer = await api.get(party, f"/v1/services/unknown/form{query}")
    assert answer.status_code == status, answer.text
