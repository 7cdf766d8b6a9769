"""What an app is shown of a process: what the recipes kept, for each application, and nothing else."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

from opentsm.api.device_api import views
from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.card_content import Stage
from opentsm.tsm.domain.service import InstanceState, KeptAnswer, ServiceInstance, ServiceOperation
from opentsm.tsm.kernel.ids import OperationId
from opentsm.tsm.roles.hub.device_processes import CommandOutcome, CommandResult, ProcessView

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ONE, OTHER = Aid.from_hex("F04F54534D030101"), Aid.from_hex("F04F54534D030102")


def test_result_when_recipes_kept_answers_then_each_with_its_application_and_success_only() -> None:
    kept = (
        KeptAnswer(application=ONE, tag="tries", command="80CA9F1700", response="9F1701039000"),
        KeptAnswer(application=OTHER, tag="id", command="80CA9F7F00", response="9000"),
    )
    view = ProcessView(
        process_id=OperationId("o"),
        started_at=NOW,
        progress=100,
        operation=ServiceOperation.DEPLOYMENT_PERSONALIZATION,
        ended_at=NOW,
        state=InstanceState.PERSONALIZED,
        instance=cast("ServiceInstance", cast("Any", SimpleNamespace(kept_answers=kept))),
        commands=(
            CommandOutcome(Stage.INSTALL, CommandResult.SUCCESS),
            CommandOutcome(Stage.PERSONALIZE, CommandResult.SUCCESS, (ONE,)),
            CommandOutcome(Stage.ACTIVATE, CommandResult.FAILED),
        ),
    )
    result = views.process(view, "AB", "eSE1").result
    assert result is not None
    assert [one.command_execution_status for one in result.service_command_results] == [0, 0, 1]
    install, personalize, activate = (one.personalization_results for one in result.service_command_results)
    assert (install, activate) == ([], [])
    (shown,) = personalize
    assert shown.application_instance_aid == str(ONE)
    assert [(one.tag, one.command, one.response) for one in shown.results] == [
        ("tries", "80CA9F1700", "9F1701039000")
    ]
