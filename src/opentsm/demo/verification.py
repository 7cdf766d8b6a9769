"""Does the card hold what it should? The card's own memory is asked, and the server's picture must agree.

Two independent looks. During the story the demo looks into the virtual card's non-volatile memory, because
that costs no session: a session of the issuer would use up counters that the TSM reckons with. The TSM's
picture comes from GET content after a fresh audit, that is, from GET STATUS through agent and secure channel.
Before the first and after the last operation the demo opens an issuer session of its own with `opentsm.card`
and reads the registry past the TSM (`issuer_session`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from opentsm.demo.cards import DemoCard
from opentsm.demo.errors import VerificationError
from opentsm.demo.http_api import Caller, Json
from opentsm.vse import memory

LOCKED = 0x80
SELECTABLE = 0x07


@dataclass(frozen=True, slots=True)
class Content:
    """What is on a card: state by AID, and the free memory in bytes."""

    states: dict[str, int]
    free_memory: int


def content_of(card: DemoCard) -> Content:
    """Look into the card's memory."""
    image = card.card.image()
    states = {one.aid.hex().upper(): one.state for one in image.instances}
    states |= {one.aid.hex().upper(): 0x01 for one in image.load_files}
    return Content(states, card.card.profile.memory - memory.used(image))


def require_present(card: DemoCard, aids: Iterable[str]) -> None:
    """Require objects that are not locked.

    Raises:
        VerificationError: one is missing or locked.
    """
    states = content_of(card).states
    for aid in aids:
        if aid not in states:
            raise VerificationError(f"card {card.name} does not hold {aid}")
        if states[aid] & LOCKED:
            raise VerificationError(f"{aid} on card {card.name} is locked: state {states[aid]:02X}")


def require_locked(card: DemoCard, aid: str) -> None:
    """Require an application that is there and locked."""
    state = content_of(card).states.get(aid, 0)
    if not state & LOCKED:
        raise VerificationError(f"{aid} on card {card.name} should be locked; its state is {state:02X}")


def require_absent(card: DemoCard, aids: Iterable[str]) -> None:
    """Require that objects are gone."""
    left = [aid for aid in aids if aid in content_of(card).states]
    if left:
        raise VerificationError(f"card {card.name} still holds {', '.join(left)}")


async def require_agreement(issuer: Caller, card: DemoCard) -> Json:
    """Compare the card's memory with the server's picture of it, after an audit.

    Returns:
        The server's picture.

    Raises:
        VerificationError: with the differences.
    """
    shown: Json = await issuer.get(f"/v1/secure-elements/{card.id}/content")
    there = content_of(card)
    known = {str(one["aid"]): int(one["state"]) for one in shown["objects"]}
    differences = [
        f"{aid}: card {_state(there.states.get(aid))}, server {_state(known.get(aid))}"
        for aid in sorted(there.states.keys() | known.keys())
        if there.states.get(aid) != known.get(aid)
    ]
    if not shown["fresh"]:
        differences.append("the server's picture is not fresh")
    if shown["free_memory"] != there.free_memory:
        differences.append(f"free memory: card {there.free_memory}, server {shown['free_memory']}")
    if differences:
        raise VerificationError(
            f"card {card.name} and the server's picture of it differ: {'; '.join(differences)}"
        )
    return shown


def _state(state: int | None) -> str:
    return "nothing" if state is None else f"state {state:02X}"
