"""The next plan of an operation, once it is known that what it brings to the card fits."""

import msgspec

from opentsm.card.profiles import SeProfile
from opentsm.tsm.engine.sessions import Plan
from opentsm.tsm.roles.hub.arrangements.next_plan import next_plan
from opentsm.tsm.roles.hub.case import Case
from opentsm.tsm.roles.hub.services import HubServices
from opentsm.tsm.roles.hub.space.booking import RESERVING, fits
from opentsm.tsm.roles.hub.space.ground import limits_of

replace = msgspec.structs.replace


async def fitting_plan(services: HubServices, case: Case, profile: SeProfile) -> Plan:
    """Return what is to be done next; the card is read before anything is refused for want of memory.

    Raises:
        PlanRefusedError: the card's content, the arrangement, a quota or the card's memory does not allow it.
    """
    if case.operation.type not in RESERVING:
        return next_plan(case, profile, services.rights)
    async with services.storage.transaction() as tx:
        case.limits = await limits_of(tx, case.se, case.arrangement, case.topology(profile))
    made = next_plan(case, profile, services.rights)
    if not made.changes_card():
        return made
    async with services.storage.transaction() as tx:
        fit = await fits(tx, case, profile, services.world.now())
        await tx.commit()
    if fit:
        return made
    case.content = replace(case.content, fresh=False)
    return next_plan(case, profile, services.rights)
