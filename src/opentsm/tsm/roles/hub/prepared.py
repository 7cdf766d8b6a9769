"""Use cases about prepared data: taken line by line, listed, removed, and found again for a deployment.

A line may be repeated: the same data under the same name change nothing, and what was deployed of them is
told again. Nothing here tells a value; whether data are equal is found out after opening them.
"""

import hashlib
from datetime import datetime, timedelta
from hmac import compare_digest

from msgspec.structs import replace

from opentsm.tsm.domain.card_content import ServiceDescription
from opentsm.tsm.domain.prepared import (
    PreparedData,
    name_of_element,
    name_of_identifier,
    name_of_reference,
    names_of,
)
from opentsm.tsm.domain.secure_element import SecureElement, SeIdentifier, SeState
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.documents import Record, to_json
from opentsm.tsm.kernel.errors import (
    CallerError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    StaleVersionError,
)
from opentsm.tsm.kernel.ids import InstanceId, OperationId, SeId, TenantId
from opentsm.tsm.ports.peer import ServiceCatalogue
from opentsm.tsm.ports.repositories import Page
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.mandate import check_border, require
from opentsm.tsm.roles.hub.services import HubServices

KEPT, UNCHANGED = "kept", "unchanged"
_TRIES = 3
_DIGEST = ""  # no field has this name


class NewPreparedData(Record, frozen=True, kw_only=True):
    """Data to keep: for a secure element, for whichever will go by an identifier, or under a reference.

    `profile` is the card profile for which they are checked where the secure element is not known yet;
    without it they must fit every flavor that may be deployed.
    """

    service_id: str
    version: str | None = None
    se_id: SeId | None = None
    identifier: SeIdentifier | None = None
    reference: str | None = None
    profile: str | None = None
    data: dict[str, str]

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Taken(Record, frozen=True, kw_only=True):
    """What became of a line: `outcome` is KEPT or UNCHANGED."""

    id: str
    outcome: str
    operation_id: OperationId | None = None


class PreparedDesk:
    """Prepared data of service providers.

    Args:
        services: the hub's.
        keep: how long data are kept at most.
    """

    def __init__(self, services: HubServices, keep: timedelta) -> None:
        self._s = services
        self._keep = keep

    def upload(self, principal: Principal) -> "Upload":
        """Begin an upload.

        Raises:
            ForbiddenError: the caller is no provider.
        """
        require(principal, TenantKind.SERVICE_PROVIDER)
        return Upload(self._s, principal, self._keep)

    async def list(self, principal: Principal, page: Page, service_id: str | None) -> list[PreparedData]:
        """Return a page of the provider's prepared data, which stay sealed."""
        require(principal, TenantKind.SERVICE_PROVIDER)
        async with self._s.storage.transaction() as tx:
            return list(await tx.prepared_data.list(principal.tenant_id, page, service_id))

    async def remove(self, principal: Principal, id_: str) -> None:
        """Remove prepared data, used or not; what was deployed of them stays.

        Raises:
            NotFoundError: the provider has no such data.
        """
        require(principal, TenantKind.SERVICE_PROVIDER)
        owner = principal.tenant_id
        async with self._s.storage.transaction() as tx:
            if not await tx.prepared_data.remove(owner, id_):
                raise NotFoundError("There are no such prepared data.")
            await tx.audit.append(owner, actor=owner, action="prepared-data.removed", subject=id_)
            await tx.commit()


class Upload:
    """One upload of a provider; descriptions of services are looked up once."""

    def __init__(self, services: HubServices, provider: Principal, keep: timedelta) -> None:
        self._s = services
        self._provider = provider
        self._provider_id = provider.tenant_id
        self._keep = keep
        self._described: dict[tuple[str, str | None, str], ServiceDescription | CallerError] = {}

    async def take(self, line: NewPreparedData) -> Taken:
        """Check data and keep them sealed; the same data again change nothing.

        Raises:
            InvalidInputError: the line names no or several targets, or its data do not fit the recipes.
            NotFoundError: there is no such service, version, profile or secure element.
            SandboxBorderError: the secure element is on the other side of the sandbox border.
            ConflictError: other data are kept under this name, or the secure element cannot be told.
        """
        name = _name(line)
        for attempt in range(_TRIES):
            try:
                return await self._taken(line, name)
            except StaleVersionError:
                if attempt == _TRIES - 1:
                    raise
        raise AssertionError("not reached")

    async def deployable(self, line: NewPreparedData) -> SeId:
        """Return the secure element on which a line's data can be deployed at once.

        Raises:
            InvalidInputError: the line names none that is known.
        """
        _name(line)
        async with self._s.storage.transaction() as tx:
            se = await _element(tx, self._provider, line)
        if se is None:
            raise InvalidInputError("No secure element is known to deploy it on.", field="/deploy")
        return se.id

    async def forget(self, taken: Taken) -> None:
        """Remove what a line just left, because its deployment was refused: refused lines leave nothing."""
        if taken.outcome != KEPT:
            return
        owner = self._provider_id
        async with self._s.storage.transaction() as tx:
            present = await tx.prepared_data.get(owner, taken.id)
            if present is None or present.used:
                return
            await tx.prepared_data.remove(owner, taken.id)
            await tx.audit.append(owner, actor=owner, action="prepared-data.removed", subject=taken.id)
            await tx.commit()

    async def _taken(self, line: NewPreparedData, name: str) -> Taken:
        async with self._s.storage.transaction() as tx:
            se = await _element(tx, self._provider, line)
            found = await tx.prepared_data.named(self._provider_id, line.service_id, [name])
        now = self._s.world.now()
        present = next((one for one in found if one.expires_at > now), None)
        if present is not None:
            return await self._again(line, present)
        for description in await self._descriptions(line, se):
            await self._s.peers.catalogue().check_personalization_data(
                self._provider_id, description, line.data
            )
        return await self._kept(line, name, expired=[one.id for one in found], now=now)

    async def _again(self, line: NewPreparedData, present: PreparedData) -> Taken:
        opened = await self._s.peers.catalogue().open_prepared_data(
            self._provider_id, present.id, present.sealed
        )
        known = opened[_DIGEST] if present.used else _digest(present.id, opened)
        same = compare_digest(known, _digest(present.id, line.data))
        if not same or present.version_tag != line.version:
            raise ConflictError(
                "Other data are kept under this name for this service.",
                advice="Remove them first (DELETE /v1/prepared-data/{id}), if they are to be replaced.",
            )
        return Taken(id=present.id, outcome=UNCHANGED, operation_id=present.operation_id)

    async def _kept(self, line: NewPreparedData, name: str, *, expired: list[str], now: datetime) -> Taken:
        owner, id_ = self._provider_id, self._s.world.new_id()
        sealed = await self._s.peers.catalogue().seal_prepared_data(owner, id_, line.data)
        record = PreparedData(
            id=id_,
            provider_id=owner,
            service_id=line.service_id,
            version_tag=line.version,
            name=name,
            sealed=sealed,
            created_at=now,
            expires_at=now + self._keep,
        )
        async with self._s.storage.transaction() as tx:
            for old in expired:
                await tx.prepared_data.remove(owner, old)
            await tx.prepared_data.add(record)
            await tx.audit.append(owner, actor=owner, action="prepared-data.kept", subject=id_)
            await tx.commit()
        return Taken(id=id_, outcome=KEPT)

    async def _descriptions(
        self, line: NewPreparedData, se: SecureElement | None
    ) -> list[ServiceDescription]:
        """Return what the data must fit: one flavor, or all that may be deployed where no card is named."""
        profile = line.profile if se is None else se.profile
        if profile is not None:
            return [await self._describe(line, profile)]
        found: dict[tuple[str, str], ServiceDescription] = {}
        refusal: CallerError | None = None
        for name in self._s.profiles:
            try:
                description = await self._describe(line, name)
            except CallerError as error:
                refusal = error
            else:
                found[description.version_tag, description.flavor_id] = description
        if refusal is not None and not found:
            raise refusal
        return list(found.values())

    async def _describe(self, line: NewPreparedData, profile: str) -> ServiceDescription:
        key = (line.service_id, line.version, profile)
        if key not in self._described:
            try:
                self._described[key] = await self._s.peers.catalogue().describe(
                    self._provider_id, line.service_id, line.version, profile
                )
            except CallerError as error:
                self._described[key] = error
        found = self._described[key]
        if isinstance(found, CallerError):
            raise found
        return found


async def find_prepared(
    services: HubServices, provider_id: TenantId, se: SecureElement, service_id: str, reference: str | None
) -> PreparedData | None:
    """Return the data that wait for a secure element, or under a reference.

    Raises:
        NotFoundError: there are none under the reference that was given.
        ConflictError: data wait under more than one name, or the identifier is not this element's alone.
    """
    names = names_of(se) if reference is None else {name_of_reference(reference): None}
    now = services.world.now()
    async with services.storage.transaction() as tx:
        found = [
            one
            for one in await tx.prepared_data.named(provider_id, service_id, list(names))
            if not one.used and one.expires_at > now
        ]
        if len(found) > 1:
            raise ConflictError(
                "Data wait for this secure element under more than one name.",
                advice="Remove all but one of them: GET /v1/prepared-data lists them.",
            )
        identifier = names[found[0].name] if found else None
        if identifier is not None:
            # identifiers are an issuer's: data must not reach another issuer's card of the same name
            await tx.secure_elements.find(identifier.type, identifier.value, sandbox=se.sandbox)
    if not found and reference is not None:
        raise NotFoundError("No data wait under this reference for this service.", field="/reference")
    return found[0] if found else None


async def open_prepared(catalogue: ServiceCatalogue, prepared: PreparedData) -> dict[str, str]:
    """Return the data themselves, to be sealed for an instance at once."""
    return await catalogue.open_prepared_data(prepared.provider_id, prepared.id, prepared.sealed)


async def spent(
    catalogue: ServiceCatalogue,
    prepared: PreparedData,
    data: dict[str, str],
    instance_id: InstanceId,
    operation_id: OperationId | None = None,
) -> PreparedData:
    """Return prepared data as they are kept after their use: only a sealed digest is left of them.

    Args:
        catalogue: the provider's.
        prepared: the data that are used.
        data: what was in them.
        instance_id: the instance that was made of them.
        operation_id: its deployment, where that was asked for at once.
    """
    digest = {_DIGEST: _digest(prepared.id, data)}
    sealed = await catalogue.seal_prepared_data(prepared.provider_id, prepared.id, digest)
    return replace(prepared, sealed=sealed, instance_id=instance_id, operation_id=operation_id)


async def _element(tx: UnitOfWork, provider: Principal, line: NewPreparedData) -> SecureElement | None:
    """Return the secure element that a line names, or None where it need not be known yet."""
    if line.identifier is not None:
        type_, value = line.identifier.type, line.identifier.value
        return await tx.secure_elements.find(type_, value, sandbox=provider.sandbox)
    if line.se_id is None:
        return None
    se = await tx.secure_elements.get(line.se_id)
    if se is None or se.state is SeState.RETIRED:
        raise NotFoundError("There is no such secure element.", field="/se_id")
    check_border(provider, se)
    return se


def _name(line: NewPreparedData) -> str:
    names = [
        *([] if line.se_id is None else [name_of_element(line.se_id)]),
        *([] if line.identifier is None else [name_of_identifier(line.identifier)]),
        *([] if line.reference is None else [name_of_reference(line.reference)]),
    ]
    if len(names) != 1:
        raise InvalidInputError("Give exactly one of se_id, identifier and reference.")
    return names[0]


def _digest(id_: str, data: dict[str, str]) -> str:
    return hashlib.sha256(id_.encode() + to_json(data)).hexdigest()
