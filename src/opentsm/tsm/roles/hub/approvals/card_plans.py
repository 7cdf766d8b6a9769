"""The plans of acts on a card as a whole, and what they leave to all other operations."""

from opentsm.card.codec.aid import Aid
from opentsm.card.gp.lifecycle import CardState
from opentsm.tsm.domain.operation import OperationType
from opentsm.tsm.engine.card_acts import move_card, replace_key_set
from opentsm.tsm.engine.sessions import Plan
from opentsm.tsm.kernel.errors import PlanRefusedError
from opentsm.tsm.roles.hub.approvals.card_policy import card_holder, key_holder
from opentsm.tsm.roles.hub.case import Case

_TARGETS = {
    OperationType.LOCK_CARD: CardState.CARD_LOCKED,
    OperationType.UNLOCK_CARD: CardState.SECURED,
    OperationType.TERMINATE_CARD: CardState.TERMINATED,
}


def card_plan(case: Case) -> Plan | None:
    """Return what is to be done next for an act on the card; None when the operation is none.

    Raises:
        PlanRefusedError: the card does not allow it.
    """
    type_ = case.operation.type
    if type_ in _TARGETS:
        holder = card_holder(case.se, case.arrangement, type_)
        return move_card(_TARGETS[type_], case.content, holder)
    if type_ is not OperationType.ROTATE_MANAGER_KEYS:
        return None
    parameters = case.operation.parameters
    aid, version = Aid.from_hex(str(parameters["security_domain"])), int(parameters["key_version"])
    holder = key_holder(case.se, case.arrangement, aid)
    return on_open_card(
        case, replace_key_set(case.content, holder, version, str(parameters.get("master", "")))
    )


def on_open_card(case: Case, made: Plan) -> Plan:
    """Return a plan that the card's state allows.

    Raises:
        PlanRefusedError: it changes content, and the card is locked (Table 11-1).
    """
    if case.content.card_state == CardState.CARD_LOCKED and made.changes_card():
        raise PlanRefusedError(
            "The secure element is locked as a whole; nothing on it can be changed.",
            advice="Ask for UNLOCK_CARD at /v1/approvals, with two people.",
        )
    return made
