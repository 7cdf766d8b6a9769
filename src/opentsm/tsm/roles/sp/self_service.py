"""Marking services as self-service: their access tokens are handed out without the provider's backend.

A service can be marked when its end users give all that its recipes need: then nothing that only the
provider may decide comes from a device.
"""

from dataclasses import dataclass

from opentsm.tsm.domain.self_service import (
    MAX_TOKENS_PER_DEVICE,
    MAX_VALIDITY_S,
    MIN_VALIDITY_S,
    TOKENS_PER_DEVICE,
    VALIDITY_S,
    SelfService,
)
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.sp import shelf
from opentsm.tsm.roles.sp.forms import Document
from opentsm.tsm.roles.sp.personalization import load_recipe
from opentsm.tsm.roles.sp.recipes import Recipe
from opentsm.tsm.roles.sp.scripts import recipe_id_of
from opentsm.tsm.roles.sp.shelf import Shelf
from opentsm.tsm.roles.sp.user_form import missing_fields


@dataclass(frozen=True, slots=True)
class SelfServiceDesk:
    """Use cases about a provider's self-service marks."""

    shelf: Shelf

    async def offer(
        self,
        principal: Principal,
        service_id: str,
        *,
        expires_in_s: int = VALIDITY_S,
        tokens_per_device: int = TOKENS_PER_DEVICE,
    ) -> SelfService:
        """Mark a service, or change the terms of a marked one.

        Args:
            principal: the provider.
            service_id: one of its services.
            expires_in_s: life of a token.
            tokens_per_device: how many that still live a device may have.

        Raises:
            ForbiddenError: the caller is no service provider.
            InvalidInputError: a term is out of range.
            NotFoundError: the provider has no such service.
            ConflictError: a recipe of the service needs data that its end user does not give.
        """
        owner = _provider(principal)
        _check(expires_in_s, tokens_per_device)
        terms = SelfService(
            provider_id=owner,
            service_id=service_id,
            expires_in_s=expires_in_s,
            tokens_per_device=tokens_per_device,
        )
        async with self.shelf.changing(owner) as tx:
            await _service(tx, owner, service_id)
            for flavor in await tx.catalogue.list(owner, shelf.FLAVOR, parent=service_id):
                _require_simple(flavor, missing_fields(await _recipes(tx, owner, flavor)))
            document: Document = {"expiresIn": expires_in_s, "tokensPerDevice": tokens_per_device}
            await tx.catalogue.put(owner, shelf.SELF_SERVICE, service_id, document, parent=service_id)
            await shelf.record(
                tx,
                owner,
                shelf.SELF_SERVICE,
                service_id,
                "offered",
                expires_in_s=expires_in_s,
                tokens_per_device=tokens_per_device,
            )
        return terms

    async def terms(self, principal: Principal, service_id: str) -> SelfService:
        """Return the terms of one of the provider's marked services.

        Raises:
            ForbiddenError: the caller is no service provider.
            NotFoundError: there is no such service, or it is not marked.
        """
        owner = _provider(principal)
        async with self.shelf.storage.transaction() as tx:
            return _read(owner, service_id, await _marked(tx, owner, service_id))

    async def withdraw(self, principal: Principal, service_id: str) -> None:
        """Take a mark back: no device gets a token any more, and those that are out open nothing.

        Raises:
            ForbiddenError: the caller is no service provider.
            NotFoundError: there is no such service, or it is not marked.
        """
        owner = _provider(principal)
        async with self.shelf.changing(owner) as tx:
            await _marked(tx, owner, service_id)
            await tx.catalogue.delete(owner, shelf.SELF_SERVICE, service_id)
            await shelf.record(tx, owner, shelf.SELF_SERVICE, service_id, "withdrawn")

    async def find(self, service_id: str) -> SelfService | None:
        """Return the terms of a marked service, whoever its provider is; None when there is none."""
        async with self.shelf.storage.transaction() as tx:
            owner = await tx.catalogue.self_service_owner(service_id)
            found = None if owner is None else await tx.catalogue.get(owner, shelf.SELF_SERVICE, service_id)
        return None if owner is None or found is None else _read(owner, service_id, found)


def _provider(principal: Principal) -> TenantId:
    if principal.kind is not TenantKind.SERVICE_PROVIDER or principal.device_id is not None:
        raise ForbiddenError("This needs the token of a service provider.")
    return principal.tenant_id


def _check(expires_in_s: int, tokens_per_device: int) -> None:
    if not MIN_VALIDITY_S <= expires_in_s <= MAX_VALIDITY_S:
        raise InvalidInputError(
            f"expires_in must be {MIN_VALIDITY_S} to {MAX_VALIDITY_S} seconds.", field="/expires_in"
        )
    if not 1 <= tokens_per_device <= MAX_TOKENS_PER_DEVICE:
        raise InvalidInputError(
            f"tokens_per_device must be 1 to {MAX_TOKENS_PER_DEVICE}.", field="/tokens_per_device"
        )


async def _service(tx: UnitOfWork, owner: TenantId, service_id: str) -> None:
    if await tx.catalogue.get(owner, shelf.SERVICE, service_id) is None:
        raise NotFoundError("There is no such service.")


async def _marked(tx: UnitOfWork, owner: TenantId, service_id: str) -> Document:
    await _service(tx, owner, service_id)
    found = await tx.catalogue.get(owner, shelf.SELF_SERVICE, service_id)
    if found is None:
        raise NotFoundError(
            "The service is not marked as self-service.",
            advice="Mark it with PUT /v1/services/{service_id}/self-service.",
        )
    return found


async def _recipes(tx: UnitOfWork, owner: TenantId, flavor: Document) -> list[Recipe]:
    recipes: list[Recipe] = []
    for config in shelf.objects(flavor, "applicationInstantiationConfigs"):
        id_ = str(config["applicationConfigId"])
        settings = await shelf.find(tx, owner, shelf.APPLICATION_CONFIG, id_)
        recipe_id = await recipe_id_of(tx, owner, settings)
        if recipe_id is not None:
            recipes.append(await load_recipe(tx, owner, recipe_id))
    return recipes


def _require_simple(flavor: Document, missing: tuple[str, ...]) -> None:
    if missing:
        raise ConflictError(
            f"The flavor {flavor['id']} needs data that only its provider can supply: {', '.join(missing)}.",
            advice='Let the recipe ask the end user for them ("from": "user") or generate them; or let a'
            " backend fetch access tokens (POST /v1/access-tokens).",
        )


def _read(owner: TenantId, service_id: str, document: Document) -> SelfService:
    return SelfService(
        provider_id=owner,
        service_id=service_id,
        expires_in_s=int(str(document["expiresIn"])),
        tokens_per_device=int(str(document["tokensPerDevice"])),
    )
