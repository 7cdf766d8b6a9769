"""Use cases about network operators: the hub's operator keeps them, every party may read them."""

import re

from msgspec.structs import replace

from opentsm.tsm.domain.registry import Bearer, Network, NetworkOperator
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.errors import InvalidInputError, NotFoundError
from opentsm.tsm.kernel.ids import NetworkOperatorId
from opentsm.tsm.ports.repositories import Page
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.mandate import require
from opentsm.tsm.roles.hub.services import HubServices

MAX_NAME = 100
MAX_NETWORKS = 32
MAX_ADDRESS = 200
MAX_SCRIPT_BYTES = 1 << 20
MAX_SCRIPTS = 10_000
_MCC, _MNC = re.compile(r"[2-79][0-9]{2}|001"), re.compile(r"[0-9]{2,3}")


class NetworkOperators:
    """Network operators."""

    def __init__(self, services: HubServices) -> None:
        self._s = services

    async def register_network_operator(self, principal: Principal, new: NetworkOperator) -> NetworkOperator:
        """Register a network operator; the id of `new` is replaced.

        Raises:
            ForbiddenError: the caller is not the hub's operator.
            InvalidInputError: a value is not possible.
            ConflictError: the name is taken.
        """
        require(principal, TenantKind.OPERATOR)
        made = _checked(replace(new, id=NetworkOperatorId(self._s.world.new_id()), version=0))
        async with self._s.storage.transaction() as tx:
            await tx.network_operators.add(made)
            await _noted(tx, principal, made, "registered")
            await tx.commit()
        return made

    async def change_network_operator(self, principal: Principal, new: NetworkOperator) -> NetworkOperator:
        """Replace what is kept of a network operator.

        Raises:
            NotFoundError: there is none of this id.
        """
        require(principal, TenantKind.OPERATOR)
        async with self._s.storage.transaction() as tx:
            before = await known_operator(tx, new.id)
            saved = await tx.network_operators.save(_checked(replace(new, version=before.version)))
            await _noted(tx, principal, saved, "changed")
            await tx.commit()
        return saved

    async def network_operator(self, principal: Principal, operator_id: NetworkOperatorId) -> NetworkOperator:
        """Return a network operator; only the hub's operator sees the addresses of its gateways."""
        require(principal, *TenantKind)
        async with self._s.storage.transaction() as tx:
            return _shown(principal, await known_operator(tx, operator_id))

    async def network_operators(self, principal: Principal, page: Page) -> list[NetworkOperator]:
        """Return a page of network operators."""
        require(principal, *TenantKind)
        async with self._s.storage.transaction() as tx:
            return [_shown(principal, one) for one in await tx.network_operators.list(page)]


async def known_operator(tx: UnitOfWork, operator_id: NetworkOperatorId) -> NetworkOperator:
    """Return a network operator.

    Raises:
        NotFoundError: there is none of this id.
    """
    found = await tx.network_operators.get(operator_id)
    if found is None:
        raise NotFoundError("There is no such network operator.", field="/network_operator_id")
    return found


def _shown(principal: Principal, found: NetworkOperator) -> NetworkOperator:
    if principal.kind is TenantKind.OPERATOR:
        return found
    return replace(found, bearers=tuple(replace(bearer, address="") for bearer in found.bearers))


def _checked(new: NetworkOperator) -> NetworkOperator:
    name = new.name.strip()
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise InvalidInputError(f"name must have 1 to {MAX_NAME} printable characters.", field="/name")
    if len(new.networks) > MAX_NETWORKS or len(set(new.networks)) != len(new.networks):
        raise InvalidInputError(f"networks are at most {MAX_NETWORKS}, all different.", field="/networks")
    for number, network in enumerate(new.networks):
        _check_network(network, f"/networks/{number}")
    kinds = [bearer.kind for bearer in new.bearers]
    if len(set(kinds)) != len(kinds):
        raise InvalidInputError("Each kind of bearer stands once.", field="/bearers")
    for number, bearer in enumerate(new.bearers):
        _check_bearer(bearer, f"/bearers/{number}")
    return replace(new, name=name)


def _check_network(network: Network, where: str) -> None:
    if not _MCC.fullmatch(network.mcc):
        raise InvalidInputError("A country code is 3 digits (E.212).", field=f"{where}/mcc")
    if not _MNC.fullmatch(network.mnc):
        raise InvalidInputError("A network code is 2 or 3 digits (E.212).", field=f"{where}/mnc")


def _check_bearer(bearer: Bearer, where: str) -> None:
    if len(bearer.address) > MAX_ADDRESS or not (bearer.address.isprintable() or not bearer.address):
        text = f"An address has at most {MAX_ADDRESS} printable characters."
        raise InvalidInputError(text, field=f"{where}/address")
    if not 1 <= bearer.max_script_bytes <= MAX_SCRIPT_BYTES:
        text = f"max_script_bytes is 1 to {MAX_SCRIPT_BYTES}."
        raise InvalidInputError(text, field=f"{where}/max_script_bytes")
    if not 1 <= bearer.max_scripts <= MAX_SCRIPTS:
        raise InvalidInputError(f"max_scripts is 1 to {MAX_SCRIPTS}.", field=f"{where}/max_scripts")


async def _noted(tx: UnitOfWork, principal: Principal, found: NetworkOperator, happened: str) -> None:
    await tx.audit.append(
        principal.tenant_id,
        actor=principal.tenant_id,
        action=f"network-operator.{happened}",
        subject=found.id,
        details={"name": found.name, "bearers": len(found.bearers)},
    )
