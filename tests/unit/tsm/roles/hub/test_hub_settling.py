"""What a report means for an operation: the card's refusals in words."""

from datetime import UTC, datetime

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.card_content import (
    ApplicationSpecification,
    Goal,
    ServiceDescription,
)
from opentsm.tsm.domain.service import InstanceState, ServiceInstance
from opentsm.tsm.engine import steps as s
from opentsm.tsm.kernel.ids import InstanceId, SeId, TenantId
from opentsm.tsm.ports.peer import StepReport
from opentsm.tsm.roles.hub.milestones import finish
from opentsm.tsm.roles.hub.settling import card_failure, refusal

PURSE = Aid.from_hex("F04F54534D020101")


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
