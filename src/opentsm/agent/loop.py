"""The Local Agent of one secure element: session, handshake, poll, run, report, stop.

The steps carry the numbers of docs/reference/agent-protocol.md, which follows GlobalPlatform SERAM
2.0.0 (initialisation step, handshake step, command exchange step).
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeVar

from opentsm.agent.backoff import Backoff
from opentsm.agent.clock import Clock, SystemClock
from opentsm.agent.errors import OrderError, SessionLostError
from opentsm.agent.execution import Card, Outcome, plain_report_of, report_of, run_order
from opentsm.agent.journal import Journal, Store
from opentsm.agent.messages import (
    EXTENDED_VERSION,
    POLLING,
    AgentStatus,
    RefusalReason,
    Refused,
    Report,
    SecureElement,
)
from opentsm.agent.observer import Observer, SilentObserver
from opentsm.agent.orders import Order, read_order
from opentsm.agent.readers import Reader
from opentsm.agent.server_link import ServerLink, SessionId

_T = TypeVar("_T")


class AgentState(Enum):
    """Where an agent stands; the name says who acts next."""

    AGENT_OPENS_SESSION = "agent opens a session"
    AGENT_OFFERS = "agent offers versions"
    SERVER_ORDERS = "server sends an order"
    CARD_ANSWERS = "card answers the order"
    CLOSED = "nobody: the agent has left"


class AgentEvent(Enum):
    """What moves an agent."""

    SESSION_OPENED = "session opened"
    VERSION_CHOSEN = "version chosen"
    ORDER_RECEIVED = "order received"
    REPORT_READY = "report ready"
    SESSION_LOST = "session lost (404)"
    SESSION_STOPPED = "ramStopCommand"
    RETURNING = "agent comes back"
    LEAVING = "agent leaves"


_S, _E = AgentState, AgentEvent
TRANSITIONS: Final[dict[tuple[AgentState, AgentEvent], AgentState]] = {
    (_S.AGENT_OPENS_SESSION, _E.SESSION_OPENED): _S.AGENT_OFFERS,
    (_S.AGENT_OFFERS, _E.VERSION_CHOSEN): _S.SERVER_ORDERS,
    (_S.AGENT_OFFERS, _E.SESSION_LOST): _S.AGENT_OPENS_SESSION,
    (_S.SERVER_ORDERS, _E.ORDER_RECEIVED): _S.CARD_ANSWERS,
    (_S.SERVER_ORDERS, _E.SESSION_LOST): _S.AGENT_OPENS_SESSION,
    (_S.CARD_ANSWERS, _E.REPORT_READY): _S.SERVER_ORDERS,
    (_S.CARD_ANSWERS, _E.SESSION_STOPPED): _S.CLOSED,
    (_S.CLOSED, _E.RETURNING): _S.AGENT_OPENS_SESSION,
    (_S.AGENT_OPENS_SESSION, _E.LEAVING): _S.CLOSED,
    (_S.AGENT_OFFERS, _E.LEAVING): _S.CLOSED,
    (_S.SERVER_ORDERS, _E.LEAVING): _S.CLOSED,
}


def state_diagram() -> str:
    """Draw the table for the documentation, as a Mermaid state diagram."""
    names = [f"    {state.name}: {state.value}\n" for state in AgentState]
    moves = [f"    {old.name} --> {new.name}: {event.value}\n" for (old, event), new in TRANSITIONS.items()]
    first = f"    [*] --> {AgentState.AGENT_OPENS_SESSION.name}\n"
    return "".join(["stateDiagram-v2\n", *names, first, *moves])


class IllegalMoveError(RuntimeError):
    """The agent's state has no such move."""


class Ending(Enum):
    """Why an agent left."""

    STOPPED_BY_SERVER = "the server ended the session"
    LEFT = "the agent was asked to leave"


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """What a loop may be told.

    Args:
        come_back: open a new session after a ramStopCommand instead of leaving.
        idle_delay_s: pause after an order without commands that names no delay (SERAM: 1 s).
        plain_delay_s: pause after commands of a plain 2.0.0 order that names no delay (100 ms).
        longest_delay_s: upper bound of what a server may ask for.
    """

    come_back: bool = False
    idle_delay_s: float = 1.0
    plain_delay_s: float = 0.1
    longest_delay_s: float = 300.0


class _AskedToLeaveError(Exception):
    """Somebody called `leave` while the agent waited for the server."""


class LocalAgent:
    """Carries orders to one secure element.

    Args:
        element: how the server knows the secure element.
        reader: the way to it.
        store: keeps the journal of this secure element.
        link: the device's link, shared by all its agents.
        clock: waits and measures.
        observer: is told what happens.
        settings: what may differ.
    """

    def __init__(
        self,
        element: SecureElement,
        reader: Reader,
        store: Store,
        link: ServerLink,
        *,
        clock: Clock | None = None,
        observer: Observer | None = None,
        settings: LoopSettings | None = None,
    ) -> None:
        self._element = element
        self._store = store
        self._link = link
        self._clock = clock or SystemClock()
        self._observer = observer or SilentObserver()
        self._settings = settings or LoopSettings()
        self._card = Card(reader, self._observer)
        self._state = AgentState.AGENT_OPENS_SESSION
        self._losses = Backoff(link.settings.patience, self._clock, link.settings.random)
        self._extended = False
        self._leaving = asyncio.Event()
        self._waiting: asyncio.Task[object] | None = None

    @property
    def state(self) -> AgentState:
        """Where the agent stands."""
        return self._state

    def leave(self) -> None:
        """Ask the agent to leave: a running order is finished and journalled, a wait is cut short."""
        self._leaving.set()
        if self._waiting is not None:
            self._waiting.cancel()

    async def run(self) -> Ending:
        """Work until the server stops the session, somebody asks to leave, or patience ends.

        Raises:
            LinkError: the server refuses this device or card, or cannot be reached.
            JournalError: the journal cannot be read or written.
        """
        journal = await Journal.open(self._store)
        try:
            while True:
                await self._session(journal)
                if not self._settings.come_back:
                    return Ending.STOPPED_BY_SERVER
                await self._card.off()
                await self._wait(self._clock.sleep(self._settings.idle_delay_s))
                self._move(AgentEvent.RETURNING)
        except _AskedToLeaveError:
            if self._state is not AgentState.CLOSED:
                self._move(AgentEvent.LEAVING)
            return Ending.LEFT
        finally:
            await self._card.off()

    async def _session(self, journal: Journal) -> None:
        """Work through sessions until the server stops one."""
        while True:
            # Step 1: a session for this secure element; step 2: the handshake.
            session = await self._wait(self._link.open_session(self._element, self._observer))
            self._move(AgentEvent.SESSION_OPENED)
            try:
                await self._handshake(session)
                return await self._exchange_commands(session, journal)
            except SessionLostError:
                self._move(AgentEvent.SESSION_LOST)
                await self._wait(self._losses.pause("the session is lost", self._observer))

    async def _handshake(self, session: SessionId) -> None:
        version = await self._wait(self._link.handshake(session, self._element, self._observer))
        self._extended = version == EXTENDED_VERSION
        self._move(AgentEvent.VERSION_CHOSEN)
        self._observer.notice(f"session open, SERAM {version}")

    async def _exchange_commands(self, session: SessionId, journal: Journal) -> None:
        report = POLLING  # step 3: the first report holds a status only
        while True:
            answer, delay_s = await self._next_report(session, report, journal)
            if answer is None:  # step 6: ramStopCommand
                return self._move(AgentEvent.SESSION_STOPPED)
            report = answer
            self._move(AgentEvent.REPORT_READY)
            if delay_s:
                await self._wait(self._clock.sleep(delay_s))

    async def _next_report(
        self, session: SessionId, report: Report, journal: Journal
    ) -> tuple[Report | None, float]:
        """Send a report, run the order that comes back; return the next report and the pause before it."""
        try:
            wire = await self._wait(self._link.exchange(session, report, self._observer))
            self._move(AgentEvent.ORDER_RECEIVED)
            self._losses.succeeded()
            order = read_order(wire, extended=self._extended)
        except OrderError as error:
            if self._state is AgentState.SERVER_ORDERS:
                self._move(AgentEvent.ORDER_RECEIVED)
            return self._refuse("MALFORMED", None, str(error)), self._settings.idle_delay_s
        answer = await self._obey(order, journal)
        delay_s = self._delay_s(order)
        refused = answer is not None and answer.refused is not None
        return answer, max(delay_s, self._settings.idle_delay_s) if refused else delay_s

    async def _obey(self, order: Order, journal: Journal) -> Report | None:
        """Run one order (step 4) and word the report (step 5); no report after a stop command."""
        received = self._clock.monotonic()
        if order.acknowledged is not None:
            journal.acknowledge(order.acknowledged)
        if order.idle:
            return POLLING
        if order.element is not None and order.element.se_id != self._element.se_id:
            return self._refuse("OTHER_SE", order.sequence, "this session is for another card")
        if order.sequence is not None:
            return await self._once(order, order.sequence, journal, received)
        outcome = await self._run(order, received)
        return None if outcome.session_over else plain_report_of(outcome)

    async def _once(self, order: Order, sequence: int, journal: Journal, received: float) -> Report | None:
        """Run a numbered order at most once; answer a repetition from the journal."""
        recorded = journal.recorded(sequence)
        if recorded is not None:
            self._observer.order(sequence, repeated=True)
            return recorded
        if sequence <= journal.highest:
            text = f"order {sequence} is not newer than {journal.highest}"
            return self._refuse("NOT_NEWER", sequence, text)
        if journal.full:
            return self._refuse("JOURNAL_FULL", sequence, "too many reports are not acknowledged")
        await journal.begin(sequence)
        outcome = await self._run(order, received)
        report = report_of(outcome, sequence)
        await journal.finish(report)
        return None if outcome.session_over else report

    async def _run(self, order: Order, received: float) -> Outcome:
        self._observer.order(order.sequence, repeated=False)
        return await run_order(
            order, self._card, clock=self._clock, received=received, observer=self._observer
        )

    def _refuse(self, reason: RefusalReason, sequence: int | None, text: str) -> Report:
        self._observer.notice(f"order refused: {text}")
        status = AgentStatus("UNAVAILABLE_SE" if reason == "OTHER_SE" else "UNKNOWN_FAILURE", 0, text)
        return Report(status, refused=Refused(reason, sequence) if self._extended else None)

    def _delay_s(self, order: Order) -> float:
        if order.delay_ms is not None:
            return min(order.delay_ms / 1000, self._settings.longest_delay_s)
        if order.idle:
            return self._settings.idle_delay_s
        return 0.0 if self._extended else self._settings.plain_delay_s

    def _move(self, event: AgentEvent) -> None:
        try:
            self._state = TRANSITIONS[self._state, event]
        except KeyError:
            raise IllegalMoveError(f"{event.name} in {self._state.name}") from None

    async def _wait(self, work: Coroutine[object, object, _T]) -> _T:
        """Await something that `leave` may cut short; what came too late for it is dropped."""
        if self._leaving.is_set():
            work.close()
            raise _AskedToLeaveError
        task = asyncio.create_task(work)
        self._waiting = task
        try:
            result = await task
        except asyncio.CancelledError:
            if _cancelled_from_outside() or not self._leaving.is_set():
                raise
            raise _AskedToLeaveError from None
        finally:
            self._waiting = None
        if self._leaving.is_set():
            raise _AskedToLeaveError
        return result


def _cancelled_from_outside() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
