"""The steps that concern a card as a whole: its life cycle (GPCS 2.3.1 §5.1, §11.10)."""

from typing import ClassVar

from opentsm.card.gp.lifecycle import CardState
from opentsm.tsm.kernel.documents import Record

_WORDS = {
    CardState.SECURED: "unlock the card",
    CardState.CARD_LOCKED: "lock the card",
    CardState.TERMINATED: "terminate the card for good",
}


class SetCardState(Record, frozen=True, kw_only=True, tag="set_card_state"):
    """Move the card to another state (SET STATUS, Table 11-86: P1 80)."""

    changes: ClassVar[bool] = True
    state: int

    def describe(self) -> str:
        return _WORDS.get(CardState(self.state), f"set the card's state to {self.state:02X}")


class ProbeTermination(Record, frozen=True, kw_only=True, tag="probe_termination"):
    """Ask a card whether it is TERMINATED: it then selects nothing, and answers GET DATA only (§5.1.1.5).

    Nothing protects the answer, because a terminated card opens no secure channel any more.
    """

    changes: ClassVar[bool] = False

    def describe(self) -> str:
        return "ask the card whether it is terminated"
