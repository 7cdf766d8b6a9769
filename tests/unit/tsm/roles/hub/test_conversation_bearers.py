"""Which bearer a conversation uses: the operator's order, as far as this TSM carries it."""

import pytest

from opentsm.tsm.domain.conversation import ScriptLimits
from opentsm.tsm.domain.registry import Bearer, BearerKind, NetworkOperator
from opentsm.tsm.kernel.ids import NetworkOperatorId
from opentsm.tsm.roles.hub.conversations.bearers import route

SMS = Bearer(kind=BearerKind.SCP80_SMS, address="smsc.example", max_script_bytes=1000, max_scripts=2)
SMALL = Bearer(kind=BearerKind.DEVICE_AGENT, max_script_bytes=4000, max_scripts=5)
LARGE = Bearer(kind=BearerKind.DEVICE_AGENT, max_script_bytes=10**6, max_scripts=10**6)
OURS = ScriptLimits()


def operator(*bearers: Bearer) -> NetworkOperator:
    return NetworkOperator(id=NetworkOperatorId("mno"), name="MNO", bearers=bearers)


@pytest.mark.parametrize(
    ("bearers", "scripts", "script_bytes"),
    [
        ((), OURS.scripts, OURS.script_bytes),
        ((SMALL,), 5, 4000),
        ((SMS, SMALL), 5, 4000),
        ((SMALL, LARGE), 5, 4000),
        ((LARGE, SMALL), OURS.scripts, OURS.script_bytes),
        ((SMS,), OURS.scripts, OURS.script_bytes),
    ],
    ids=["none", "small", "after one not carried", "first", "never above ours", "none carried"],
)
def test_route_when_an_operator_has_bearers_then_its_first_that_is_carried(
    bearers: tuple[Bearer, ...], scripts: int, script_bytes: int
) -> None:
    name, limits = route(operator(*bearers))
    assert (name, limits.scripts, limits.script_bytes) == ("SERAM", scripts, script_bytes)
    assert (limits.apdus, limits.response_bytes) == (OURS.apdus, OURS.response_bytes)


def test_route_when_there_is_no_operator_then_the_agent_with_our_limits() -> None:
    assert route(None) == ("SERAM", OURS)
