"""The table of all functions."""

from typing import Final

from opentsm.api.messaging import conversations, elements, services
from opentsm.api.messaging.table import Function

FUNCTIONS: Final[tuple[Function, ...]] = (
    *elements.FUNCTIONS,
    *services.FUNCTIONS,
    *conversations.FUNCTIONS,
)
