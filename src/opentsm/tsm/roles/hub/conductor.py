"""The conductor: takes an operation from request to its end, one stored step at a time.

Every call of `advance` starts from what is stored, may be repeated, and stores what it did in one
transaction. What goes to a device was committed before (write-ahead); what came back is checked by the
owner of the keys before it counts.
"""

from uuid import NAMESPACE_OID, uuid5

import msgspec

from opentsm.card.profiles import SeProfile
from opentsm.tsm.domain.exchange import Command, OrderAnswer, OrderState, StopReason
from opentsm.tsm.domain.operation import (
    ENDED,
    Failure,
    OperationEvent,
    OperationState,
    OperationType,
)
from opentsm.tsm.domain.secure_element import SE_STATES, SeEvent
from opentsm.tsm.domain.service import InstanceEvent
from opentsm.tsm.engine import activation
from opentsm.tsm.engine import content as c
from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.sessions import Plan, SessionKind
from opentsm.tsm.kernel.documents import from_json, to_json
from opentsm.tsm.kernel.errors import (
    ApplicationFaultError,
    InvalidInputError,
    KeyMaterialError,
    NotFoundError,
    PlanRefusedError,
    TokenRefusedError,
    WrongCardError,
)
from opentsm.tsm.kernel.ids import OperationId, SegmentId
from opentsm.tsm.kernel.wording import quoted
from opentsm.tsm.ports.peer import SegmentOwner, SegmentReport, SegmentRequest
from opentsm.tsm.roles.hub.carrying import Carrying
from opentsm.tsm.roles.hub.case import Case, load_case
from opentsm.tsm.roles.hub.conversations.conducting import Conversing
from opentsm.tsm.roles.hub.ending import Endings, failure_of
from opentsm.tsm.roles.hub.ledger import Ledger, moved
from opentsm.tsm.roles.hub.milestones import begun, milestone
from opentsm.tsm.roles.hub.order_answers import SealedOrders
from opentsm.tsm.roles.hub.progress import changes_of, first_changes
from opentsm.tsm.roles.hub.services import HubServices
from opentsm.tsm.roles.hub.settling import (
    card_failure,
    changed,
    disputed_receipts,
    refusal,
    settle,
    with_managers_keys,
)
from opentsm.tsm.roles.hub.space.planning import fitting_plan
from opentsm.tsm.roles.hub.space.undoing import begin_undoing, refused_for_memory
from opentsm.tsm.roles.hub.starting import Starting
from opentsm.tsm.roles.hub.turn_taking import way_wanted
from opentsm.tsm.roles.hub.wanted import request_of

replace = msgspec.structs.replace

MAX_ATTEMPTS = 8
AUTHENTICATION = "authenticate to the card"
_BEGINNINGS = {OperationType.DEPLOY: InstanceEvent.BEGIN, OperationType.UPDATE: InstanceEvent.UPDATE}
_OF_THE_REQUEST = (ApplicationFaultError, PlanRefusedError, NotFoundError, InvalidInputError)


class Conductor:
    """Advances operations."""

    def __init__(self, services: HubServices) -> None:
        self._s = services
        self._ledger = Ledger(services)
        self._carrying = Carrying(services.peers)
        self._endings = Endings(services, self._ledger)
        self._starting = Starting(services, self._endings)
        self._conversing = Conversing(services, self._ledger)

    async def advance(self, operation_id: OperationId) -> None:
        """Do whatever is the TSM's turn to do; nothing when it is not.

        Raises:
            StaleVersionError: another worker was faster; repeat.
        """
        async with self._s.storage.transaction() as tx:
            try:
                case = await load_case(tx, operation_id)
            except NotFoundError:  # it was wiped with its party
                return
        if case.operation.state in ENDED:
            return
        if case.operation.state in (OperationState.REQUESTED, OperationState.QUEUED):
            await self._starting.start(case)
            return
        if case.operation.type is OperationType.CONVERSATION:
            await self._conversing.advance(case)
            return
        in_flight = case.order is not None and case.order.state is OrderState.IN_FLIGHT
        if in_flight and not self._endings.withdrawable(case):
            return
        try:
            await (self._endings.withdraw(case) if in_flight else self._work(case))
        except (WrongCardError, KeyMaterialError) as error:
            await self._endings.quarantine(case, error)
        except (*_OF_THE_REQUEST, TokenRefusedError) as error:
            await self._endings.fail(case, failure_of(error))

    # --- working ---------------------------------------------------------------------------------------

    async def _work(self, case: Case) -> None:
        if case.order is None:
            await self._plan_and_send(case)
            return
        sealed = SealedOrders(self._s.keystore)
        commands, answer = await sealed.commands(case.order), await sealed.answer(case.order)
        sessions = from_json(Plan, case.operation.plan_document)
        await self._digest(case, sessions, commands, answer)

    async def _digest(
        self, case: Case, planned: Plan, commands: tuple[Command, ...], answer: OrderAnswer
    ) -> None:
        assert case.order is not None
        body = case.order.body
        good = len(answer.responses) if answer.stopped is None else (answer.index or 0)
        if body:
            session = planned.sessions[case.operation.session]
            owner = self._s.peers.segment_owner(session.owner_id)
            report = await owner.check_segment(self._segment_id(case), answer.responses[:body])
            if session.kind is SessionKind.CONTINUED:
                report = await self._carrying.concluded(case, planned, report)
            if not report.authenticated:
                await self._not_authenticated(case, answer)
                return
            if not await self._session_ended(case, planned, report, answer, good < body):
                return
        if good < len(commands):
            await self._opening_failed(case, planned, commands, answer, good)
            return
        await self._go_on(case, planned, answer.responses[body:])

    async def _session_ended(
        self, case: Case, planned: Plan, report: SegmentReport, answer: OrderAnswer, cut: bool
    ) -> bool:
        """Take in what a session proved; True when the next session can follow at once."""
        session = planned.sessions[case.operation.session]
        stopped = answer.stopped if cut else None
        self._take_in(case, planned, report, stopped)
        if report.receipts.unanswered:
            case.note("operation.receipts-lost", {"count": report.receipts.unanswered})
        if report.receipts.disputed:
            case.content = replace(case.content, fresh=False)
            await self._endings.fail(case, disputed_receipts(report.receipts))
            return False
        if all(outcome.done for outcome in report.steps):
            operation = case.operation
            # only a session that changed the card is progress: reading it again and again is none
            attempts = 0 if any(step.changes for step in session.steps) else operation.attempts
            case.operation = replace(operation, session=operation.session + 1, attempts=attempts)
            return True
        full = refused_for_memory(case.operation, session, report, self._profile(case))
        if full is not None:
            await self._full(case, *full)
            return False
        before, refused = case.operation.refused, refusal(session.steps, report.steps)
        case.operation = replace(
            case.operation, refused=refused or before, attempts=case.operation.attempts + 1
        )
        if refused is not None and before is not None and refused.step == before.step:
            # what led to the step was made anew in between: the card will always refuse it
            await self._endings.fail(case, refused)
        else:
            await self._again(case)
        return False

    async def _full(self, case: Case, step: str, status_word: str) -> None:
        """The card's memory is full: bring it back to what it was, or fail where that is not known."""
        failure = await begin_undoing(self._s, case, step, status_word)
        await (self._again(case) if failure is None else self._endings.fail(case, failure))

    def _take_in(self, case: Case, planned: Plan, report: SegmentReport, stopped: StopReason | None) -> None:
        session = planned.sessions[case.operation.session]
        foreign = case.foreign_kvns(session.selected, self._profile(case))
        case.content = settle(case.content, session, report, stopped=stopped, foreign_kvns=foreign)
        if report.registry is not None:
            case.content = replace(case.content, read_at=self._s.world.now())
        case.se = with_managers_keys(case.se, case.arrangement, session, report)
        if report.values:
            case.operation = replace(case.operation, result={**case.operation.result, **report.values})
        if case.instance is not None:
            grade = case.content.grades.get(case.instance.description.sd_aid.hex().upper())
            case.instance = replace(case.instance, handover=grade or case.instance.handover)
        if case.instance is not None and report.kept:
            case.instance = case.instance.keeping(report.kept)
        if changed(session, report, stopped):
            case.operation = replace(case.operation, changed_card=True)
        request = request_of(case.operation)
        if case.instance is not None and request is not None and case.operation.undoing is None:
            case.instance = milestone(case.instance, case.content, case.description(), request.commands)

    async def _not_authenticated(self, case: Case, answer: OrderAnswer) -> None:
        """EXTERNAL AUTHENTICATE was refused: the card lost the session, or somebody else opened one.

        The card's own cryptogram had verified, so this is no wrong card; but each refusal may cost a retry
        of the key set, so a second one in a row ends the attempts.
        """
        before = case.operation.refused
        if before is not None and before.step == AUTHENTICATION:
            raise WrongCardError(
                "The secure element refused to authenticate this TSM twice.",
                advice="Nothing else was sent. Check its key set before its retry limit is reached.",
            )
        word = answer.responses[0][-4:]
        case.operation = replace(
            case.operation,
            refused=card_failure(word, AUTHENTICATION),
            attempts=case.operation.attempts + 1,
        )
        case.content = replace(case.content, fresh=False)
        await self._again(case)

    async def _opening_failed(
        self, case: Case, planned: Plan, commands: tuple[Command, ...], answer: OrderAnswer, good: int
    ) -> None:
        """The next session did not open; the card is unchanged by that, but not what it was thought to be."""
        refused = case.operation.refused
        if answer.stopped is StopReason.MISMATCH and good < len(answer.responses):
            word = answer.responses[good][-4:] or "????"
            if len(word) == 4 and all(ch in "0123456789ABCDEF" for ch in word):
                steps = planned.sessions[case.operation.session].steps
                value = any(isinstance(step, s.TopUp) for step in steps)
                refused = card_failure(word, commands[good].meaning, value=value)
        case.content = replace(case.content, fresh=False)
        case.did_not_prove(wrong_cryptogram=False)
        case.operation = replace(case.operation, refused=refused, attempts=case.operation.attempts + 1)
        await self._again(case)

    async def _again(self, case: Case) -> None:
        """Something went otherwise than planned: look at the card, then plan again."""
        limit = case.operation.attempts >= MAX_ATTEMPTS
        if limit:
            await self._endings.fail(
                case,
                case.operation.refused
                or Failure(
                    code="no_progress",
                    detail=f"The secure element could not be worked with in {MAX_ATTEMPTS} tries.",
                    advice="Check the device and its reader, then request the operation again.",
                ),
            )
            return
        case.operation = moved(case.operation, OperationEvent.DOUBT)
        await self._plan_and_send(case)

    async def _go_on(self, case: Case, planned: Plan, opening: tuple[str, ...]) -> None:
        """Run the next sessions of the plan as far as the device's answers reach."""
        operation = case.operation
        interrupted = self._endings.stop_wanted(case) or way_wanted(case)
        if operation.session >= len(planned.sessions) or interrupted:
            await self._plan_and_send(case)
            return
        session = planned.sessions[operation.session]
        owner = self._s.peers.segment_owner(session.owner_id)
        if session.kind is SessionKind.CONTINUED:
            await self._prepare(case, planned, operation.session)
        body = await owner.wrap_segment(self._segment_id(case), opening)
        if session.kind is SessionKind.SECURE_CHANNEL:
            self._proved(case)
        if not body:
            report = await owner.check_segment(self._segment_id(case), opening)
            if await self._session_ended(case, planned, report, OrderAnswer(), cut=False):
                await self._open_next(case, planned, ())
            return
        if Plan(sessions=(session,)).changes_card():
            self._touched(case)
        await self._open_next(case, planned, body)

    async def _open_next(self, case: Case, planned: Plan, body: tuple[Command, ...]) -> None:
        """Send the session's body with the opening of the one after it; plan when nothing is left."""
        following = case.operation.session + (1 if body else 0)
        opening: tuple[Command, ...] = ()
        # what goes on in the same channel needs this body's answers first
        if following < len(planned.sessions) and not _goes_on(planned, following):
            opening = await self._prepare(case, planned, following)
        if body or opening:
            await self._ledger.send(case, (*body, *opening), len(body))
        else:
            await self._plan_and_send(case)

    async def _prepare(self, case: Case, planned: Plan, index: int) -> tuple[Command, ...]:
        session = planned.sessions[index]
        profile = self._profile(case)
        handover = b""
        giver = case.giver(session, profile)
        if giver is not None:
            point = await self._owner(planned, index).transport_point(giver)
            handover = await self._s.peers.segment_owner(giver).hand_over(
                case.se.id, session.key_sd, session.kvn, session.owner_id, point
            )
        request = SegmentRequest(
            segment_id=self._segment_id(case, index),
            operation_id=case.operation.id,
            se_id=case.se.id,
            issuer_id=giver or case.topology(profile).manager_id,
            profile=case.se.profile,
            session=session,
            instance_id=case.instance.id if case.instance else None,
            service=case.material(session),
            handover=handover,
        )
        if session.kind is SessionKind.CONTINUED:
            before = self._segment_id(case, index - 1)
            request = await self._carrying.continued(case, planned, index, request, before)
        else:
            request = await self._carrying.opened(case, planned, index, request)
        return await self._owner(planned, index).prepare_segment(request)

    def _owner(self, planned: Plan, index: int) -> SegmentOwner:
        return self._s.peers.segment_owner(planned.sessions[index].owner_id)

    def _segment_id(self, case: Case, index: int | None = None) -> SegmentId:
        number = case.operation.session if index is None else index
        return SegmentId(
            str(uuid5(NAMESPACE_OID, f"{case.operation.id}/{case.operation.plan_number}/{number}"))
        )

    # --- planning --------------------------------------------------------------------------------------

    async def _plan_and_send(self, case: Case) -> None:
        if self._endings.stop_wanted(case):
            await self._endings.stop(case)
            return
        if way_wanted(case):
            await self._ledger.give_way(case)
            return
        made = await fitting_plan(self._s, case, self._profile(case))
        refused = case.operation.refused
        if made.changes_card() and refused is not None:
            if refused.step in first_changes(made):
                await self._endings.fail(case, refused)
                return
            if refused.step not in changes_of(made):
                case.operation = replace(case.operation, refused=None)
        if case.operation.state is OperationState.IN_DOUBT and (made.empty or made.changes_card()):
            case.operation = moved(case.operation, OperationEvent.RESOLVE)
        if made.empty:
            undoing = case.operation.undoing
            await (self._endings.succeed(case) if undoing is None else self._endings.undone(case, undoing))
            return
        operation = case.operation
        case.operation = replace(
            operation,
            plan=(*operation.plan, *made.lines()),
            plan_document=to_json(made),
            plan_number=operation.plan_number + 1,
            session=0,
        )
        if case.instance is not None:
            steps = [step for session in made.sessions for step in session.steps]
            used = c.used_by(steps, case.description())
            case.claims = c.claim(case.claims, case.instance.id, used)
            case.content = activation.claim(case.content, case.instance.id, steps)
        await self._ledger.send(case, await self._prepare(case, made, 0), 0)

    # --- small things ----------------------------------------------------------------------------------

    def _touched(self, case: Case) -> None:
        event = _BEGINNINGS.get(case.operation.type)
        if case.instance is not None and event is not None:
            case.instance = begun(case.instance, event)

    def _proved(self, case: Case) -> None:
        """The card's cryptogram verified: the secure element is what it says, and the device reaches it."""
        device = case.operation.device_id or case.se.device_id
        if case.se.reserved_for not in (None, device):
            device = case.se.device_id  # meanwhile the issuer enrolled another device for it
        case.se = replace(case.se, state=SE_STATES.next(case.se.state, SeEvent.PROVE), device_id=device)

    def _profile(self, case: Case) -> SeProfile:
        try:
            return self._s.profiles[case.se.profile]
        except KeyError:
            raise NotFoundError(f"The card profile {quoted(case.se.profile)} is not known.") from None


def _goes_on(planned: Plan, index: int) -> bool:
    return planned.sessions[index].kind is SessionKind.CONTINUED
