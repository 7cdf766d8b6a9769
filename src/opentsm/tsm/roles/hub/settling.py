"""What a segment's report does to the card's picture, the instance and the operation. Pure."""

from collections.abc import Sequence

import msgspec

from opentsm.card.codec.aid import Aid
from opentsm.card.gp.lifecycle import SecurityDomainState
from opentsm.card.gp.status_words import look_up
from opentsm.tsm.domain.arrangement import Arrangement
from opentsm.tsm.domain.card_content import STALE, UNKNOWN, ObservedContent
from opentsm.tsm.domain.exchange import StopReason
from opentsm.tsm.domain.operation import Failure
from opentsm.tsm.domain.secure_element import SecureElement
from opentsm.tsm.engine import activation, readings
from opentsm.tsm.engine import content as c
from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.card_steps import ProbeTermination
from opentsm.tsm.engine.sessions import PlannedSession
from opentsm.tsm.ports.delegation import ReceiptAnswer
from opentsm.tsm.ports.peer import SegmentReport, StepReport

replace = msgspec.structs.replace

_SELECTABLE = 0x04
_NOT_KNOWN = ("6D00", "6E00")
_NO_PURSE_ADVICE = "Nothing was credited: this application knows no top-up. Name one that is a purse."
_VALUE_ADVICE = "Nothing was credited. Compare the amount with the purse's balance and limit."
_NOTHING_SENT_AFTER = frozenset({StopReason.MISMATCH, StopReason.CARD_LOST})


def settle(
    content: ObservedContent,
    session: PlannedSession,
    report: SegmentReport,
    *,
    stopped: StopReason | None,
    foreign_kvns: Sequence[int],
) -> ObservedContent:
    """Return the card's content after a session's answers were checked.

    Args:
        content: what was known before.
        session: what was to be done.
        report: what the answers proved.
        stopped: why the device stopped early, if it did.
        foreign_kvns: key versions of ancestors, which a domain without own keys shows as if they were its.
    """
    first_open = True
    for step, outcome in zip(session.steps, report.steps, strict=True):
        if outcome.done:
            content = c.confirm(content, step, through=session.selected)
            continue
        if first_open or stopped not in _NOTHING_SENT_AFTER:
            content = c.doubt(content, step)
        first_open = False
    content = _probed(content, session, report, foreign_kvns)
    content = activation.read(content, report.access, report.contactless)
    registry = report.registry
    if registry is None:
        return content
    whole = _reading_done(session, report)
    return readings.read(
        content,
        registry.objects,
        through=registry.seen_through,
        complete=registry.complete and whole,
        card_state=registry.card_state,
        free_memory=registry.free_memory,
        more=whole and not registry.complete,
    )


def with_managers_keys(
    se: SecureElement, arrangement: Arrangement | None, session: PlannedSession, report: SegmentReport
) -> SecureElement:
    """Return the secure element with the key versions that the domains of those who manage it have by now.

    Args:
        se: the secure element.
        arrangement: who holds its domains, with the versions that it has or is to have.
        session: what was to be done.
        report: what the answers proved.
    """
    arranged = {} if arrangement is None else {one.aid: one.kvn for one in arrangement.domains}
    for step, outcome in zip(session.steps, report.steps, strict=True):
        if not outcome.done or not isinstance(step, s.ReplaceKeys | s.ProveKeys):
            continue
        kvn = step.new_kvn if isinstance(step, s.ReplaceKeys) else step.kvn
        if step.domain == se.isd_aid:
            se = replace(se, isd_kvn=kvn)
        if arranged.get(step.domain, kvn) != kvn:
            se = replace(se, key_versions={**se.key_versions, str(step.domain): kvn})
    return se


def _reading_done(session: PlannedSession, report: SegmentReport) -> bool:
    return all(
        outcome.done
        for step, outcome in zip(session.steps, report.steps, strict=True)
        if isinstance(step, s.ReadRegistry)
    )


def _probed(
    content: ObservedContent, session: PlannedSession, report: SegmentReport, foreign_kvns: Sequence[int]
) -> ObservedContent:
    for step in session.steps:
        if isinstance(step, s.ProbeKeys) and report.keys is not None:
            own = report.keys if _has_own_keys(content, step.domain) else _but(report.keys, foreign_kvns)
            unproven = (*content.unproven, _hex(step.domain)) if own else content.unproven
            content = replace(
                content, keys={**content.keys, _hex(step.domain): own}, unproven=tuple(set(unproven))
            )
        if isinstance(step, s.ReadCardCertificate) and report.certificate is not None:
            content = replace(content, certificate=report.certificate)
        if isinstance(step, ProbeTermination) and report.steps[0].done:
            content = replace(content, card_state=report.card_state)
        if isinstance(step, s.ProbePersonalization) and report.personalization is not None:
            # asked only when a run is in doubt: no version means that it was begun and did not end
            found = {_hex(step.application): report.personalization or STALE}
            content = replace(content, personalization={**content.personalization, **found})
        if isinstance(step, s.ProbeTransaction) and report.transaction is not None:
            content = replace(
                content, transactions={**content.transactions, step.transaction: report.transaction}
            )
    return content


def _has_own_keys(content: ObservedContent, domain: Aid) -> bool:
    """A domain that is PERSONALIZED does not answer with keys of one above it (GPCS 2.3.1 §5.3.2.3)."""
    entry = content.find(domain)
    return entry is not None and entry.state & 0x0F == SecurityDomainState.PERSONALIZED


def _but(kvns: Sequence[int], foreign: Sequence[int]) -> tuple[int, ...]:
    return tuple(kvn for kvn in kvns if kvn not in foreign)


def _hex(aid: bytes) -> str:
    return aid.hex().upper()


def refusal(steps: Sequence[s.Step], reports: Sequence[StepReport]) -> Failure | None:
    """Return why the card refused, or None when it did not say."""
    for step, outcome in zip(steps, reports, strict=True):
        if outcome.done or outcome.status_word is None:
            continue
        return card_failure(outcome.status_word, step.describe(), value=isinstance(step, s.TopUp))
    return None


def card_failure(status_word: str, step: str, *, value: bool = False) -> Failure:
    """Return a failure that tells the card's own words; `value`: it is a purse that spoke."""
    words, advice = _words(status_word)
    if value:
        # an application's status words are its own: what they mean for card content does not apply
        advice = _NO_PURSE_ADVICE if status_word in _NOT_KNOWN else _VALUE_ADVICE
    return Failure(
        code="card_refused",
        detail=f"The secure element refused to {step}: {status_word} ({words}).",
        advice=advice or "Read the card's content and free memory; correct the request; try again.",
        status_word=status_word,
        step=step,
    )


def disputed_receipts(receipts: ReceiptAnswer) -> Failure:
    """Return a failure that names the commands whose receipts are missing or wrong."""
    return Failure(
        code="receipt_disputed",
        detail=f"The secure element's receipt does not count: {'; '.join(receipts.disputed)}.",
        advice="The content was changed, and nothing proves it. Compare the card's receipt key with the one"
        " on record, read the card, then deploy or terminate again.",
    )


def _words(status_word: str) -> tuple[str, str]:
    """Return name and advice."""
    if status_word == "KCV":
        return "the key check values differ", ""
    word = look_up(int(status_word, 16))
    return word.name, word.advice


def changed(session: PlannedSession, report: SegmentReport, stopped: StopReason | None) -> bool:
    """Say whether a session changed the card, or may have changed it.

    A step that the card refused changed nothing, unless it has more than one command that changes.
    """
    first_open = True
    for step, outcome in zip(session.steps, report.steps, strict=True):
        if outcome.done and step.changes:
            return True
        sent = first_open or stopped not in _NOTHING_SENT_AFTER
        whole = outcome.status_word is not None and not isinstance(step, s.Personalize | s.PutFirstKeys)
        if not outcome.done and step.changes and sent and not whole:
            return True
        first_open = first_open and outcome.done
    return False


def unknown_transactions(content: ObservedContent) -> bool:
    """Say whether a value transaction is still in doubt."""
    return UNKNOWN in content.transactions.values()
