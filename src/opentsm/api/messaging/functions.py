"""The table of all functions."""

from typing import Final

from opentsm.api.messaging import conversations, elements, notifications, services, tokens
from opentsm.api.messaging.table import Function

FUNCTIONS: Final[tuple[Function, ...]] = (
    *elements.FUNCTIONS,
    *services.FUNCTIONS,
    *conversations.FUNCTIONS,
    *tokens.FUNCTIONS,
    *notifications.FUNCTIONS,
)
