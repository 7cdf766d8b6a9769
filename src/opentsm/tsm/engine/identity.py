"""By what an application on a card is the same as in another description: else it is made anew.

Source: BSI TR-03165 §4.2.5.4: an instance is removed and reinstalled only if its binary data or the
configuration or parameters of its commands changed.
"""

import hashlib

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.card_content import ApplicationSpecification, LoadFileReference, ServiceDescription
from opentsm.tsm.kernel.documents import to_json


def build_of(description: ServiceDescription, app: ApplicationSpecification) -> str:
    """Return the digest (SHA-256, hex) of all that an instance of an application was built from.

    The version of its personalisation is not among it: that is asked of the application.
    """
    parts = (
        app.module,
        [file.sha256 for file in needed(description, app.load_file)],
        app.privileges,
        app.install_parameters,
        app.make_selectable,
        app.protocols,
        app.memory,
        app.recipe_id,
        app.attestation,
        description.extradite,
        description.sd_aid if description.dedicated_sd else None,
    )
    return hashlib.sha256(to_json(parts)).hexdigest()


def needed(description: ServiceDescription, aid: Aid) -> tuple[LoadFileReference, ...]:
    """Return a load file of a description with all those that it imports, directly or not."""
    by_aid = {file.aid: file for file in description.load_files}
    found: dict[Aid, LoadFileReference] = {}
    waiting = [aid]
    while waiting:
        file = by_aid.get(waiting.pop())
        if file is not None and file.aid not in found:
            found[file.aid] = file
            waiting += file.imports
    return tuple(sorted(found.values(), key=lambda file: file.aid))


def anew(old: ServiceDescription, new: ServiceDescription) -> tuple[ApplicationSpecification, ...]:
    """Return the applications of a new description that are not kept as they are in the old one."""
    kept = {app.instance_aid: (build_of(old, app), app.personalization) for app in old.applications}
    return tuple(
        app
        for app in new.applications
        if kept.get(app.instance_aid) != (build_of(new, app), app.personalization)
    )
