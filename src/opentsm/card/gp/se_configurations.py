"""The configurations 500, 600, 700 and 800 of a secure element: which domains, with which privileges.

The matrix is data (JSON files in `opentsm/card/configurations_data`, read by the caller), so that it can be
corrected without code. Where the published tables had lost their columns, a role's `source` says so: REC is
read, INF inferred.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from opentsm.card.codec.aid import Aid
from opentsm.card.errors import AidError, ProfileError
from opentsm.card.gp.privileges import Privilege, objections

_NAMES = {str(one): one for one in Privilege if one}
RELAY_TRUSTED = "relay-trusted"
_GRADES = (RELAY_TRUSTED, "confidential")
_SOURCES = ("REC", "INF")
_HOLDERS = ("ISSUER", "HUB", "PROVIDER")


@dataclass(frozen=True, slots=True)
class DomainRole:
    """One kind of security domain in a configuration.

    Attributes:
        name: as the tables call it.
        privileges: what it holds, as the tables have it.
        optional: what it may hold besides.
        aid: of the pre-issued one; None where a domain of this role is made later.
        preissued: whether the card leaves the factory with it.
        held_by: who may hold its keys (ISSUER, HUB, PROVIDER); nobody: it is made for a service.
        dispensable: whether a variant of the configuration does without it.
        source: `REC` as read, `INF` inferred.
        note: what is uncertain.
    """

    name: str
    privileges: Privilege
    optional: Privilege = Privilege.NONE
    aid: Aid | None = None
    preissued: bool = False
    held_by: tuple[str, ...] = ()
    dispensable: bool = False
    source: str = "REC"
    note: str = ""

    @property
    def coded(self) -> Privilege:
        """The privileges as a card has them: Mandated DAP Verification implies DAP Verification."""
        if Privilege.MANDATED_DAP_VERIFICATION in self.privileges:
            return self.privileges | Privilege.DAP_VERIFICATION
        return self.privileges

    def may_hold(self, privileges: Privilege) -> bool:
        """Tell whether a domain of this role may hold exactly these privileges."""
        return self.coded & privileges == self.coded and not privileges & ~(self.coded | self.optional)


@dataclass(frozen=True, slots=True)
class SeConfiguration:
    """One configuration.

    Attributes:
        profile: name of the card profile, on either side.
        handover: the grade in which domains get into their owners' hands unless an issuer says otherwise.
    """

    number: int
    title: str
    profile: str
    source: str
    roles: tuple[DomainRole, ...]
    handover: str = RELAY_TRUSTED

    def role(self, name: str) -> DomainRole:
        """Return a role by its name.

        Raises:
            ProfileError: this configuration has no such role.
        """
        for one in self.roles:
            if one.name == name:
                return one
        raise ProfileError(f"configuration {self.number} has no role {name!r}")

    @property
    def issuer_role(self) -> DomainRole:
        """The role of the issuer security domain: it alone can terminate the card."""
        return self.holders(Privilege.CARD_TERMINATE)[0]

    def holders(self, privilege: Privilege) -> tuple[DomainRole, ...]:
        """Return the roles that hold a privilege: one row of the matrix."""
        return tuple(one for one in self.roles if privilege in one.privileges)

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> SeConfiguration:
        """Read a configuration.

        Raises:
            ProfileError: a member is missing, unknown or impossible.
        """
        try:
            number, roles = data["configuration"], data["roles"]
            if not isinstance(number, int) or not isinstance(roles, list):
                raise TypeError("configuration is a number, roles a list")
            title, profile, source = (str(data[name]) for name in ("title", "profile", "source"))
            handover = str(data.get("handover", RELAY_TRUSTED))
            if handover not in _GRADES:
                raise TypeError(f"handover is one of {', '.join(_GRADES)}")
            return cls(number, title, profile, source, tuple(_role(one) for one in roles), handover)
        except (KeyError, TypeError, AidError) as error:
            raise ProfileError(f"the configuration is malformed: {error}") from error


def _role(data: Mapping[str, object]) -> DomainRole:
    known = {"role", "privileges", "optional", "aid", "preissued", "held_by", "dispensable", "source", "note"}
    unknown = set(data) - known
    if unknown or data["source"] not in _SOURCES:
        raise ProfileError(f"role {data['role']!r}: unknown {', '.join(sorted(unknown)) or 'source'}")
    aid = data.get("aid")
    role = DomainRole(
        name=str(data["role"]),
        privileges=_privileges(data["privileges"]),
        optional=_privileges(data.get("optional", [])),
        aid=None if aid is None else Aid.from_hex(str(aid)),
        preissued=data["preissued"] is True,
        held_by=_parties(data.get("held_by", [])),
        dispensable=data.get("dispensable") is True,
        source=str(data["source"]),
        note=str(data.get("note", "")),
    )
    refused = objections(role.coded)
    if refused or role.preissued != (role.aid is not None):
        raise ProfileError(f"role {role.name!r}: {'; '.join(refused) or 'a pre-issued domain has an AID'}")
    return role


def _parties(names: object) -> tuple[str, ...]:
    if not isinstance(names, list) or not set(names) <= set(_HOLDERS):
        raise ProfileError(f"a role is held by {', '.join(_HOLDERS)}")
    return tuple(names)


def _privileges(names: object) -> Privilege:
    if not isinstance(names, list):
        raise TypeError("privileges are a list of names")
    found = Privilege.NONE
    for name in names:
        if name not in _NAMES:
            raise ProfileError(f"there is no privilege {name!r}")
        found |= _NAMES[name]
    return found
