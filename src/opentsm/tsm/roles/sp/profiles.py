"""Secure component profiles (TR-03165 §4.1.4.5): the TSM's card profiles as the service provider sees them.

A card profile says how to talk to a card. What TR-03165 tells beyond that (chip, operating system, API
versions) is that of the virtual secure element until products are registered with data of their own.
"""

import uuid
from collections.abc import Mapping

from opentsm.card.profiles import GP_API_VERSION, JAVA_CARD_VERSION, Contactless, SeProfile
from opentsm.tsm.roles.sp import errors
from opentsm.tsm.roles.sp.forms import Document

_NAMESPACE = uuid.UUID("6ba1c6ab-2a37-5bb8-8f6c-0d8f3b5d4a10")
_EMBEDDED_SE = 1
# Keys of gpSpecVersions and gpApiVersions; the guideline names the first, the second is ours.
CONTACTLESS, ACCESS_RULES = "contactlessServices", "secureElementAccessControl"
# Amendment D: 1.1.1 has no S16 and no i beyond 70; S16 came with 1.2.
_SCP03_VERSIONS = {False: "1.1.1", True: "1.2"}


def profile_id(name: str) -> str:
    """Return the id of a card profile: a UUID version 5 of its name, the same in every installation."""
    return str(uuid.uuid5(_NAMESPACE, name))


def document(profile: SeProfile) -> Document:
    """Return a card profile as a SecureComponentProfile."""
    versions = {"card": "2.3.1"}
    if profile.scp == 3:
        versions["scp03"] = _SCP03_VERSIONS[profile.is_s16]
    apis = {"card": GP_API_VERSION}
    if profile.contactless is not Contactless.NONE:
        versions[CONTACTLESS], apis["contactless"] = "1.3", "1.3"
    if profile.access_rules:
        versions[ACCESS_RULES] = "1.1"
    csp = {"apiVersion": profile.csp_version, "vendor": profile.csp_vendor}
    return {
        "id": profile_id(profile.name),
        "name": profile.name,
        "scType": _EMBEDDED_SE,
        "hardwarePlatform": "OpenTSM virtual secure element",
        "os": "OpenTSM",
        "osVersion": "1.0",
        "javaCardVersion": JAVA_CARD_VERSION,
        "javaCardFeatures": {},
        "gpSpecVersions": versions,
        "gpApiVersions": apis,
        "csp": {name: value for name, value in csp.items() if value},
        "certifications": {},
    }


class ProfileDesk:
    """The profiles that a service provider may choose from; the same for all."""

    def __init__(self, profiles: Mapping[str, SeProfile]) -> None:
        self._kinds = {profile_id(name): profile for name, profile in profiles.items()}
        self._by_id = {profile_id(name): document(profile) for name, profile in sorted(profiles.items())}

    def all(self) -> list[Document]:
        """Return all profiles."""
        return [dict(found) for found in self._by_id.values()]

    def get(self, id_: str) -> Document:
        """Return one.

        Raises:
            CatalogueError: 1009.
        """
        try:
            return dict(self._by_id[id_])
        except KeyError:
            raise errors.not_existing("SecureComponentProfile", id_) from None

    def kind(self, id_: str) -> SeProfile:
        """Return what this TSM itself knows of a profile.

        Raises:
            CatalogueError: 1009.
        """
        self.get(id_)
        return self._kinds[id_]
