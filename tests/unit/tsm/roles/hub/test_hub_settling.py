"""What a report means for an operation: the card's refusals in words."""

from datetime import UTC, datetime

import pytest

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.card_content import (
    ApplicationSpecification,
    Goal,
    ObservedContent,
    ServiceDescription,
)
from opentsm.tsm.domain.exchange import StopReason
from opentsm.tsm.domain.service import InstanceState, ServiceInstance
from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.sessions import PlannedSession, SessionKind
from opentsm.tsm.kernel.ids import InstanceId, SeId, TenantId
from opentsm.tsm.ports.peer import RegistryReport, SegmentReport, StepReport
from opentsm.tsm.roles.hub.milestones import finish
from opentsm.tsm.roles.hub.settling import card_failure, refusal, settle

PURSE = Aid.from_hex("F04F54534D020101")
ISD = Aid.from_hex("A000000151000000")
READING = PlannedSession(
    kind=SessionKind.SECURE_CHANNEL,
    owner_id=TenantId("issuer"),
    selected=ISD,
    key_sd=ISD,
    kvn=0x30,
    steps=(s.ReadRegistry(),),
)


@pytest.mark.parametrize(
    ("done", "complete", "pages"),
    [
        pytest.param(True, False, 2, id="the card has more"),
        pytest.param(False, True, 1, id="broken off between two lists"),
        pytest.param(False, False, 1, id="broken off between two pages"),
    ],
)
def test_settle_when_the_registry_was_not_read_to_its_end_is_read_again(
    done: bool, complete: bool, pages: int
) -> None:
    """Power cuts while a card is read must not make each later reading of it longer."""
    report = SegmentReport(
        steps=(StepReport(done=done, meaning="read"),),
        registry=RegistryReport(objects=(), complete=complete, seen_through=ISD),
    )
    stopped = None if done else StopReason.CARD_LOST
    found = settle(ObservedContent(fresh=True), READING, report, stopped=stopped, foreign_kvns=())
    assert (found.status_pages, found.fresh) == (pages, False)


def test_card_failure_when_a_card_is_full_says_the_status_word_once_and_what_to_do() -> None:
    failure = card_failure("6A84", "load F04F54534D02")
    assert failure.detail.count("6A84") == 1
    assert failure.detail.startswith("The secure element refused to load F04F54534D02: 6A84 (")
    assert failure.advice


def test_card_failure_when_the_check_values_differ_says_so() -> None:
    assert "check values differ" in card_failure("KCV", "replace keys").detail


def test_refusal_when_a_purse_refuses_a_credit_gives_no_advice_about_card_content() -> None:
    step = s.TopUp(application=PURSE, transaction="01" * 8, amount=1)
    failure = refusal([step], [StepReport(done=False, status_word="6A80", meaning=step.describe())])
    assert failure is not None
    assert "AID" not in failure.advice
    assert "credited" in failure.advice


def test_finish_when_a_failed_operation_had_done_everything_leaves_no_error_behind() -> None:
    application = ApplicationSpecification(instance_aid=PURSE, load_file=PURSE, module=PURSE)
    description = ServiceDescription(
        service_id="service",
        version_tag="1.0.0",
        flavor_id="flavor",
        provider_id=TenantId("provider"),
        sd_aid=PURSE,
        load_files=(),
        applications=(application,),
    )
    instance = ServiceInstance(
        id=InstanceId("i"),
        provider_id=TenantId("provider"),
        se_id=SeId("se"),
        description=description,
        state=InstanceState.IN_ERROR,
        key_version=0x34,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    assert finish(instance, Goal.ACTIVE).state is InstanceState.OPERATIONAL
