"""How an operation looks as a process: its progress, the command in work, the results of its commands."""

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.card_content import (
    ApplicationSpecification,
    CardObject,
    ObjectKind,
    ObservedContent,
    ServiceDescription,
    Stage,
)
from opentsm.tsm.domain.device_call import Call, Request
from opentsm.tsm.domain.operation import Operation, OperationState, OperationType
from opentsm.tsm.domain.service import InstanceState, ServiceInstance, ServiceOperation
from opentsm.tsm.engine.sessions import Plan
from opentsm.tsm.kernel.documents import to_json
from opentsm.tsm.kernel.ids import InstanceId, OperationId, SeId, TenantId
from opentsm.tsm.roles.hub.device_processes import (
    CommandResult,
    command_outcomes,
    operation_in_work,
)
from opentsm.tsm.roles.hub.milestones import commands_done
from opentsm.tsm.roles.hub.progress import progress_of
from opentsm.tsm.roles.hub.wanted import COMMANDS_DONE

NOW = datetime(2026, 1, 2, tzinfo=UTC)
_I, P, A = Stage.INSTALL, Stage.PERSONALIZE, Stage.ACTIVATE
S, N = InstanceState, ServiceOperation
APPLET = Aid.from_hex("F04F54534D030101")


def operation(state: OperationState = OperationState.PREPARING, **more: Any) -> Operation:
    return Operation(
        id=OperationId("o"),
        tenant_id=TenantId("p"),
        se_id=SeId("s"),
        type=OperationType.DEPLOY,
        state=state,
        created_at=NOW,
        **more,
    )


def instance() -> ServiceInstance:
    application = ApplicationSpecification(
        instance_aid=APPLET,
        load_file=Aid.from_hex("F04F54534D03"),
        module=Aid.from_hex("F04F54534D0301"),
        personalization="badge-1",
    )
    description = ServiceDescription(
        service_id="badge",
        version_tag="1.0.0",
        flavor_id="f",
        provider_id=TenantId("p"),
        sd_aid=Aid.from_hex("F04F54534DF0000000000001"),
        load_files=(),
        applications=(application,),
    )
    return ServiceInstance(
        id=InstanceId("i"),
        provider_id=TenantId("p"),
        se_id=SeId("s"),
        description=description,
        key_version=0x34,
        created_at=NOW,
    )


def test_progress_when_it_waits_works_or_has_ended_then_from_0_to_100() -> None:
    for waiting in (OperationState.REQUESTED, OperationState.QUEUED):
        assert progress_of(operation(waiting)) == 0
    assert 0 < progress_of(operation()) < 100
    planned = operation(plan_document=to_json(Plan()))
    assert 0 < progress_of(planned) < 100
    for ended in (OperationState.SUCCEEDED, OperationState.FAILED, OperationState.CANCELLED):
        assert progress_of(operation(ended)) == 100


@pytest.mark.parametrize(
    ("commands", "finalize", "changed", "state", "number"),
    [
        ((_I, P, A), True, False, S.NOT_DEPLOYED, N.DEPLOYMENT_INSTALLATION),
        ((_I, P, A), True, True, S.INITIALIZED, N.DEPLOYMENT_INSTALLATION),
        ((_I, P, A), True, True, S.INSTALLED, N.DEPLOYMENT_PERSONALIZATION),
        ((_I, P, A), True, True, S.PERSONALIZED, N.DEPLOYMENT_ACTIVATION),
        ((_I, P, A), True, True, S.ACTIVATED, N.DEPLOYMENT_FINALIZE),
        ((_I, P, A), False, True, S.ACTIVATED, N.DEPLOYMENT_ACTIVATION),
        ((_I, A), False, True, S.INSTALLED, N.DEPLOYMENT_ACTIVATION),
        ((P,), True, False, S.INSTALLED, N.DEPLOYMENT_PERSONALIZATION),
        ((), True, False, S.ACTIVATED, N.DEPLOYMENT_FINALIZE),
    ],
)
def test_operation_when_it_works_then_the_number_of_the_command_in_work(
    commands: tuple[Stage, ...], finalize: bool, changed: bool, state: InstanceState, number: ServiceOperation
) -> None:
    request = Request(Call.DEPLOY, commands, finalize)
    assert operation_in_work(operation(changed_card=changed), request, state) is number


@pytest.mark.parametrize(
    ("request_", "number"),
    [
        (Request(Call.DEPLOY, (_I,)), 10),
        (Request(Call.DEPLOY, (_I, P)), 11),
        (Request(Call.DEPLOY, (_I, P, A)), 12),
        (Request(Call.DEPLOY, (_I, P, A), finalize=True), 13),
        (Request(Call.UPDATE, (_I,)), 20),
        (Request(Call.UPDATE, (_I, P)), 21),
        (Request(Call.UPDATE, (_I, A)), 22),
        (Request(Call.UPDATE, (_I, A), finalize=True), 23),
        (Request(Call.SUSPEND), 30),
        (Request(Call.RESUME), 31),
        (Request(Call.TERMINATE), 40),
    ],
)
def test_operation_when_it_has_ended_then_the_guidelines_number_of_the_call(
    request_: Request, number: int
) -> None:
    ended = operation(OperationState.SUCCEEDED)
    assert operation_in_work(ended, request_, S.OPERATIONAL).value == number


def results(ended: Operation) -> list[int]:
    request = Request(Call.DEPLOY, (_I, P, A), finalize=True)
    return [outcome.result.value for outcome in command_outcomes(ended, request, instance())]


def test_commands_when_the_process_ended_then_each_has_its_result() -> None:
    assert results(operation(OperationState.SUCCEEDED, started_at=NOW)) == [0, 0, 0]
    failed = operation(OperationState.FAILED, started_at=NOW)
    assert results(failed) == [1, 2, 2]
    assert results(replace(failed, result={COMMANDS_DONE: 1})) == [0, 1, 2]
    assert results(replace(failed, result={COMMANDS_DONE: 3})) == [0, 0, 0]
    assert results(operation(OperationState.CANCELLED)) == [2, 2, 2]


def test_commands_when_the_recipes_own_were_not_all_sent_then_the_last_is_not_done() -> None:
    """A recipe's commands to the application are sent last of all, when everything else is on the card."""
    described = instance().description
    (application,) = described.applications
    described = replace(described, applications=(replace(application, commands=True),))
    entry = CardObject(aid=APPLET, kind=ObjectKind.APPLICATION, state=0x07, seen_through=APPLET)
    versions = {APPLET.hex().upper(): "badge-1"}
    shown = ObservedContent(objects=(entry,), personalization=versions)
    sent = replace(shown, commands=versions)
    for commands in ((_I, P, A), (_I, A, P), (A,)):
        assert commands_done(commands, described, shown) == len(commands) - 1
        assert commands_done(commands, described, sent) == len(commands)
        assert commands_done(commands, instance().description, shown) == len(commands)
    assert commands_done((), described, shown) == 0
    bare = replace(shown, personalization={})
    assert commands_done((_I, P, A), described, bare) == 1


def test_personalisation_when_it_succeeded_then_its_applications_are_named() -> None:
    request = Request(Call.DEPLOY, (_I, P))
    for ended, named in (
        (operation(OperationState.SUCCEEDED, started_at=NOW), (APPLET,)),
        (operation(OperationState.FAILED, started_at=NOW, result={COMMANDS_DONE: 1}), ()),
    ):
        install, personalize = command_outcomes(ended, request, instance())
        assert install.personalized == ()
        assert personalize.personalized == named
    assert personalize.result is CommandResult.FAILED


def test_progress_when_a_plan_is_made_anew_then_stays_where_it_was() -> None:
    anew = operation(plan_document=to_json(Plan()), progress=63)
    assert progress_of(anew) == 63
    assert progress_of(replace(anew, state=OperationState.QUEUED, plan_document=b"")) == 63
    assert progress_of(replace(anew, state=OperationState.FAILED)) == 100
