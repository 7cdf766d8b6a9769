"""How far an instance has come: along the states of TR-03165 as the card shows it. Pure."""

from collections.abc import Sequence

import msgspec

from opentsm.tsm.domain.card_content import (
    ALL_STAGES,
    Goal,
    ObservedContent,
    ServiceDescription,
    Stage,
)
from opentsm.tsm.domain.service import INSTANCE_STATES, InstanceEvent, InstanceState, ServiceInstance
from opentsm.tsm.engine import activation
from opentsm.tsm.engine.content import personalized
from opentsm.tsm.engine.identity import build_of
from opentsm.tsm.engine.view import LOCKED

replace = msgspec.structs.replace

_SELECTABLE = 0x04
_EVENTS = {
    Stage.INSTALL: InstanceEvent.INSTALL,
    Stage.PERSONALIZE: InstanceEvent.PERSONALIZE,
    Stage.ACTIVATE: InstanceEvent.ACTIVATE,
}


def begun(instance: ServiceInstance, event: InstanceEvent) -> ServiceInstance:
    """Return the instance whose deployment or update begins to change the card."""
    return replace(instance, state=_moved(instance.state, event))


def milestone(
    instance: ServiceInstance,
    content: ObservedContent,
    description: ServiceDescription,
    commands: Sequence[Stage] = ALL_STAGES,
) -> ServiceInstance:
    """Return the instance moved along as far as the card's content shows (states 10 to 14).

    Args:
        instance: as it is.
        content: what is known to be on the card.
        description: what the card is to hold.
        commands: in the order in which their states shall be reached.
    """
    state = instance.state
    if not _installed(description, content):
        return instance
    if state is InstanceState.INITIALIZED:
        state = _moved(state, InstanceEvent.INSTALL)
    for stage in commands:
        if stage is Stage.PERSONALIZE and _nothing_to_personalize(description):
            continue
        if not _reached(stage, description, content):
            break
        state = _moved(state, _EVENTS[stage])
    return replace(instance, state=state)


def commands_done(
    commands: Sequence[Stage], description: ServiceDescription, content: ObservedContent
) -> int:
    """Return how many of a call's commands, from the first on, the card's content shows as carried out.

    The recipes' own commands to applications go last of all: without them the last command is not done.
    """
    if not _installed(description, content):
        return 0
    last = len(commands) if _recipes_sent(description, content) else len(commands) - 1
    done = (_reached(stage, description, content) for stage in commands[:last])
    return next((number for number, reached in enumerate(done) if not reached), max(last, 0))


def finish(
    instance: ServiceInstance,
    goal: Goal,
    *,
    commands: Sequence[Stage] = ALL_STAGES,
    final: bool = True,
    update: bool = False,
) -> ServiceInstance:
    """Return the instance after its operation succeeded.

    Args:
        instance: as it was.
        goal: what the operation was to make of it.
        commands: the stages that it was asked for, in the caller's order.
        final: the deployment is complete with it.
        update: it brought another version.
    """
    state = instance.state
    if goal is Goal.ABSENT:
        return replace(instance, goal=goal, state=INSTANCE_STATES.next(state, InstanceEvent.TERMINATE))
    # nothing may have had to be changed: an earlier operation had done it all, although it failed
    state = _moved(state, InstanceEvent.UPDATE if update else InstanceEvent.BEGIN)
    if state is InstanceState.INITIALIZED:
        state = _moved(state, InstanceEvent.INSTALL)
    for stage in commands:
        state = _moved(state, _EVENTS[stage])
    if final:
        state = _moved(state, InstanceEvent.FINALIZE)
        event = InstanceEvent.SUSPEND if goal is Goal.SUSPENDED else InstanceEvent.RESUME
        state = _moved(state, event)
    return replace(instance, goal=goal, state=state)


def broken(instance: ServiceInstance) -> ServiceInstance:
    """Return the instance after an operation failed with the card changed."""
    return replace(instance, state=INSTANCE_STATES.next(instance.state, InstanceEvent.BREAK))


def _moved(state: InstanceState, event: InstanceEvent) -> InstanceState:
    return INSTANCE_STATES.next(state, event) if INSTANCE_STATES.accepts(state, event) else state


def _reached(stage: Stage, description: ServiceDescription, content: ObservedContent) -> bool:
    if stage is Stage.PERSONALIZE:
        return personalized(description, content)
    return stage is Stage.INSTALL or _activated(description, content)


def _recipes_sent(description: ServiceDescription, content: ObservedContent) -> bool:
    return all(
        content.commands.get(app.instance_aid.hex().upper()) == app.personalization
        for app in description.applications
        if app.commands
    )


def _nothing_to_personalize(description: ServiceDescription) -> bool:
    return all(app.personalization is None for app in description.applications)


def _installed(description: ServiceDescription, content: ObservedContent) -> bool:
    return all(
        content.find(app.instance_aid) is not None
        and content.built.get(app.instance_aid.hex().upper()) in (None, build_of(description, app))
        for app in description.applications
    )


def _activated(description: ServiceDescription, content: ObservedContent) -> bool:
    return all(
        not app.make_selectable
        or bool(
            (entry := content.find(app.instance_aid))
            and entry.state & _SELECTABLE
            # what is locked is not to be found by anybody, and was not activated for that
            and (entry.state & LOCKED or activation.activated(app, content, description.device_apps))
        )
        for app in description.applications
    )
