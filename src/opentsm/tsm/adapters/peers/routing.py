"""Parties wherever they live: each call goes to this process or to another TSM, by the party it is for."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, cast

from opentsm.card.profiles import SeProfile
from opentsm.tsm.adapters.peers.relayed import objection_to_body, objection_to_opening
from opentsm.tsm.domain.card_content import ServiceDescription
from opentsm.tsm.domain.exchange import Command
from opentsm.tsm.domain.foreign_services import objection
from opentsm.tsm.domain.peering import Peering
from opentsm.tsm.kernel.errors import PeerFaultError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports import peer_calls as calls
from opentsm.tsm.ports.delegation import TokenIssuer
from opentsm.tsm.ports.peer import Peers, SegmentOwner, SegmentRequest, ServiceCatalogue
from opentsm.tsm.ports.repositories import Page
from opentsm.tsm.ports.unit_of_work import Storage
from opentsm.tsm.ports.world import World

Ask = Callable[[Peering, calls.PeerCall, bytes], Awaitable[object]]
REMEMBERED = timedelta(seconds=5)
_PAGE = 200


class PeerDirectory:
    """Who lives elsewhere: few rows, read again every few seconds."""

    def __init__(self, storage: Storage, world: World) -> None:
        self._storage = storage
        self._world = world
        self._read_at: datetime | None = None
        self._found: Mapping[TenantId, Peering] = {}

    async def of(self, tenant_id: TenantId) -> Peering | None:
        """Return where a party lives; None: here."""
        now = self._world.now()
        if self._read_at is None or not self._read_at <= now < self._read_at + REMEMBERED:
            self._found, self._read_at = await self._all(), now
        return self._found.get(tenant_id)

    async def _all(self) -> dict[TenantId, Peering]:
        found: dict[TenantId, Peering] = {}
        after: str | None = None
        while True:
            async with self._storage.transaction() as tx:
                page = await tx.peerings.elsewhere(Page(limit=_PAGE, after=after))
            found |= {one.tenant_id: one for one in page}
            if len(page) < _PAGE:
                return found
            after = page[-1].tenant_id


class RoutedPeers:
    """Implements `ports.peer.Peers` for parties here and elsewhere."""

    def __init__(
        self,
        local: Peers,
        directory: PeerDirectory,
        storage: Storage,
        ask: Ask,
        profiles: Mapping[str, SeProfile],
    ) -> None:
        self._local = local
        self._directory = directory
        self._storage = storage
        self._ask = ask
        self._profiles = profiles

    def segment_owner(self, tenant_id: TenantId) -> SegmentOwner:
        """Return the party that holds this tenant's key sets, wherever it lives."""
        return cast(SegmentOwner, _Routed(self, calls.SEGMENT_OWNER, tenant_id))

    def catalogue(self) -> ServiceCatalogue:
        """Return the service providers' catalogue: each provider is asked where it lives."""
        return cast(ServiceCatalogue, _Routed(self, calls.CATALOGUE, None))

    def token_issuer(self, tenant_id: TenantId) -> TokenIssuer:
        """Return the party that issues tokens: it lives here, since it judges by the operations here."""
        return self._local.token_issuer(tenant_id)

    async def call(
        self, port: str, tenant_id: TenantId | None, method: str, values: tuple[object, ...], named: Any
    ) -> object:
        """Make one call of the port."""
        call = calls.call_named(f"{port}/{method}")
        party = tenant_id or _provider(call, values, named)
        peering = None if party is None else await self._directory.of(party)
        if peering is None:
            target: Any = (
                self._local.catalogue() if tenant_id is None else self._local.segment_owner(tenant_id)
            )
            return await getattr(target, method)(*values, **named)
        result = await self._ask(peering, call, call.write_arguments(values, named))
        if isinstance(result, ServiceDescription):
            self._check(peering, result, str(call.given(values, named)["profile_id"]))
            await self._fetch_load_files(peering, result)
        _check_commands(method, call.given(values, named), result)
        return result

    def _check(self, peering: Peering, description: ServiceDescription, profile_id: str) -> None:
        """The domain above installs what it says: it must be a service, and the party's own."""
        if description.provider_id != peering.tenant_id:
            raise PeerFaultError("The other TSM described a service of somebody else.")
        profile = self._profiles.get(profile_id)
        why = objection(description, 0 if profile is None else profile.application_privileges)
        if why is not None:
            raise PeerFaultError(f"The other TSM described what is no service: {why}.")

    async def _fetch_load_files(self, peering: Peering, description: ServiceDescription) -> None:
        """Get what the card's manager will load; it is known by its content, and checked by it."""
        for file in description.load_files:
            async with self._storage.transaction() as tx:
                if await tx.load_files.block(file.sha256) is not None:
                    continue
            call = calls.call_named(f"{calls.CATALOGUE}/load_file")
            arguments = call.write_arguments((peering.tenant_id, file.sha256), {})
            block = await self._ask(peering, call, arguments)
            if not isinstance(block, bytes) or hashlib.sha256(block).hexdigest() != file.sha256.lower():
                raise PeerFaultError(f"The other TSM gave another load file {file.aid} than it described.")
            async with self._storage.transaction() as tx:
                await tx.load_files.put_block(file.sha256, block, owner_id=peering.tenant_id)
                await tx.commit()


class _Routed:
    """Any method of a port: what it is, the port's protocol says."""

    def __init__(self, peers: RoutedPeers, port: str, tenant_id: TenantId | None) -> None:
        self._peers = peers
        self._port = port
        self._tenant_id = tenant_id

    def __getattr__(self, method: str) -> Callable[..., Awaitable[object]]:
        if method.startswith("_") or not hasattr(calls.PORTS[self._port], method):
            raise AttributeError(method)

        async def routed(*values: object, **named: object) -> object:
            return await self._peers.call(self._port, self._tenant_id, method, values, named)

        return routed


def _check_commands(method: str, given: Mapping[str, object], result: object) -> None:
    """What another party's sessions bring goes to the card: nothing that leaves its session does."""
    why = None
    if method == "prepare_segment":
        request = cast(SegmentRequest, given["request"])
        why = objection_to_opening(cast(tuple[Command, ...], result), request.session)
    elif method == "wrap_segment":
        why = objection_to_body(cast(tuple[Command, ...], result))
    if why is not None:
        raise PeerFaultError(f"The other TSM made commands that are not sent: {why}.")


def _provider(
    call: calls.PeerCall, values: tuple[object, ...], named: Mapping[str, object]
) -> TenantId | None:
    """Return the provider that a call of the catalogue is for; None where it names none."""
    given = call.given(values, named)
    found = given.get("provider_id") or getattr(given.get("description"), "provider_id", None)
    return None if found is None else TenantId(str(found))
