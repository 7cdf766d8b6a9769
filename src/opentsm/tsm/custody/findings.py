"""What checked answers prove, step by step. Pure."""

from collections.abc import Sequence

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.tlv import find, parse_tlvs
from opentsm.card.errors import CardError
from opentsm.card.gp import responses
from opentsm.card.gp.registry import RegistryEntry, RegistryKind
from opentsm.tsm.custody.sessions import CheckedAnswer
from opentsm.tsm.custody.work import SentCommand
from opentsm.tsm.domain.card_content import CardObject, ObjectKind
from opentsm.tsm.domain.service import KeptAnswer
from opentsm.tsm.engine import steps as s
from opentsm.tsm.ports.peer import RegistryReport, StepReport

_FREE_MEMORY = 0xFF21
MORE = 0x6310
CHECK_VALUE_DIFFERS = "KCV"


def step_reports(
    steps: Sequence[s.Step],
    sent: Sequence[SentCommand],
    checked: Sequence[CheckedAnswer],
    new_kcvs: Sequence[bytes],
) -> tuple[StepReport, ...]:
    """Say for every step whether it is done, refused, or not known."""
    return tuple(_step_report(n, step, sent, checked, new_kcvs) for n, step in enumerate(steps))


def _step_report(
    number: int,
    step: s.Step,
    sent: Sequence[SentCommand],
    checked: Sequence[CheckedAnswer],
    new_kcvs: Sequence[bytes],
) -> StepReport:
    needed = sum(1 for command in sent if command.step == number)
    answers = [answer for answer in checked if answer.sent.step == number]
    refused = next((a for a in answers if not a.accepted), None)
    if refused is not None:
        return StepReport(done=False, status_word=f"{refused.sw:04X}", meaning=refused.sent.meaning)
    if len(answers) < needed:
        return StepReport(done=False, meaning=step.describe())
    if _puts_keys(step) and not _check_values_match(step, answers[-1].data, new_kcvs):
        return StepReport(done=False, status_word=CHECK_VALUE_DIFFERS, meaning=step.describe())
    return StepReport(done=True, meaning=step.describe())


def kept_answers(steps: Sequence[s.Step], checked: Sequence[CheckedAnswer]) -> tuple[KeptAnswer, ...]:
    """Return the answers that a recipe wants to be kept."""
    found: list[KeptAnswer] = []
    for answer in checked:
        step = steps[answer.sent.step] if answer.sent.tag and answer.accepted else None
        if isinstance(step, s.Personalize | s.RunCommands):
            response = (answer.data + answer.sw.to_bytes(2, "big")).hex().upper()
            kept = {"tag": answer.sent.tag, "command": answer.sent.command, "response": response}
            found.append(KeptAnswer(application=step.application, **kept))
    return tuple(found)


def carried_answers(checked: Sequence[CheckedAnswer]) -> tuple[str, ...]:
    """Return the answers to another party's commands, as the card gave them before protection."""
    carried = [answer for answer in checked if answer.sent.carried]
    return tuple((one.data + one.sw.to_bytes(2, "big")).hex().upper() for one in carried)


def _puts_keys(step: s.Step) -> bool:
    return isinstance(step, s.ReplaceKeys) or (isinstance(step, s.PutFirstKeys) and not step.forwarded)


def _check_values_match(step: s.Step, data: bytes, new_kcvs: Sequence[bytes]) -> bool:
    """Compare PUT KEY's answer, KVN ‖ check values, with what was sent (§11.8.3.1)."""
    kvn = (
        step.new_kvn
        if isinstance(step, s.ReplaceKeys)
        else step.kvn
        if isinstance(step, s.PutFirstKeys)
        else 0
    )
    return data == bytes((kvn,)) + b"".join(new_kcvs)


def registry_report(checked: Sequence[CheckedAnswer], through: Aid) -> RegistryReport | None:
    """Put the registry together from the answers of a reading; None when there was no reading."""
    entries: list[RegistryEntry] = []
    last_sw: dict[int, int] = {}
    free: int | None = None
    for answer in checked:
        if answer.sent.scope:
            if answer.sw in (0x9000, MORE):
                entries += responses.parse_status(answer.data, answer.sent.scope)
                last_sw[answer.sent.scope] = answer.sw
            else:
                last_sw.setdefault(answer.sent.scope, answer.sw)
        elif answer.sent.meaning == "read the free memory" and answer.sw == 0x9000:
            free = responses.parse_extended_resources(answer.data).free_nonvolatile
    if not last_sw:
        return None
    card = next((entry for entry in entries if entry.kind is RegistryKind.ISD), None)
    return RegistryReport(
        objects=tuple(_object(entry, through) for entry in entries),
        complete=MORE not in last_sw.values(),
        seen_through=through,
        card_state=card.state if card else None,
        free_memory=free,
    )


def _object(entry: RegistryEntry, through: Aid) -> CardObject:
    return CardObject(
        aid=entry.aid,
        kind=ObjectKind(entry.kind.value),
        state=entry.state,
        privileges=int(entry.privileges),
        load_file=entry.load_file,
        security_domain=entry.associated_sd,
        modules=entry.modules,
        seen_through=through,
    )


def key_versions(data: bytes) -> tuple[int, ...]:
    """Return the key versions that GET DATA E0 shows, in order.

    Raises:
        CardError: the data is not a key information template.
    """
    return tuple(sorted({key.kvn for key in responses.parse_key_information(data)}))


def data_object(data: bytes, tag: int) -> bytes:
    """Return the value of a data object that may or may not come with its tag."""
    try:
        value = find(parse_tlvs(data), tag)
    except CardError:
        return data
    return data if value is None else value
