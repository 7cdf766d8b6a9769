"""How one party's session carries another's: keys that a domain's owner agrees on with the card.

The owner's custodian makes the commands and reads the answers, the creator of the domain protects them in its
own session; the hub brings the one to the other, and learns no key from what it sees.
"""

from uuid import NAMESPACE_OID, uuid5

import msgspec

from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.hand_over import agreement_after, carried
from opentsm.tsm.engine.sessions import Plan
from opentsm.tsm.kernel.errors import InvariantError
from opentsm.tsm.kernel.ids import SegmentId
from opentsm.tsm.ports.peer import Peers, SegmentReport, SegmentRequest
from opentsm.tsm.roles.hub.case import Case

replace = msgspec.structs.replace


class Carrying:
    """Brings the commands of a domain's owner into its creator's sessions, and the answers back."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    async def opened(self, case: Case, planned: Plan, index: int, request: SegmentRequest) -> SegmentRequest:
        """Return a segment's request with what the owner wants the card to see first, where one does."""
        step = agreement_after(planned.sessions, index)
        if step is None:
            return request
        inner = replace(
            request,
            segment_id=_segment_id(case, index),
            session=carried(step),
            identifiers=case.se.identifiers,
            service=None,
            handover=b"",
        )
        commands = await self._peers.segment_owner(step.owner_id).prepare_segment(inner)
        return replace(request, carried=tuple(command.apdu for command in commands))

    async def continued(
        self, case: Case, planned: Plan, index: int, request: SegmentRequest, before: SegmentId
    ) -> SegmentRequest:
        """Return the request of a session that goes on, with what the owner answers to the card."""
        step, session = _agreement(planned, index), planned.sessions[index]
        report = await self._peers.segment_owner(session.owner_id).check_segment(before, ())
        owner = self._peers.segment_owner(step.owner_id)
        commands = await owner.wrap_segment(_segment_id(case, index - 1), report.carried)
        return replace(request, continues=before, carried=tuple(command.apdu for command in commands))

    async def concluded(self, case: Case, planned: Plan, report: SegmentReport) -> SegmentReport:
        """Return what the session in work proved, with the owner's word on its keys, not the carrier's.

        Raises:
            WrongCardError: to the owner the receipt proves that somebody answered for the card.
        """
        index = case.operation.session
        step, steps = _agreement(planned, index), planned.sessions[index].steps
        owner = self._peers.segment_owner(step.owner_id)
        found = await owner.check_segment(_segment_id(case, index - 1), report.carried)
        outcomes = tuple(
            found.steps[0] if one is step and outcome.done else outcome
            for one, outcome in zip(steps, report.steps, strict=True)
        )
        return replace(report, steps=outcomes)


def _agreement(planned: Plan, index: int) -> s.AgreeKeys:
    step = agreement_after(planned.sessions, index - 1)
    if step is None:
        raise InvariantError("A session goes on with nothing.")
    return step


def _segment_id(case: Case, index: int) -> SegmentId:
    """Return the id of the owner's segment, which begins in the session of this number."""
    name = f"{case.operation.id}/{case.operation.plan_number}/{index}/carried"
    return SegmentId(str(uuid5(NAMESPACE_OID, name)))
