"""Subjects and reasons of refusals, as object identifiers. The standard's own lists are not public.

Both lie under an arc of ours, made of a UUID (ITU-T X.667): `…1.n` are subjects, `…2.n` reasons. A number
never changes its meaning. Each stands for a `code` of docs/reference/http.md or of an operation's failure.
"""

from typing import Final

ARC: Final = "2.25.216193846087239570217342384193561172537"
OWNER: Final = f"{ARC}.3"  # whose references are our own ids of instances
OTHER: Final = "other"

SUBJECTS: Final[dict[str, int]] = {
    OTHER: 0,
    "request": 1,
    "caller": 2,
    "secure_element": 3,
    "service": 4,
    "conversation": 5,
    "script": 6,
    "process": 7,
    "card": 8,
    "server": 9,
}
# code: (subject, number of the reason)
REASONS: Final[dict[str, tuple[str, int]]] = {
    OTHER: (OTHER, 0),
    "invalid_input": ("request", 1),
    "malformed_json": ("request", 2),
    "unsupported_media_type": ("request", 3),
    "too_large": ("request", 4),
    "not_found": ("request", 5),
    "conflict": ("request", 6),
    "idempotency_key_reused": ("request", 7),
    "method_not_allowed": ("request", 8),
    "bad_request": ("request", 9),
    "unauthenticated": ("caller", 10),
    "forbidden": ("caller", 11),
    "sandbox_border": ("caller", 12),
    "too_many_attempts": ("caller", 13),
    "secure_element_quarantined": ("secure_element", 20),
    "secure_element_retired": ("secure_element", 21),
    "quarantined": ("secure_element", 22),
    "wrong_card": ("secure_element", 23),
    "orphaned": ("service", 30),
    "plan_refused": ("service", 31),
    "not_allowed": ("service", 32),
    "invalid_argument": ("service", 33),
    "illegal_transition": ("service", 34),
    "conversation_waiting": ("conversation", 40),
    "conversation_ended": ("conversation", 41),
    "script_in_work": ("conversation", 42),
    "loss_reported": ("conversation", 43),
    "token_refused": ("conversation", 44),
    "receipt_disputed": ("card", 66),
    "script_refused": ("script", 50),
    "script_too_large": ("script", 51),
    "script_withdrawn": ("script", 52),
    "script_unknown": ("script", 53),
    "command_refused": ("card", 60),
    "card_refused": ("card", 61),
    "card_lost": ("card", 62),
    "application_fault": ("card", 63),
    "stale_picture": ("card", 64),
    "memory_unknown": ("card", 65),
    "expired": ("process", 70),
    "cancelled": ("process", 71),
    "no_progress": ("process", 72),
    "internal_error": ("server", 80),
    "try_again": ("server", 81),
    "peer_fault": ("server", 82),
}


def subject_and_reason(code: str) -> tuple[str, str]:
    """Return the object identifiers that stand for a code; unknown ones are *other*."""
    subject, reason = REASONS.get(code, REASONS[OTHER])
    return f"{ARC}.1.{SUBJECTS[subject]}", f"{ARC}.2.{reason}"
