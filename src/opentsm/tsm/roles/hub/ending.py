"""How operations end: done, failed, stopped before they were complete, or with their card set apart."""

import msgspec

from opentsm.tsm.domain.card_content import Goal, ObservedContent, ServiceDescription
from opentsm.tsm.domain.device_call import service_operation
from opentsm.tsm.domain.operation import Failure, Operation, OperationEvent, OperationState, OperationType
from opentsm.tsm.domain.secure_element import SE_STATES, SeEvent
from opentsm.tsm.domain.service import EndReason, ServiceInstance, ServiceOperation
from opentsm.tsm.engine import content as c
from opentsm.tsm.engine.sessions import Plan
from opentsm.tsm.kernel.documents import from_json
from opentsm.tsm.kernel.errors import KeyMaterialError, TsmError, WrongCardError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.roles.hub.case import Case
from opentsm.tsm.roles.hub.ledger import Ledger, moved
from opentsm.tsm.roles.hub.mandate import locked_by_issuer
from opentsm.tsm.roles.hub.milestones import broken, commands_done, finish
from opentsm.tsm.roles.hub.remains import domains, removed
from opentsm.tsm.roles.hub.services import HubServices
from opentsm.tsm.roles.hub.space.undoing import not_undone, undone
from opentsm.tsm.roles.hub.turn_taking import way_wanted
from opentsm.tsm.roles.hub.wanted import COMMANDS_DONE, is_final, is_staged, request_of
from opentsm.tsm.roles.hub.without_card import WithoutCard, with_online_system

replace = msgspec.structs.replace


class Endings:
    """Brings operations to their end."""

    def __init__(self, services: HubServices, ledger: Ledger) -> None:
        self._s = services
        self._ledger = ledger

    # --- giving up -------------------------------------------------------------------------------------

    def withdrawable(self, case: Case) -> bool:
        """An order that nobody got can be withdrawn at will; one handed out, when its time is over."""
        handed_out = case.order is not None and bool(case.order.delivered)
        return self.expired(case) if handed_out else self.stop_wanted(case) or way_wanted(case)

    async def withdraw(self, case: Case) -> None:
        """Take an order back that is of no use any more, and end the operation or let another overtake."""
        order = case.order
        if not self.stop_wanted(case):
            await self._ledger.give_way(case)
            return
        if order is not None and order.delivered and order.body:
            session = from_json(Plan, case.operation.plan_document).sessions[case.operation.session]
            for step in session.steps:
                case.content = c.doubt(case.content, step)
            if any(step.changes for step in session.steps):
                case.operation = replace(case.operation, changed_card=True)
        case.operation = moved(case.operation, OperationEvent.DOUBT)
        await self.stop(case)

    def stop_wanted(self, case: Case) -> bool:
        """Say whether the operation is to end before it is complete."""
        return case.operation.cancel_requested or self.expired(case)

    def expired(self, case: Case) -> bool:
        """Say whether the validity of the operation is over."""
        until = case.operation.valid_until
        return until is not None and self._s.world.now() >= until

    async def stop(self, case: Case) -> None:
        """End the operation as cancelled, or as failed when the card was changed or its time is over."""
        if case.operation.cancel_requested and not case.operation.changed_card:
            if case.operation.state is OperationState.IN_DOUBT:
                case.operation = moved(case.operation, OperationEvent.RESOLVE)
            _leave(case)
            await self._ledger.end(case, OperationEvent.CANCEL, None)
            return
        code = "cancelled" if case.operation.cancel_requested else "expired"
        detail = "It was cancelled" if code == "cancelled" else "Its validity ended"
        await self.fail(
            case,
            Failure(
                code=code,
                detail=f"{detail} before it was complete.",
                advice="Terminate the instance, or deploy it again to complete it.",
            ),
        )

    # --- ending ----------------------------------------------------------------------------------------

    async def succeed(self, case: Case) -> None:
        """End the operation: the card is as it should be."""
        if case.instance is not None:
            await self._complete(case, case.instance)
        if case.operation.type is OperationType.CLEAN_UP:
            await self._cleaned_up(case)
        if case.operation.type is OperationType.TERMINATE_CARD:
            await self._retire(case)
        await self._ledger.end(case, OperationEvent.SUCCEED, None)

    async def succeed_already(self, case: Case) -> None:
        """End an operation whose work another one has done: nothing is sent, nothing changes.

        What the instance had may by now be another's, which was made after it: it is left alone.
        """
        case.operation = replace(
            moved(case.operation, OperationEvent.START),
            started_at=self._s.world.now(),
            start_state=None if case.instance is None else case.instance.state,
        )
        await self._ledger.end(case, OperationEvent.SUCCEED, None)

    async def succeed_without_card(self, case: Case, reason: EndReason) -> None:
        """End a termination whose card is out of use: nothing can be sent, and nothing is to be hoped for."""
        case.operation = replace(
            moved(case.operation, OperationEvent.START),
            started_at=self._s.world.now(),
            start_state=None if case.instance is None else case.instance.state,
            result={**case.operation.result, "reason": reason.value},
        )
        if case.instance is not None:
            case.instance = replace(case.instance, end_reason=reason)
        await self.succeed(case)

    async def _retire(self, case: Case) -> None:
        """A terminated card is out of use for good: what is on it ends with it, and its keys are retired."""
        retired = SE_STATES.next(case.se.state, SeEvent.RETIRE)
        case.se = replace(case.se, state=retired, device_id=None, reserved_for=None)
        arranged = () if case.arrangement is None else case.arrangement.domains
        held = {(one.holder_id, one.aid) for one in arranged} | {(case.se.issuer_id, case.se.isd_aid)}
        for owner, domain in sorted(held):
            await self._s.peers.segment_owner(owner).forget_domain(case.se.id, domain)
        reason = EndReason.SECURE_ELEMENT_RETIRED
        told = await with_online_system(self._s.storage, self._s.peers.catalogue(), [case.se.id])
        case.also.append(lambda tx: WithoutCard(tx, self._s.world, case.se, reason, told).end())

    async def _cleaned_up(self, case: Case) -> None:
        for domain in domains(case.claims):
            await self._s.peers.segment_owner(case.se.issuer_id).forget_domain(case.se.id, domain.aid)
        case.claims = removed(case.claims)

    async def _complete(self, case: Case, instance: ServiceInstance) -> None:
        goal, description, stages = case.goal(), case.description(), case.stages()
        request, update = request_of(case.operation), case.operation.type is OperationType.UPDATE
        done = finish(
            instance,
            goal,
            commands=() if request is None else request.commands,
            final=is_final(case.operation),
            update=update,
        )
        data = instance.data_for(case.operation.id)
        case.instance = replace(
            done,
            description=description,
            stages=stages,
            key_version=int(case.operation.parameters.get("key_version", instance.key_version)),
            suspended_by=_suspended_by(done, case.operation),
            # what the card has proved to hold is not kept here
            sealed_data=b"" if c.personalized(description, case.content) else data,
            renewal=None if case.renewal is not None else instance.renewal,
            last_operation=_last_operation(instance, case.operation),
        )
        if goal is Goal.ABSENT:
            await self._forget(case)
            return
        case.claims = c.keep(case.claims, instance.id, description, case.content)
        if instance.description.dedicated_sd and not description.dedicated_sd:
            await self._forget_domain(case, instance)

    async def _forget(self, case: Case) -> None:
        assert case.instance is not None
        case.claims = c.release(case.claims, case.instance.id)
        if case.instance.description.dedicated_sd:
            await self._forget_domain(case, case.instance)
        case.instance = replace(case.instance, sealed_data=b"", renewal=None)

    async def _forget_domain(self, case: Case, instance: ServiceInstance) -> None:
        profile = self._s.profiles[case.se.profile]
        managers = {case.se.issuer_id, case.topology(profile).manager_id}
        for owner in sorted(managers | {instance.provider_id}):
            await self._s.peers.segment_owner(owner).forget_domain(case.se.id, instance.description.sd_aid)

    async def undone(self, case: Case, failure: Failure) -> None:
        """End an operation as failed whose card is again what it was before: so is the instance."""
        instance = case.instance
        if instance is not None and not case.undoes_part:
            case.claims = c.release(case.claims, instance.id)
            if instance.description.dedicated_sd:
                await self._forget_domain(case, instance)
        _leave(case)
        await self._ledger.end(case, OperationEvent.FAIL, undone(case, failure))

    async def fail(self, case: Case, failure: Failure) -> None:
        """End the operation; what it changed on the card leaves its instance broken."""
        if case.operation.undoing is not None:
            failure = not_undone(case.operation.undoing, failure)
        # a top-up that failed leaves the service as usable as it was
        if case.instance is not None:
            case.operation = _with_commands_done(case.operation, case.description(), case.content)
        if case.operation.changed_card and case.operation.type is not OperationType.TOP_UP:
            _break(case)
        else:
            _leave(case)
        await self._ledger.end(case, OperationEvent.FAIL, failure)

    async def quarantine(self, case: Case, error: WrongCardError | KeyMaterialError) -> None:
        """Neither a card with other keys nor a record of keys that was changed is used a second time."""
        if isinstance(error, WrongCardError):
            case.did_not_prove(wrong_cryptogram=True)
        case.se = replace(case.se, state=SE_STATES.next(case.se.state, SeEvent.SUSPECT))
        # what the card showed of itself is asked for anew, should it be reinstated
        case.content = replace(case.content, fresh=False, certificate=b"")
        await self.fail(case, failure_of(error))


def _with_commands_done(
    operation: Operation, description: ServiceDescription, content: ObservedContent
) -> Operation:
    """Note how far a device's call came: its commands have results of their own (TR-03165 §4.2.3.10)."""
    request = request_of(operation)
    if request is None or not is_staged(operation) or not operation.changed_card:
        return operation
    done = commands_done(request.commands, description, content)
    return replace(operation, result={**operation.result, COMMANDS_DONE: done})


def _break(case: Case) -> None:
    """The card was changed: the instance is what the operation was to make of it, in parts."""
    instance, renewal = case.instance, case.renewal
    if instance is None:
        return
    instance = replace(broken(instance), last_operation=_last_operation(instance, case.operation))
    if renewal is not None:
        data = instance.data_for(case.operation.id)
        instance = replace(instance, description=renewal.description, sealed_data=data, renewal=None)
    if case.operation.type is OperationType.UPDATE:
        instance = replace(instance, stages=())
    case.instance = instance


def _leave(case: Case) -> None:
    """The card was not changed: the instance stays what it was before the operation.

    Source: BSI TR-03165 §3.2.2, In Error.
    """
    instance, operation = case.instance, case.operation
    if instance is None:
        return
    if operation.start_state is not None and operation.type in (OperationType.DEPLOY, OperationType.UPDATE):
        instance = replace(instance, state=operation.start_state)
    if case.renewal is not None:
        instance = replace(instance, renewal=None)
        case.claims = c.keep(case.claims, instance.id, instance.description, case.content)
        if operation.type is OperationType.PERSONALIZE:
            case.content = c.not_stale(case.content, instance.description)
    case.instance = instance


def _last_operation(instance: ServiceInstance, operation: Operation) -> ServiceOperation:
    request = request_of(operation)
    return instance.last_operation if request is None else service_operation(request)


def _suspended_by(instance: ServiceInstance, operation: Operation) -> TenantId | None:
    """Return who holds the instance suspended after an operation succeeded: an issuer's lock stays."""
    if instance.goal is Goal.ACTIVE:
        return None
    if instance.goal is Goal.ABSENT or locked_by_issuer(instance):
        return instance.suspended_by
    if operation.type is OperationType.SUSPEND or instance.suspended_by is None:
        return operation.tenant_id
    return instance.suspended_by


def failure_of(error: TsmError) -> Failure:
    """Return an error as the failure of an operation."""
    return Failure(code=error.code, detail=error.detail, advice=error.advice or "")
