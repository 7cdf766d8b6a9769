"""The privileges of a card's security domains as a matrix, and where they differ from a configuration's.

The rows are privileges (Card Specification 2.3.1 §6.6, Table 6-1), the columns the domains with their roles.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from opentsm.card.codec.aid import Aid
from opentsm.card.gp.privileges import Privilege
from opentsm.card.gp.registry import RegistryEntry, RegistryKind
from opentsm.card.gp.se_configurations import DomainRole, SeConfiguration

_ONE_BYTE = Privilege(0xFF0000)
_YES, _OPTIONAL, _WRONG, _MISSING = "x", "o", "!", "-"


@dataclass(frozen=True, slots=True)
class Column:
    """A security domain with its privileges as the card shows them; `role` None: it has none in the data."""

    aid: Aid
    role: DomainRole | None
    privileges: Privilege

    def cell(self, privilege: Privilege) -> str:
        """Return a cell: `x` held, `o` held by choice, `!` held against the data, `-` missing, or nothing.

        Mandated DAP Verification implies DAP Verification (Table 6-1), which the published tables leave out.
        """
        held = privilege in self.privileges
        due = self.role.privileges if self.role is not None else Privilege.NONE
        extra = self.role.optional if self.role is not None else Privilege.NONE
        implied = self.role is not None and privilege in self.role.coded and privilege not in due
        if privilege in due:
            return _YES if held else _MISSING
        if not held or implied:
            return ""
        return _OPTIONAL if privilege in extra else _WRONG


@dataclass(frozen=True, slots=True)
class PrivilegeMatrix:
    """The matrix of one card against the data of its configuration."""

    configuration: SeConfiguration
    columns: tuple[Column, ...]

    def differences(self) -> tuple[str, ...]:
        """Return where card and data differ, in words; nothing where they agree cell for cell."""
        found = [f"{one.aid} has no role of the configuration" for one in self.columns if one.role is None]
        present = {column.role.name for column in self.columns if column.role is not None}
        found += [
            f"there is no domain with the role {role.name}"
            for role in self.configuration.roles
            if role.preissued and not role.dispensable and role.name not in present
        ]
        for column in self.columns:
            name = column.role.name if column.role is not None else str(column.aid)
            for privilege in _rows():
                cell = column.cell(privilege)
                if cell in (_WRONG, _MISSING) and column.role is not None:
                    verb = "has" if cell == _WRONG else "lacks"
                    found.append(f"{name} {verb} {privilege}")
        return tuple(found)

    def lines(self) -> tuple[str, ...]:
        """Return the matrix as text: a row a privilege that anybody holds or should hold."""
        names = [column.role.name if column.role is not None else "?" for column in self.columns]
        widths = [max(len(name), 3) for name in names]
        first = max(len(str(privilege)) for privilege in _rows())
        lines = [_line("", names, first, widths)]
        for privilege in _rows():
            cells = [column.cell(privilege) for column in self.columns]
            if any(cells):
                lines.append(_line(str(privilege), cells, first, widths))
        return tuple(lines)


def privilege_matrix(
    configuration: SeConfiguration, entries: Iterable[RegistryEntry], roles: Mapping[Aid, str] | None = None
) -> PrivilegeMatrix:
    """Put the matrix of a card together.

    Args:
        configuration: the data.
        entries: the registry, as a domain shows it that sees all of it.
        roles: roles of domains where they are known; else they follow from AID and privileges.

    Raises:
        ProfileError: a role is not one of the configuration.
    """
    columns = []
    for entry in entries:
        if Privilege.SECURITY_DOMAIN not in entry.privileges:
            continue
        named = (roles or {}).get(entry.aid)
        role = _role(configuration, entry) if named is None else configuration.role(named)
        columns.append(Column(entry.aid, role, _as_coded(role, entry.privileges)))
    order = [role.name for role in configuration.roles]
    columns.sort(key=lambda one: (order.index(one.role.name) if one.role else len(order), bytes(one.aid)))
    return PrivilegeMatrix(configuration, tuple(columns))


def _role(configuration: SeConfiguration, entry: RegistryEntry) -> DomainRole | None:
    if entry.kind is RegistryKind.ISD:
        return configuration.issuer_role
    named = [role for role in configuration.roles if role.aid == entry.aid]
    fitting = [
        role
        for role in configuration.roles
        if role.aid is None and role.may_hold(_as_coded(role, entry.privileges))
    ]
    return next(iter([*named, *fitting]), None)


def _as_coded(role: DomainRole | None, shown: Privilege) -> Privilege:
    """Return what is to be compared: Table 6-2 gives the others where the data have one byte only (2.1.1)."""
    one_byte = role is not None and not (role.coded | role.optional) & ~_ONE_BYTE
    return shown & _ONE_BYTE if one_byte else shown


def _rows() -> list[Privilege]:
    return [one for one in Privilege if one]


def _line(name: str, cells: list[str], first: int, widths: list[int]) -> str:
    padded = [cell.center(width) for cell, width in zip(cells, widths, strict=True)]
    return f"{name:<{first}}  {'  '.join(padded)}".rstrip()
