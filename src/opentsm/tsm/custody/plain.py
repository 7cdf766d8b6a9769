"""Sessions without a secure channel: probes that anybody may make, value transactions with their own MACs.

Nothing here trusts an unprotected answer with value: a credit counts when the purse's TAC or log MAC
verifies, and a purse refuses a transaction id that it holds already.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import msgspec

from opentsm.card import purse
from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import CardError
from opentsm.card.gp import commands as gp
from opentsm.card.gp.certificates import CERTIFICATE
from opentsm.card.gp.lifecycle import CardState
from opentsm.tsm.custody import findings, registries
from opentsm.tsm.custody.sessions import CheckedAnswer, read_answer, to_hex
from opentsm.tsm.custody.work import SegmentWork, SentCommand
from opentsm.tsm.domain.card_content import UNKNOWN
from opentsm.tsm.domain.exchange import Command, Expected
from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.card_steps import ProbeTermination
from opentsm.tsm.engine.compile import PersonalizationCommand
from opentsm.tsm.kernel.errors import ApplicationFaultError, InvariantError
from opentsm.tsm.kernel.ids import KeyHandle, TenantId
from opentsm.tsm.ports.keystore import Keystore
from opentsm.tsm.ports.peer import SegmentReport, SegmentRequest, StepReport
from opentsm.tsm.ports.world import World

replace = msgspec.structs.replace
T = TypeVar("T")

TERMINAL = bytes.fromhex("4F54534D0001")
LOAD_KEY, TAC_KEY = "purse-load", "purse-tac"
# The purse, or whatever is selected instead of it, knows of no INITIALIZE: the card lost its power since.
_OFFER_LOST = frozenset({0x6985, 0x6D00, 0x6E00})
_OK = Expected(status_words=("9000",))
_ANY = Expected()
_CARD_DATA = 0x66
_SELECTED, _SUCCESS, _PROBED = (0x90, 0x62, 0x63), 0x9000, 2


def application_key_handle(provider_id: TenantId, name: str) -> KeyHandle:
    """Return the handle of a provider's master key for an application key."""
    return KeyHandle(f"application/{provider_id}/{name}")


@dataclass(frozen=True, slots=True)
class PlainSessions:
    """Runs plain sessions for one provider."""

    provider_id: TenantId

    async def begin(self, request: SegmentRequest, world: World) -> SegmentWork:
        """Return the work with the commands that open the session."""
        step = _only_step(request)
        if isinstance(step, registries.STEPS):
            return SegmentWork(request=request, opening=registries.opening(step))
        match step:
            case s.ProbeKeys():
                ask = gp.get_data(0xE0)
                opening = _opening(request, ask, Expected(status_words=("9000", "6A88")), step)
            case s.ReadCardCertificate():
                opening = _opening(request, gp.get_data(CERTIFICATE), _OK, step)
            case s.ProbePersonalization():
                ask = gp.get_data(step.data_object)
                opening = _opening(request, ask, Expected(status_words=("9000", "6A88", "6985")), step)
            case s.ProbeTransaction():
                ask = purse.prove_load(bytes.fromhex(step.transaction))
                opening = _opening(request, ask, Expected(status_words=("9000", "9406")), step)
            case s.TopUp():
                moment = bcd_moment(world.now())
                ask = purse.initialize_for_load(purse.PurseForm.AES, _load_request(step))
                opening = _opening(request, ask, _OK, step)
                return SegmentWork(request=request, opening=opening, notes={"moment": moment.hex()})
            case s.RunCommands():
                opening = (_selection(request.session.selected),)
            case ProbeTermination():
                chosen, question = _opening(request, gp.get_data(_CARD_DATA), _ANY, step)
                opening = (replace(chosen, expected=_ANY), question)
            case _:
                raise InvariantError(f"{type(step).__name__} needs a secure channel.")
        return SegmentWork(request=request, opening=opening)

    async def go_on(
        self,
        work: SegmentWork,
        opening: tuple[str, ...],
        keystore: Keystore,
        commands: tuple[PersonalizationCommand, ...] = (),
    ) -> SegmentWork:
        """Return the work with the commands that follow the opening, if any do; `commands` of a recipe."""
        notes = {**work.notes, "opening": ",".join(opening)}
        step = _only_step(work.request)
        if isinstance(step, s.RunCommands):
            return _with_commands(work, commands, step)
        if isinstance(step, registries.STEPS):
            return replace(work, notes=notes, commands=registries.commands(step, opening))
        if not isinstance(step, s.TopUp):
            return replace(work, notes=notes)
        identity, offer = _read_offer(opening)
        key = await self._key(keystore, LOAD_KEY, identity.purse_id)
        moment = bytes.fromhex(work.notes["moment"])
        try:
            mac2 = purse.authorize_load(purse.PurseForm.AES, key, _load_request(step), offer, moment)
        except purse.PurseMacError as error:
            raise ApplicationFaultError(
                "The purse's MAC does not verify: it does not hold the provider's load key.",
                advice="Nothing was credited. Check the application keys of this service.",
            ) from error
        credit = Command(
            apdu=to_hex(purse.credit_for_load(moment, mac2)), expected=_OK, meaning=step.describe()
        )
        return replace(work, notes=notes, commands=(credit,))

    async def check(self, work: SegmentWork, answers: tuple[str, ...], keystore: Keystore) -> SegmentReport:
        """Return what the answers prove; for probes the opening's answers are what counts."""
        step = _only_step(work.request)
        if isinstance(step, s.TopUp):
            return await self._check_credit(work, step, answers, keystore)
        if isinstance(step, s.RunCommands):
            return _check_commands(work, step, answers)
        if isinstance(step, registries.STEPS):
            opened = tuple(filter(None, work.notes.get("opening", "").split(",")))
            return registries.report(step, opened, answers if work.commands else ())
        found = tuple(work.notes.get("opening", "").split(",")) if work.notes.get("opening") else answers
        match step:
            case s.ProbeKeys():
                return _report(step, keys=_read(found, _key_versions))
            case s.ReadCardCertificate():
                certificate = _read(found, lambda answer: answer.data) or None
                done = StepReport(done=certificate is not None, meaning=step.describe())
                return SegmentReport(steps=(done,), certificate=certificate)
            case s.ProbePersonalization():
                version = _read(found, lambda answer: _personalization(step, answer))
                return _report(step, personalization=version)
            case s.ProbeTransaction():
                return _report(step, transaction=await self._find_transaction(step, found, keystore))
            case ProbeTermination():
                return _termination(step, found)
            case _:
                raise InvariantError(f"{type(step).__name__} needs a secure channel.")

    async def _check_credit(
        self, work: SegmentWork, step: s.TopUp, answers: tuple[str, ...], keystore: Keystore
    ) -> SegmentReport:
        not_known = SegmentReport(steps=(StepReport(done=False, meaning=step.describe()),))
        if not answers or not work.commands:
            return not_known
        try:
            answer = read_answer(answers[0])
        except CardError:
            return not_known
        if answer.sw in _OFFER_LOST:
            return not_known
        if answer.sw != 0x9000:
            refused = StepReport(done=False, status_word=f"{answer.sw:04X}", meaning=step.describe())
            return SegmentReport(steps=(refused,))
        identity, offer = _read_offer(tuple(work.notes["opening"].split(",")))
        key = await self._key(keystore, TAC_KEY, identity.purse_id)
        moment = bytes.fromhex(work.notes["moment"])
        try:
            purse.verify_load_tac(
                answer.data,
                form=purse.PurseForm.AES,
                key=key,
                request=_load_request(step),
                offer=offer,
                moment=moment,
            )
        except purse.PurseMacError:
            return not_known
        done = StepReport(done=True, meaning=step.describe())
        return SegmentReport(steps=(done,), values={"balance": offer.balance + step.amount})

    async def _find_transaction(
        self, step: s.ProbeTransaction, answers: tuple[str, ...], keystore: Keystore
    ) -> str | None:
        """Return "applied", "absent", or None when the answer cannot be believed."""
        if len(answers) < 2:
            return None
        try:
            selected, proof = read_answer(answers[0]), read_answer(answers[1])
            if proof.sw == purse.SW_NO_PROOF:
                return "absent"
            if proof.sw != 0x9000:
                return None
            identity = purse.parse_fci(selected.data)
            record = purse.parse_log_record(purse.PurseForm.AES, proof.data)
            purse.verify_record(await self._key(keystore, TAC_KEY, identity.purse_id), record)
        except (CardError, purse.PurseMacError):
            return None
        return "applied" if record.reference == bytes.fromhex(step.transaction) else None

    async def _key(self, keystore: Keystore, name: str, purse_id: bytes) -> Secret:
        handle = application_key_handle(self.provider_id, name)
        return await keystore.derive_application_key(handle, purse_id)


def bcd_moment(moment: datetime) -> bytes:
    """Return date and time as 7 bytes BCD: YYYYMMDDhhmmss."""
    return bytes.fromhex(moment.strftime("%Y%m%d%H%M%S"))


def _only_step(request: SegmentRequest) -> s.Step:
    if len(request.session.steps) != 1:
        raise InvariantError("A plain session has exactly one step.")
    return request.session.steps[0]


def _opening(
    request: SegmentRequest, ask: CommandApdu, expected: Expected, step: s.Step
) -> tuple[Command, ...]:
    select = _selection(request.session.selected)
    return select, Command(apdu=to_hex(ask), expected=expected, meaning=step.describe(), barrier=False)


def _selection(chosen: Aid) -> Command:
    return Command(apdu=to_hex(gp.select(chosen)), expected=_OK, meaning=f"select {chosen}", barrier=False)


def _with_commands(
    work: SegmentWork, commands: tuple[PersonalizationCommand, ...], step: s.RunCommands
) -> SegmentWork:
    out = tuple(
        Command(apdu=to_hex(one.apdu), expected=one.expected, meaning=step.describe()) for one in commands
    )
    sent = tuple(
        SentCommand(
            step=0,
            link="",
            expected=one.expected,
            meaning=step.describe(),
            tag=one.tag,
            command=to_hex(one.apdu),
        )
        for one in commands
    )
    return replace(work, commands=out, sent=sent)


def _check_commands(work: SegmentWork, step: s.RunCommands, answers: tuple[str, ...]) -> SegmentReport:
    """Nothing protects these answers: that the commands were sent and answered well is all that they say."""
    checked: list[CheckedAnswer] = []
    for sent, answer in zip(work.sent, answers, strict=False):
        try:
            response = read_answer(answer)
        except CardError:
            break
        checked.append(CheckedAnswer(sent, response.data, response.sw))
        if not checked[-1].accepted:
            break
    return SegmentReport(
        steps=findings.step_reports((step,), work.sent, checked, ()),
        kept=findings.kept_answers((step,), checked),
    )


def _load_request(step: s.TopUp) -> purse.LoadRequest:
    return purse.LoadRequest(
        amount=step.amount, terminal=TERMINAL, transaction_id=bytes.fromhex(step.transaction)
    )


def _read_offer(opening: tuple[str, ...]) -> tuple[purse.PurseIdentity, purse.LoadOffer]:
    try:
        selected, offered = (read_answer(answer) for answer in opening)
        return purse.parse_fci(selected.data), purse.parse_load_offer(purse.PurseForm.AES, offered.data)
    except (CardError, ValueError) as error:
        raise ApplicationFaultError("The purse's answers cannot be read; nothing was credited.") from error


def _read(answers: tuple[str, ...], read: Callable[[ResponseApdu], T]) -> T | None:
    if len(answers) < 2:
        return None
    try:
        return read(read_answer(answers[1]))
    except CardError:
        return None


def _key_versions(answer: ResponseApdu) -> tuple[int, ...]:
    return findings.key_versions(answer.data) if answer.sw == 0x9000 else ()


def _termination(step: ProbeTermination, answers: tuple[str, ...]) -> SegmentReport:
    """A TERMINATED card selects nothing (§6.4.3.1.2) and still answers GET DATA (§5.1.1.5)."""
    try:
        words = [read_answer(answer).sw for answer in answers]
    except CardError:
        words = []
    selected = bool(words) and words[0] >> 8 in _SELECTED
    terminated = len(words) == _PROBED and not selected and words[1] == _SUCCESS
    done = StepReport(done=selected or terminated, meaning=step.describe())
    return SegmentReport(steps=(done,), card_state=CardState.TERMINATED if terminated else None)


def _personalization(step: s.ProbePersonalization, answer: ResponseApdu) -> str:
    if answer.sw != 0x9000:
        return ""
    return findings.data_object(answer.data, step.data_object).decode("ascii", "replace") or UNKNOWN


def _report(
    step: s.Step,
    *,
    keys: tuple[int, ...] | None = None,
    personalization: str | None = None,
    transaction: str | None = None,
) -> SegmentReport:
    known = keys is not None or personalization is not None or transaction is not None
    return SegmentReport(
        steps=(StepReport(done=known, meaning=step.describe()),),
        keys=keys,
        personalization=personalization,
        transaction=transaction,
    )
