"""Sessions without a secure channel with the applications that keep the card's other registries. Pure.

The ARA-M tells its rules to everybody, the CRS is the user's side of the contactless registry. Their answers
are not authenticated: they say what need not be written again, and never what may be deleted.
"""

from typing import Final

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.errors import CardError
from opentsm.card.gp import access_rules as rules
from opentsm.card.gp import commands as gp
from opentsm.card.gp import contactless as cl
from opentsm.tsm.custody.sessions import read_answer, to_hex
from opentsm.tsm.domain.card_content import ACTIVATED, DEACTIVATED, NON_ACTIVATABLE, Access
from opentsm.tsm.domain.exchange import Command, Expected
from opentsm.tsm.engine import activation
from opentsm.tsm.engine import activation_steps as a
from opentsm.tsm.ports.peer import SegmentReport, StepReport

STEPS: Final = (a.ReadAccess, a.ReadContactless, a.SetContactless)
RegistryStep = a.ReadAccess | a.ReadContactless | a.SetContactless

_OK: Final = Expected(status_words=("9000",))
_ANY: Final = Expected()
_MORE: Final = 0x6310
_NOT_FOUND: Final = 0x6A88
# A list of the CRS goes on for so many answers: some 150 applications.
_PAGES: Final = 16
_STATES: Final = {
    int(cl.Activation.ACTIVATED): ACTIVATED,
    int(cl.Activation.DEACTIVATED): DEACTIVATED,
    int(cl.Activation.NON_ACTIVATABLE): NON_ACTIVATABLE,
}
# AID, life cycle and contactless state; the rest is for wallets
_WANTED: Final = bytes.fromhex("4F9F70")


def opening(step: RegistryStep) -> tuple[Command, ...]:
    """Return the commands that open the session: the selection, and of a reading its first part.

    A card without the application is one without rules, or without activated applications: a reading takes
    any answer to its selection.
    """
    if isinstance(step, a.SetContactless):
        return (_command(gp.select(cl.CRS_AID), _OK, f"select {cl.CRS_AID}"),)
    access = isinstance(step, a.ReadAccess)
    chosen = rules.ARA_M_AID if access else cl.CRS_AID
    first = rules.get_rules(rules.TAG_ALL) if access else cl.crs_status(tag_list=_WANTED)
    return _command(gp.select(chosen), _ANY, f"select {chosen}"), _command(first, _ANY, step.describe())


def commands(step: RegistryStep, opened: tuple[str, ...]) -> tuple[Command, ...]:
    """Return what follows the opening: the change, or the parts of a list that are still missing."""
    if isinstance(step, a.SetContactless):
        switch = cl.set_availability([step.application], activate=step.activate)
        return (_command(switch, _OK, step.describe(), barrier=True),)
    try:
        selected, first = (read_answer(answer) for answer in opened)
        if selected.sw != 0x9000:
            return ()
        count = _missing_parts(first) if isinstance(step, a.ReadAccess) else _PAGES * (first.sw == _MORE)
    except (CardError, ValueError):
        return ()
    following = (
        rules.get_rules(rules.TAG_NEXT)
        if isinstance(step, a.ReadAccess)
        else cl.crs_status(next=True, tag_list=_WANTED)
    )
    return (_command(following, _ANY, step.describe()),) * count


def _missing_parts(first: ResponseApdu) -> int:
    """Return how many answers are missing, with one to spare where they are shorter than the first."""
    missing = rules.missing_bytes(first.data) if first.sw == 0x9000 else 0
    return missing // len(first.data) + 2 if missing else 0


def _command(apdu: CommandApdu, expected: Expected, meaning: str, *, barrier: bool = False) -> Command:
    return Command(apdu=to_hex(apdu), expected=expected, meaning=meaning, barrier=barrier)


def report(step: RegistryStep, opened: tuple[str, ...], answers: tuple[str, ...]) -> SegmentReport:
    """Return what the answers say; an answer that cannot be read leaves everything open."""
    try:
        if isinstance(step, a.SetContactless):
            return _switched(step, answers)
        selected, *read = (read_answer(answer) for answer in (*opened, *answers))
        if selected.sw == 0x9000 and not read:
            return _open(step)
        if isinstance(step, a.ReadAccess):
            found = _rules(read) if selected.sw == 0x9000 else ()
            return SegmentReport(steps=(_done(step),), access=found)
        states = _contactless(read) if selected.sw == 0x9000 else {}
        return SegmentReport(steps=(_done(step),), contactless=states)
    except (CardError, ValueError):
        return _open(step)


def _switched(step: a.SetContactless, answers: tuple[str, ...]) -> SegmentReport:
    if not answers:
        return _open(step)
    word = read_answer(answers[0]).sw
    if word == 0x9000:
        return SegmentReport(steps=(_done(step),))
    refused = StepReport(done=False, status_word=f"{word:04X}", meaning=step.describe())
    return SegmentReport(steps=(refused,))


def _rules(read: list[ResponseApdu]) -> tuple[Access, ...]:
    if read[0].sw == _NOT_FOUND:
        return ()
    whole = b""
    for answer in read:
        if answer.sw != 0x9000:
            break
        whole += answer.data
        if not rules.missing_bytes(whole):
            return tuple(activation.access(rule) for rule in rules.parse_rules(whole))
    raise CardError("The access rules could not be read whole.")


def _contactless(read: list[ResponseApdu]) -> dict[str, str]:
    last = next((answer for answer in read if answer.sw != _MORE), None)
    if last is None or last.sw not in (0x9000, _NOT_FOUND):
        raise CardError("The contactless registry could not be read whole.")
    pages = read[: read.index(last) + 1]
    entries = cl.parse_crs_status(b"".join(page.data for page in pages))
    return {entry.aid.hex().upper(): _STATES.get(entry.activation, DEACTIVATED) for entry in entries}


def _done(step: RegistryStep) -> StepReport:
    return StepReport(done=True, meaning=step.describe())


def _open(step: RegistryStep) -> SegmentReport:
    return SegmentReport(steps=(StepReport(done=False, meaning=step.describe()),))
