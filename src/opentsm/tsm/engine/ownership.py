"""What stands in the way of a plan: objects that are not the instance's own, or hold other code. Pure."""

from opentsm.tsm.domain.card_content import LoadFileReference
from opentsm.tsm.engine.view import View
from opentsm.tsm.kernel.errors import PlanRefusedError

_SHARED_ADVICE = (
    "Services that share a load file on one card all need the option extradite (true in a flavor's"
    " featureConfig.genericOptions): publish flavors with it, terminate the instance that is there, and"
    " deploy both anew. Or give this load file another AID."
)
_DELEGATED_ADVICE = (
    "A domain with Delegated Management uses its own load files only: give this one another AID."
)


def refuse_foreign_objects(view: View) -> None:
    """Refuse to plan over what this TSM did not put on the card, or put there for another instance.

    Raises:
        PlanRefusedError: there is such an object.
    """
    description = view.description
    own = [app.instance_aid for app in description.applications]
    if description.dedicated_sd:
        own.append(description.sd_aid)
    shared = [lf.aid for lf in description.load_files]
    for aid in (*own, *shared):
        if view.observed.find(aid) is not None and aid not in view.claims:
            raise PlanRefusedError(
                f"The secure element already holds {aid}, which this TSM did not put there.",
                advice="Remove it through whoever owns it, or give this service other AIDs.",
            )
    for aid in own:
        if view.observed.find(aid) is not None and not view.ours(aid):
            raise PlanRefusedError(
                f"{aid} on this secure element belongs to another service instance.",
                advice="Terminate that instance first, or give this service other AIDs.",
            )
    for load_file in description.load_files:
        _refuse_other_code(view, load_file)


def _refuse_other_code(view: View, load_file: LoadFileReference) -> None:
    """A load file that somebody else uses too can be used if it is the same and can be reached."""
    entry = view.observed.find(load_file.aid)
    if entry is None or view.only_ours(load_file.aid):
        return
    if view.other_code(load_file):
        raise PlanRefusedError(
            f"The secure element holds another load file under the AID {load_file.aid}.",
            advice="Terminate the services that use it, or give this load file another AID.",
        )
    if not view.ours(load_file.aid) and entry.security_domain != view.loads_into():
        raise PlanRefusedError(
            f"The load file {load_file.aid} is on the card for another service, in the security domain"
            f" {entry.security_domain}, where this service cannot use it.",
            advice=_DELEGATED_ADVICE if view.delegated else _SHARED_ADVICE,
        )
