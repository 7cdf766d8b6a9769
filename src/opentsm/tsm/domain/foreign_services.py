"""What a service that another TSM describes may ask for: what the catalogue here gives to services, no more.

The domain above installs what a description says, by its own privileges. So nobody's word is taken for it
that an application is an application.
"""

from opentsm.card.gp.privileges import Privilege
from opentsm.tsm.domain.card_content import ServiceDescription

# all that a provider can name in a flavor; none of them is power over other content (GPCS §6.6.1)
SERVICE_PRIVILEGES = (
    Privilege.CVM_MANAGEMENT
    | Privilege.CONTACTLESS_SELF_ACTIVATION
    | Privilege.GLOBAL_SERVICE
    | Privilege.PRIVACY_TRUSTED
)


def objection(description: ServiceDescription, given: int) -> str | None:
    """Return why a description cannot be one of a service.

    Args:
        description: as another TSM gave it.
        given: the privileges that the card gives to applications.
    """
    files = {file.aid for file in description.load_files}
    for app in description.applications:
        if app.load_file not in files:
            # the issuer's package of security domains, for example
            return f"{app.instance_aid} is of {app.load_file}, which is none of the service's load files"
        excess = Privilege(app.privileges) & ~(SERVICE_PRIVILEGES & given)
        if excess:
            return f"{app.instance_aid} asks for {excess}, which services do not get on this kind of card"
    return None
