"""Versions (TR-03165 §4.1.6.4.17 to 4.1.6.4.21): which flavor goes to which card profile."""

from collections.abc import Container
from dataclasses import dataclass

from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.sp import errors, forms, shelf
from opentsm.tsm.roles.sp.constraints import check_constraints
from opentsm.tsm.roles.sp.entities import VERSION
from opentsm.tsm.roles.sp.forms import Document
from opentsm.tsm.roles.sp.profiles import ProfileDesk
from opentsm.tsm.roles.sp.references import deployed_flavors, deployed_profiles, flavors
from opentsm.tsm.roles.sp.shelf import Shelf, find, find_in, version_key

_IDS = forms.list_of(forms.reference)
_DEPLOYMENTS = forms.map_to(_IDS)
_CHOICES = forms.map_to(forms.reference)


@dataclass(frozen=True, slots=True)
class VersionDesk:
    """Use cases about versions."""

    shelf: Shelf
    profiles: ProfileDesk

    async def all(self, owner: TenantId, service_id: str) -> list[Document]:
        """Return all versions of a service."""
        async with self.shelf.storage.transaction() as tx:
            await find(tx, owner, shelf.SERVICE, service_id)
            return [*await tx.catalogue.list(owner, shelf.VERSION, parent=service_id)]

    async def get(self, owner: TenantId, service_id: str, tag: str) -> Document:
        """Return one version; CatalogueError 1009 when there is none."""
        async with self.shelf.storage.transaction() as tx:
            return await self._find(tx, owner, service_id, tag)

    async def create(self, owner: TenantId, service_id: str, body: object) -> Document:
        """Create a version.

        Raises:
            CatalogueError: 1002, 1003, 1004, 1007, 1008, 1009 or 1016.
        """
        wanted = VERSION.check_new(body)
        tag = str(wanted["tag"])
        document = {"serviceId": service_id, **wanted}
        key = version_key(service_id, tag)
        async with self.shelf.changing(owner) as tx:
            await find(tx, owner, shelf.SERVICE, service_id)
            if await tx.catalogue.get(owner, shelf.VERSION, key) is not None:
                raise errors.bad_format(tag, "tag", "a tag that the Service does not have yet")
            await self._check_deployments(tx, owner, service_id, shelf.part(wanted, "allowedDeployments"))
            await tx.catalogue.put(owner, shelf.VERSION, key, document, parent=service_id)
            await shelf.record(tx, owner, shelf.VERSION, service_id, "created", tag=tag)
        return document

    async def modify(self, owner: TenantId, service_id: str, tag: str, body: object) -> Document:
        """Replace the allowed deployments; a version may change while it is in use.

        Raises:
            CatalogueError: 1002, 1005, 1006, 1007, 1008, 1009 or 1016.
        """
        async with self.shelf.changing(owner) as tx:
            before = await self._find(tx, owner, service_id, tag)
            wanted = VERSION.check_change(body, before)
            deployments = shelf.part(wanted, "allowedDeployments")
            return await self._deploy(tx, owner, before, deployments, "modified")

    async def flavors(self, owner: TenantId, service_id: str, tag: str) -> list[Document]:
        """Return the flavors of a version."""
        async with self.shelf.storage.transaction() as tx:
            ids = deployed_flavors(await self._find(tx, owner, service_id, tag))
            return await flavors(tx, owner, lambda flavor: flavor["id"] in ids, service_id)

    async def link_flavors(self, owner: TenantId, service_id: str, tag: str, body: object) -> Document:
        """Give card profiles to flavors of a version; for one that it has, the profiles are replaced.

        Raises:
            CatalogueError: 1008, 1009 or 1016.
        """
        _DEPLOYMENTS(body, "allowedDeployments")
        added = dict(body) if isinstance(body, dict) else {}
        async with self.shelf.changing(owner) as tx:
            before = await self._find(tx, owner, service_id, tag)
            deployments = shelf.part(before, "allowedDeployments") | added
            return await self._deploy(tx, owner, before, deployments, "linked")

    async def unlink_flavors(self, owner: TenantId, service_id: str, tag: str, body: object) -> Document:
        """Take flavors out of a version; those that it does not have are ignored.

        Raises:
            CatalogueError: 1008 or 1009.
        """
        ids = _listed(body, "flavorIds")
        async with self.shelf.changing(owner) as tx:
            before = await self._find(tx, owner, service_id, tag)
            for id_ in ids:
                await find_in(tx, owner, shelf.FLAVOR, id_, service_id)
            kept = {k: v for k, v in shelf.part(before, "allowedDeployments").items() if k not in ids}
            return await self._deploy(tx, owner, before, kept, "unlinked")

    async def linked_profiles(self, owner: TenantId, service_id: str, tag: str) -> list[Document]:
        """Return the card profiles of a version."""
        async with self.shelf.storage.transaction() as tx:
            version = await self._find(tx, owner, service_id, tag)
        return self._profiles(version, deployed_flavors(version))

    async def profiles_of_flavor(
        self, owner: TenantId, service_id: str, tag: str, flavor_id: str
    ) -> list[Document]:
        """Return the card profiles to which a version gives a flavor."""
        async with self.shelf.storage.transaction() as tx:
            version = await self._find(tx, owner, service_id, tag)
            await find_in(tx, owner, shelf.FLAVOR, flavor_id, service_id)
        return self._profiles(version, {flavor_id})

    async def link_profiles(self, owner: TenantId, service_id: str, tag: str, body: object) -> Document:
        """Say which flavor card profiles get; one that has another flavor moves.

        Raises:
            CatalogueError: 1008, 1009 or 1016.
        """
        _CHOICES(body, "flavorIds")
        choices = {id_: str(flavor) for id_, flavor in body.items()} if isinstance(body, dict) else {}
        async with self.shelf.changing(owner) as tx:
            before = await self._find(tx, owner, service_id, tag)
            deployments = _without(before, choices)
            for profile_id, flavor_id in choices.items():
                deployments.setdefault(flavor_id, []).append(profile_id)
            return await self._deploy(tx, owner, before, dict(deployments), "linked")

    async def unlink_profiles(self, owner: TenantId, service_id: str, tag: str, body: object) -> Document:
        """Take card profiles out of a version; those that it does not have are ignored. Its flavors stay.

        Raises:
            CatalogueError: 1008 or 1009.
        """
        ids = _listed(body, "secureComponentProfileIds")
        for id_ in ids:
            self.profiles.get(id_)
        async with self.shelf.changing(owner) as tx:
            before = await self._find(tx, owner, service_id, tag)
            return await self._deploy(tx, owner, before, dict(_without(before, ids)), "unlinked")

    async def delete(self, owner: TenantId, service_id: str, tag: str) -> None:
        """Delete a version; its flavors stay."""
        async with self.shelf.changing(owner) as tx:
            await self._find(tx, owner, service_id, tag)
            await tx.catalogue.delete(owner, shelf.VERSION, version_key(service_id, tag))
            await shelf.record(tx, owner, shelf.VERSION, service_id, "deleted", tag=tag)

    async def _find(self, tx: UnitOfWork, owner: TenantId, service_id: str, tag: str) -> Document:
        await find(tx, owner, shelf.SERVICE, service_id)
        key = version_key(service_id, tag)
        document = await tx.catalogue.get(owner, shelf.VERSION, key) if "\x00" not in tag else None
        if document is None:
            raise errors.not_existing("Version", tag)
        return document

    def _profiles(self, version: Document, flavor_ids: set[str]) -> list[Document]:
        ids = deployed_profiles(version, flavor_ids)
        return [one for one in self.profiles.all() if one["id"] in ids]

    async def _deploy(
        self, tx: UnitOfWork, owner: TenantId, before: Document, deployments: Document, happened: str
    ) -> Document:
        """Store a version with other deployments, if they are possible."""
        service_id, tag = str(before["serviceId"]), str(before["tag"])
        await self._check_deployments(tx, owner, service_id, deployments)
        document = before | {"allowedDeployments": deployments}
        key = version_key(service_id, tag)
        await tx.catalogue.put(owner, shelf.VERSION, key, document, parent=service_id)
        await shelf.record(tx, owner, shelf.VERSION, service_id, happened, tag=tag)
        return document

    async def _check_deployments(
        self, tx: UnitOfWork, owner: TenantId, service_id: str, deployments: Document
    ) -> None:
        """Check that flavors and profiles exist, that a profile occurs once, that each can run its flavor."""
        used: set[str] = set()
        for flavor_id in deployments:
            flavor = await find_in(tx, owner, shelf.FLAVOR, flavor_id, service_id)
            ids = shelf.texts(deployments, flavor_id)
            for id_ in ids:
                self.profiles.get(id_)
                if id_ in used:
                    supported = "SecureComponentProfiles that occur once in a Version"
                    raise errors.bad_format(id_, f"allowedDeployments.{flavor_id}", supported)
            used.update(ids)
            await check_constraints(tx, owner, flavor, self.profiles, ids)


def _listed(body: object, path: str) -> list[str]:
    _IDS(body, path)
    return [str(item) for item in body] if isinstance(body, list) else []


def _without(version: Document, profile_ids: Container[str]) -> dict[str, list[str]]:
    """Return a version's deployments without these card profiles."""
    deployments = shelf.part(version, "allowedDeployments")
    return {
        flavor_id: [one for one in shelf.texts(deployments, flavor_id) if one not in profile_ids]
        for flavor_id in deployments
    }
