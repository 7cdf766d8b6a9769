"""Tokens for a provider's own session: asked of the party that holds their key, filled into the script.

The script comes with named holes: every content command of a delegated session is one. What comes back must
be the same command with a reference and a token, or nothing is sent. GPCS 2.3.1 §9.2.3, §C.4, §11.1.6.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.errors import CardError
from opentsm.card.gp.content_commands import takes_token, without_reference
from opentsm.card.gp.instructions import Ins
from opentsm.card.gp.tokens import split_token
from opentsm.card.profiles import SeProfile
from opentsm.tsm.custody.sessions import CheckedAnswer, to_hex
from opentsm.tsm.custody.work import SegmentWork
from opentsm.tsm.engine.compile import PlainCommand
from opentsm.tsm.kernel.errors import InvariantError, PeerFaultError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.delegation import ReceiptAnswer, ReceiptRequest, TokenIssuer, TokenRequest
from opentsm.tsm.ports.peer import SegmentRequest

Script = Sequence[tuple[PlainCommand, ...]]


def with_holes(script: Script) -> list[tuple[PlainCommand, ...]]:
    """Number the commands that need a token, and the answers that carry their receipts.

    The receipt of a load comes with the answer to its last LOAD (§11.6.3.1), every other one with the answer
    to the command itself.
    """
    made: list[tuple[PlainCommand, ...]] = []
    hole = 0
    for commands in script:
        step: list[PlainCommand] = []
        for command in commands:
            if not takes_token(command.apdu):
                step.append(command)
                continue
            step.append(replace(command, hole=hole, receipt=hole))
            hole += 1
        made.append(_receipt_of_load(step))
    return made


def _receipt_of_load(step: list[PlainCommand]) -> tuple[PlainCommand, ...]:
    if len(step) < 2 or step[0].hole is None or step[-1].apdu.ins != Ins.LOAD:
        return tuple(step)
    head, last = replace(step[0], receipt=None), replace(step[-1], receipt=step[0].hole)
    return (head, *step[1:-1], last)


class TokenCustody:
    """Gets tokens for one provider, and hands in the receipts."""

    def __init__(
        self, tenant_id: TenantId, issuer_of: Callable[[TenantId], TokenIssuer] | None = None
    ) -> None:
        self._tenant_id = tenant_id
        self._issuer_of = issuer_of

    async def filled(
        self, request: SegmentRequest, script: Script, profile: SeProfile
    ) -> list[tuple[PlainCommand, ...]]:
        """Return a session's script with tokens in its holes; as it is when the session needs none.

        Raises:
            TokenRefusedError: the party that was asked refuses.
            PeerFaultError: it returned other commands than it was asked for.
        """
        owner = request.session.tokens_by
        if owner is None:
            return list(script)
        holed = with_holes(script)
        asked = [command for step in holed for command in step if command.hole is not None]
        if not asked:
            return list(script)
        answer = await self._issuer(owner).issue_tokens(
            TokenRequest(
                request_id=str(request.segment_id),
                provider_id=self._tenant_id,
                operation_id=request.operation_id,
                se_id=request.se_id,
                security_domain=request.session.selected,
                commands=tuple(to_hex(command.apdu) for command in asked),
            )
        )
        tokens = _checked([command.apdu for command in asked], answer.commands, profile)
        return [
            tuple(
                command if command.hole is None else replace(command, apdu=tokens[command.hole])
                for command in step
            )
            for step in holed
        ]

    async def handed_in(self, work: SegmentWork, checked: Sequence[CheckedAnswer]) -> ReceiptAnswer:
        """Hand in the answers to commands with tokens, and return what their receipts proved."""
        owner = work.request.session.tokens_by
        wanted = [sent.receipt for sent in work.sent if sent.receipt is not None]
        if owner is None or not wanted:
            return ReceiptAnswer()
        answers = [""] * len(wanted)
        for answer in checked:
            if answer.sent.receipt is not None:
                answers[answer.sent.receipt] = (answer.data + answer.sw.to_bytes(2, "big")).hex().upper()
        return await self._issuer(owner).verify_receipts(
            ReceiptRequest(
                request_id=str(work.request.segment_id),
                provider_id=self._tenant_id,
                answers=_refused(work, checked, answers),
            )
        )

    def _issuer(self, owner: TenantId) -> TokenIssuer:
        if self._issuer_of is None:
            raise InvariantError("This party reaches nobody who issues tokens.")
        return self._issuer_of(owner)


def _refused(work: SegmentWork, checked: Sequence[CheckedAnswer], answers: list[str]) -> tuple[str, ...]:
    """A load that the card refused on the way has its answer there, not at its last LOAD."""
    last = checked[-1] if checked else None
    if last is None or last.accepted or last.sent.receipt is not None:
        return tuple(answers)
    for sent in work.sent:
        if sent.step == last.sent.step and sent.receipt is not None:
            answers[sent.receipt] = f"{last.sw:04X}"
            break
    return tuple(answers)


def _checked(asked: Sequence[CommandApdu], returned: Sequence[str], profile: SeProfile) -> list[CommandApdu]:
    """Return the commands that came back, after all that was added to them is known to be a token."""
    if len(asked) != len(returned):
        raise PeerFaultError("The party that issues tokens returned more or fewer commands.")
    found = []
    for command, text in zip(asked, returned, strict=True):
        try:
            answered = CommandApdu.parse(bytes.fromhex(text))
            same = _plain(answered) == _plain(command) and bool(split_token(answered)[1])
        except (CardError, ValueError):
            same = False
        if not same:
            raise PeerFaultError("The party that issues tokens returned another command.")
        if len(answered.data) > profile.max_plain_data:
            raise PeerFaultError("A command with its token is longer than this card takes.")
        found.append(answered)
    return found


def _plain(command: CommandApdu) -> bytes:
    return without_reference(command).to_bytes()
