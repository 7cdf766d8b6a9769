"""How operations end: done, failed, stopped before they were complete, or with their card set apart."""

import msgspec

from opentsm.tsm.domain.card_content import Goal, ObservedContent
from opentsm.tsm.domain.operation import Failure, Operation, OperationEvent, OperationState, OperationType
from opentsm.tsm.domain.secure_element import SE_STATES, SeEvent
from opentsm.tsm.domain.service import ServiceInstance
from opentsm.tsm.engine import content as c
from opentsm.tsm.engine.sessions import Plan
from opentsm.tsm.kernel.documents import from_json
from opentsm.tsm.kernel.errors import KeyMaterialError, TsmError, WrongCardError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.roles.hub.case import Case
from opentsm.tsm.roles.hub.ledger import Ledger, moved
from opentsm.tsm.roles.hub.mandate import locked_by_issuer
from opentsm.tsm.roles.hub.services import HubServices
from opentsm.tsm.roles.hub.settling import broken, commands_done, finish
from opentsm.tsm.roles.hub.wanted import COMMANDS_DONE, is_staged, request_of

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
        return self.expired(case) if handed_out else self.stop_wanted(case)

    async def withdraw(self, case: Case) -> None:
        """Take an order back that is of no use any more, and end the operation."""
        order = case.order
        if order is not None and order.delivered and order.body:
            session = from_json(Plan, case.operation.plan_document).sessions[case.operation.session]
            for step in session.steps:
                case.content = c.doubt(case.content, step)
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
            goal = case.goal()
            version = int(case.operation.parameters.get("key_version", case.instance.key_version))
            case.instance = replace(
                finish(case.instance, goal, case.content),
                key_version=version,
                suspended_by=_suspended_by(case.instance, case.operation),
                # what the card has proved to hold is not kept here
                sealed_data=b"" if goal is Goal.ACTIVE else case.instance.sealed_data,
            )
            if goal is Goal.ABSENT:
                await self._forget(case)
        await self._ledger.end(case, OperationEvent.SUCCEED, None)

    async def _forget(self, case: Case) -> None:
        assert case.instance is not None
        case.claims = c.release(case.claims, case.instance.id)
        domain = case.instance.description.sd_aid
        if case.instance.description.dedicated_sd:
            for owner in (case.se.issuer_id, case.instance.provider_id):
                await self._s.peers.segment_owner(owner).forget_domain(case.se.id, domain)
        case.instance = replace(case.instance, sealed_data=b"")

    async def fail(self, case: Case, failure: Failure) -> None:
        """End the operation; what it changed on the card leaves its instance broken."""
        # a top-up that failed leaves the service as usable as it was
        breaks = case.operation.changed_card and case.operation.type is not OperationType.TOP_UP
        if case.instance is not None:
            case.operation = _with_commands_done(case.operation, case.instance, case.content)
            case.instance = broken(case.instance) if breaks else case.instance
        await self._ledger.end(case, OperationEvent.FAIL, failure)

    async def quarantine(self, case: Case, error: WrongCardError | KeyMaterialError) -> None:
        """Neither a card with other keys nor a record of keys that was changed is used a second time."""
        if isinstance(error, WrongCardError):
            case.did_not_prove(wrong_cryptogram=True)
        case.se = replace(case.se, state=SE_STATES.next(case.se.state, SeEvent.SUSPECT))
        case.content = replace(case.content, fresh=False)
        await self.fail(case, failure_of(error))


def _with_commands_done(
    operation: Operation, instance: ServiceInstance, content: ObservedContent
) -> Operation:
    """Note how far a device's call came: its commands have results of their own (TR-03165 §4.2.3.10)."""
    request = request_of(operation)
    if request is None or not is_staged(operation) or not operation.changed_card:
        return operation
    renewal = instance.renewal
    renewed = renewal is not None and renewal.operation_id == operation.id
    description = renewal.description if renewal is not None and renewed else instance.description
    done = commands_done(request.commands, description, content)
    return replace(operation, result={**operation.result, COMMANDS_DONE: done})


def _suspended_by(instance: ServiceInstance, operation: Operation) -> TenantId | None:
    """Return who holds the instance suspended after an operation succeeded: an issuer's lock stays."""
    if operation.type is OperationType.SUSPEND and not locked_by_issuer(instance):
        return operation.tenant_id
    return None if operation.type is OperationType.RESUME else instance.suspended_by


def failure_of(error: TsmError) -> Failure:
    """Return an error as the failure of an operation."""
    return Failure(code=error.code, detail=error.detail, advice=error.advice or "")
