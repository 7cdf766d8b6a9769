"""How a conversation reaches its secure element: a table of the bearers that this TSM has adapters for.

A network operator's bearers stand in the order in which it prefers them; the first that this TSM carries is
taken, with the limits that the operator gives it. Where it carries none of them, or the secure element has
no operator, an agent on the device is reached over whatever connection the device has.
"""

from collections.abc import Mapping

import msgspec

from opentsm.tsm.domain.conversation import ScriptLimits
from opentsm.tsm.domain.registry import BearerKind, NetworkOperator
from opentsm.tsm.domain.secure_element import SecureElement
from opentsm.tsm.ports.unit_of_work import UnitOfWork

SERAM = "SERAM"
CARRIED: Mapping[BearerKind, str] = {BearerKind.DEVICE_AGENT: SERAM}


def route(operator: NetworkOperator | None) -> tuple[str, ScriptLimits]:
    """Return the bearer to be used, by its name, and what one conversation may send over it."""
    limits = ScriptLimits()
    for bearer in () if operator is None else operator.bearers:
        if bearer.kind in CARRIED:
            own = msgspec.structs.replace(
                limits,
                scripts=min(limits.scripts, bearer.max_scripts),
                script_bytes=min(limits.script_bytes, bearer.max_script_bytes),
            )
            return CARRIED[bearer.kind], own
    return SERAM, limits


async def route_to(tx: UnitOfWork, se: SecureElement) -> tuple[str, ScriptLimits]:
    """Return the bearer to a secure element, by what its issuer says about it."""
    data = await tx.se_registry.data(se.issuer_id, se.data)
    operator = data.network_operator_id
    return route(None if operator is None else await tx.network_operators.get(operator))
