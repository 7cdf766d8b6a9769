"""The rights in configurations 500 to 800: which act each role may carry out, and what refuses the others.

The matrix is data (`rights-*.json` in `opentsm/card/configurations_data`, read by the caller). A refusal is
enforced by the card (its privileges and hierarchy), by a Restrict parameter (INSTALL [for registry update],
Card Specification 2.3.1 §11.5.2.3.7), or only by the policy of the TSM that plans the session.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import cast

from opentsm.card.errors import ProfileError


class Act(Enum):
    """What a party may want to do in a session with a security domain.

    CREATE_ARRANGED makes a domain of the arrangement, CREATE_SERVICE_DOMAIN one of a service provider. DELETE
    and LOCK are of what is associated with the domain, directly or indirectly; `…_FOREIGN` of all else.
    """

    SEE_ALL = "see_all"
    CREATE_ARRANGED = "create_arranged"
    CREATE_SERVICE_DOMAIN = "create_service_domain"
    PUT_OWN_KEYS = "put_own_keys"
    LOAD = "load"
    INSTALL = "install"
    EXTRADITE = "extradite"
    DELETE = "delete"
    DELETE_FOREIGN = "delete_foreign"
    LOCK = "lock"
    LOCK_FOREIGN = "lock_foreign"
    PERSONALIZE = "personalize"
    UPDATE_REGISTRY = "update_registry"
    LOCK_CARD = "lock_card"
    UNLOCK_CARD = "unlock_card"
    TERMINATE_CARD = "terminate_card"
    VERIFY_TOKENS = "verify_tokens"
    CHECK_SIGNATURES = "check_signatures"


class Enforcement(Enum):
    """What refuses an act: the card itself, a Restrict parameter, or the TSM alone."""

    CARD = "card"
    RESTRICT = "restrict"
    POLICY = "policy"


# Table 11-53: what a Restrict parameter can take away from one security domain
RESTRICTIONS: Mapping[Act, int] = {
    Act.UPDATE_REGISTRY: 0x40,
    Act.PERSONALIZE: 0x20,
    Act.EXTRADITE: 0x10,
    Act.INSTALL: 0x04,
    Act.LOAD: 0x02,
    Act.DELETE: 0x01,
}


@dataclass(frozen=True, slots=True)
class Right:
    """One cell. `token`: allowed with a token of the party that holds Token Verification's key."""

    allowed: bool
    enforced_by: Enforcement
    token: bool = False
    source: str = "REC"
    note: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """An act that a party may ask of the holder of another domain: HUB locks the card through the ISD."""

    party: str
    act: Act
    through: str


@dataclass(frozen=True, slots=True)
class Rights:
    """The rights in one configuration: a row for each role, a cell for each act."""

    configuration: int
    cells: Mapping[str, Mapping[Act, Right]]
    requests: tuple[Request, ...] = ()

    def right(self, role: str, act: Act) -> Right:
        """Return a cell.

        Raises:
            ProfileError: the configuration has no such role.
        """
        if role not in self.cells:
            raise ProfileError(f"configuration {self.configuration} has no role {role!r}")
        return self.cells[role][act]

    def refused(self, role: str, acts: Iterable[Act]) -> tuple[Act, ...]:
        """Return those of the acts that a role may not carry out; of an unknown role all of them."""
        row = self.cells.get(role)
        return tuple(act for act in acts if row is None or not row[act].allowed)

    def restriction(self, role: str) -> int:
        """Return the Restrict parameter of a role's domain (Table 11-53); 0 for none."""
        mask = 0
        for act, right in self.cells[role].items():
            if not right.allowed and right.enforced_by is Enforcement.RESTRICT:
                mask |= RESTRICTIONS[act]
        return mask

    def enforced_by(self, enforcement: Enforcement) -> tuple[tuple[str, Act], ...]:
        """Return the refused cells of one kind, as role and act."""
        return tuple(
            (role, act)
            for role, row in self.cells.items()
            for act, right in row.items()
            if not right.allowed and right.enforced_by is enforcement
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> Rights:
        """Read the rights of a configuration.

        Raises:
            ProfileError: a member is missing or unknown, an act has no cell, or a restriction is impossible.
        """
        try:
            rows = cast("list[Mapping[str, Mapping[str, Mapping[str, object]]]]", data["roles"])
            cells = {str(row["role"]): _row(row["acts"]) for row in rows}
            asked = cast("list[Mapping[str, str]]", data.get("requests", []))
            requests = tuple(Request(one["party"], Act(one["act"]), one["through"]) for one in asked)
            return cls(int(str(data["configuration"])), cells, requests)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProfileError(f"the rights are malformed: {error}") from error


def _row(acts: Mapping[str, Mapping[str, object]]) -> Mapping[Act, Right]:
    row = {Act(name): _right(cell) for name, cell in acts.items()}
    if set(row) != set(Act):
        raise ProfileError("every act has a cell, and no other")
    for act, right in row.items():
        if right.enforced_by is Enforcement.RESTRICT and act not in RESTRICTIONS:
            raise ProfileError(f"{act.value} cannot be restricted")
    return row


def _right(cell: Mapping[str, object]) -> Right:
    if set(cell) - {"allowed", "enforced_by", "token", "source", "note"}:
        raise ProfileError("a cell has an unknown member")
    return Right(
        allowed=cell["allowed"] is True,
        enforced_by=Enforcement(cell["enforced_by"]),
        token=cell.get("token") is True,
        source=str(cell["source"]),
        note=str(cell.get("note", "")),
    )
