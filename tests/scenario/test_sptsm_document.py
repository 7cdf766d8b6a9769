"""The whole published TSM-Backend document of BSI TR-03165 1.0.4 is the contract, checked by schemathesis.

A long run: `pytest -m campaign tests/scenario/test_sptsm_document.py`.
"""

import os
from pathlib import Path

import pytest
import yaml
from tests.scenario.sptsm_contract import Contract, Report
from tests.scenario.sptsm_document import OVERLAY, document_path, mended, operations, refusals
from tests.scenario.sptsm_server import serving

OPERATIONS = 82
EVERY_CHECK = {
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "positive_data_acceptance",
    "missing_required_header",
    "unsupported_method",
    "allow_header_conformance",
    "use_after_free",
    "ensure_resource_availability",
    "ignored_auth",
    "object_level_authorization",
    "refusal_is_listed",
}


@pytest.fixture
def document() -> Path:
    """Give the published document; without it there is nothing to compare with."""
    found = document_path()
    if found is None:
        pytest.skip("not run: the published document is not at hand (OPENTSM_SPTSM_DOCUMENT)")
    return found


@pytest.mark.timeout(900)  # thousands of requests, on a machine that may be busy
def test_document_when_all_operations_are_called_then_every_promise_is_kept(
    document: Path, scenario_dsn: str, tmp_path: Path
) -> None:
    with serving(scenario_dsn, tmp_path) as served:
        report = Contract(served, document).run(examples=2, sequences=12)
    _judge(report, document)


@pytest.mark.campaign
@pytest.mark.timeout(7200)
def test_document_when_called_for_long_then_every_promise_is_kept(
    document: Path, scenario_dsn: str, tmp_path: Path
) -> None:
    seed = int(os.environ.get("OPENTSM_SEED", "1"))
    with serving(scenario_dsn, tmp_path) as served:
        report = Contract(served, document).run(examples=200, sequences=400, seed=seed)
    _judge(report, document)


def _judge(report: Report, document: Path) -> None:
    assert not report.findings, "\n\n".join(f"{title}\n{text}" for title, text in report.findings.items())
    labels = {label for label, _ in operations(mended(document))}
    assert len(labels) == OPERATIONS
    good = {label for label, statuses in report.statuses.items() if any(200 <= one < 300 for one in statuses)}
    assert labels <= good, f"never answered with success: {sorted(labels - good)}"
    assert set(report.checks) == EVERY_CHECK
    phases = {"examples", "coverage", "fuzzing", "stateful"}
    assert {name for name, status in report.phases.items() if status == "success"} >= phases
    assert report.transitions.total() > 0, "no request used the answer to another one"


def test_overlay_when_read_gives_a_reason_for_each_change() -> None:
    actions = yaml.safe_load(OVERLAY.read_text())["actions"]
    assert all(
        len(action["description"]) > 5 and ("update" in action or "remove" in action) for action in actions
    )


def test_refusals_when_read_from_the_document_are_those_of_each_operation(document: Path) -> None:
    found = refusals(mended(document))
    publish = found["POST /services/{serviceId}/flavors/{flavorId}/publish"]
    assert (set(publish.listed), set(publish.of_valid)) == ({1002, 1008, 1009}, {1009})
    unlink = found["PUT /services/{serviceId}/flavors/{flavorId}/executable-load-files"]
    assert (set(unlink.listed), set(unlink.of_valid)) == ({1008, 1009, 1015}, {1009, 1015})
    assert not publish.may_meet_valid(1008, "Invalid format ‘x’ for tag.")
    assert publish.may_meet_valid(1008, "Invalid format ‘true’ for featureConfig.genericOptions.extradite.")
    assert not found["GET /services"].may_meet_valid(1009, "")
