"""The service provider's repository as a whole, and what the hub asks it (`ports.peer.ServiceCatalogue`)."""

from collections.abc import Mapping, Sequence

from opentsm.card.profiles import SeProfile
from opentsm.tsm.domain.card_content import ServiceDescription
from opentsm.tsm.domain.prepared import context_of
from opentsm.tsm.domain.self_service import SelfService
from opentsm.tsm.domain.user_form import UserForm
from opentsm.tsm.kernel.documents import from_json, to_json
from opentsm.tsm.kernel.errors import InvariantError, NotFoundError
from opentsm.tsm.kernel.ids import InstanceId, TenantId
from opentsm.tsm.kernel.wording import quoted
from opentsm.tsm.ports.peer import OnlineSystem, TechnicalInformation
from opentsm.tsm.ports.unit_of_work import Storage, UnitOfWork
from opentsm.tsm.ports.world import World
from opentsm.tsm.roles.sp import shelf
from opentsm.tsm.roles.sp.access import Access
from opentsm.tsm.roles.sp.attestation import AttestationDesk
from opentsm.tsm.roles.sp.certificates import CertificateDesk
from opentsm.tsm.roles.sp.configurations import ConfigurationDesk
from opentsm.tsm.roles.sp.describe import Application, build, choose, deployable, priority_of
from opentsm.tsm.roles.sp.domain_keys import DomainKeyDesk
from opentsm.tsm.roles.sp.executables import ExecutableDesk
from opentsm.tsm.roles.sp.flavors import FlavorDesk
from opentsm.tsm.roles.sp.forms import Document
from opentsm.tsm.roles.sp.personalization import complete, load_recipe, seal
from opentsm.tsm.roles.sp.profiles import ProfileDesk, document
from opentsm.tsm.roles.sp.recipes import Recipe
from opentsm.tsm.roles.sp.relations import RelationDesk
from opentsm.tsm.roles.sp.scripts import KeystoreOf, ScriptDesk, recipe_id_of
from opentsm.tsm.roles.sp.self_service import SelfServiceDesk
from opentsm.tsm.roles.sp.services import ServiceDesk
from opentsm.tsm.roles.sp.shelf import Shelf, find
from opentsm.tsm.roles.sp.spos_configs import SposConfigDesk
from opentsm.tsm.roles.sp.user_form import form_of
from opentsm.tsm.roles.sp.versions import VersionDesk


class SpCatalogue:
    """The desks of the repository, and the description of a service for a card."""

    def __init__(
        self,
        storage: Storage,
        world: World,
        profiles: Mapping[str, SeProfile],
        keystore_of: KeystoreOf,
        tsm_identifier: str,
    ) -> None:
        """Wire the repository.

        Args:
            storage: documents, files, audit.
            world: clock, randomness, ids.
            profiles: card profiles by name.
            keystore_of: gives a provider's keystore.
            tsm_identifier: how attestation tokens name this TSM, a dotted object identifier.
        """
        place = Shelf(storage, world)
        self.access = Access(storage, world)
        self.profiles = ProfileDesk(profiles)
        self.services = ServiceDesk(place, self.profiles)
        self.flavors = FlavorDesk(place, self.profiles)
        self.versions = VersionDesk(place, self.profiles)
        self.load_files = ExecutableDesk(place, self.profiles)
        self.configurations = ConfigurationDesk(place, self.profiles)
        self.scripts = ScriptDesk(place, keystore_of)
        self.attestation = AttestationDesk(place, keystore_of, tsm_identifier)
        self.domain_keys = DomainKeyDesk(place, keystore_of)
        self.certificates = CertificateDesk(place)
        self.spos_configs = SposConfigDesk(place)
        self.self_services = SelfServiceDesk(place)
        self.relations = RelationDesk(place, self.profiles)
        self._storage = storage
        self._world = world
        self._se_profiles = profiles
        self._keystore_of = keystore_of

    async def describe(
        self, provider_id: TenantId, service_id: str, version_tag: str | None, profile_id: str
    ) -> ServiceDescription:
        """Choose the flavor for a card profile and say what it puts on the card.

        Args:
            provider_id: whose service.
            service_id: which.
            version_tag: None for the newest that the profile can get.
            profile_id: name of the card profile.

        Raises:
            NotFoundError: there is no such service or version for this provider, or no such profile.
            InvalidInputError: no flavor is allowed for the profile.
            ConflictError: the flavor is not published.
        """
        profile = self._profile(profile_id)
        async with self._storage.transaction() as tx:
            service = await tx.catalogue.get(provider_id, shelf.SERVICE, service_id)
            if service is None:
                raise NotFoundError("There is no such service.")
            versions = await tx.catalogue.list(provider_id, shelf.VERSION, parent=service_id)
            flavors = await tx.catalogue.list(provider_id, shelf.FLAVOR, parent=service_id)
            published = {str(one["id"]): bool(one["published"]) for one in flavors}
            choice = choose(versions, published, version_tag, profile)
            flavor = next(one for one in flavors if one["id"] == choice.flavor_id)
            load_files = [
                await find(tx, provider_id, shelf.LOAD_FILE, one)
                for one in shelf.texts(flavor, "executableLoadFileIds")
            ]
            applications = await self._applications(tx, provider_id, flavor, load_files)
        return build(service, choice.tag, flavor, load_files, applications)

    async def deployable_versions(
        self, provider_id: TenantId, service_id: str, profile_id: str
    ) -> tuple[str, ...]:
        """Return the tags of the versions that a card profile can get, newest first.

        Raises:
            NotFoundError: there is no such service for this provider, or no such profile.
        """
        profile = self._profile(profile_id)
        async with self._storage.transaction() as tx:
            if await tx.catalogue.get(provider_id, shelf.SERVICE, service_id) is None:
                raise NotFoundError("There is no such service.")
            versions = await tx.catalogue.list(provider_id, shelf.VERSION, parent=service_id)
            flavors = await tx.catalogue.list(provider_id, shelf.FLAVOR, parent=service_id)
        return deployable(versions, {str(one["id"]): bool(one["published"]) for one in flavors}, profile)

    async def technical_information(
        self, description: ServiceDescription, profile_id: str
    ) -> TechnicalInformation:
        """Say what an app is told about this service on a card of this profile.

        Source: BSI TR-03165 §4.2.3.13.
        """
        owner = description.provider_id
        async with self._storage.transaction() as tx:
            service = await tx.catalogue.get(owner, shelf.SERVICE, description.service_id) or {}
            flavor = await tx.catalogue.get(owner, shelf.FLAVOR, description.flavor_id) or {}
        parameters = {**shelf.part(service, "spParameters"), **shelf.part(flavor, "spParameters")}
        return TechnicalInformation(
            service_id=description.service_id,
            service_version_tag=description.version_tag,
            flavor_id=description.flavor_id,
            flavor_name=str(flavor.get("name") or ""),
            profile_id=str(self._profile(profile_id)["id"]),
            sp_parameters={name: str(value) for name, value in parameters.items()},
        )

    async def holds(self, description: ServiceDescription) -> bool:
        """Say whether service and flavor of an earlier description still exist.

        A version may be deleted: its flavors stay (§4.1.6.4.21), and so what its instances are made of.

        Source: BSI TR-03165 §3.2.3: an instance whose flavor was removed is orphaned.
        """
        parts = ((shelf.SERVICE, description.service_id), (shelf.FLAVOR, description.flavor_id))
        async with self._storage.transaction() as tx:
            for entity, id_ in parts:
                if await tx.catalogue.get(description.provider_id, entity, id_) is None:
                    return False
        return True

    async def online_system(self, provider_id: TenantId, service_id: str) -> OnlineSystem | None:
        """Return who hears how processes of a service ended; None when nobody does.

        Source: BSI TR-03165 §4.1.4.2 (sposConfigId), §4.1.4.18.
        """
        async with self._storage.transaction() as tx:
            service = await tx.catalogue.get(provider_id, shelf.SERVICE, service_id)
            id_ = None if service is None else service.get("sposConfigId")
            if id_ is None:
                return None
            config = await find(tx, provider_id, shelf.SPOS_CONFIG, str(id_))
            certificate = await tx.catalogue.file(
                provider_id, shelf.CERTIFICATE, str(config["certificateId"])
            )
        if certificate is None:
            raise InvariantError("An SPOS configuration's certificate is missing.")
        return OnlineSystem(url=str(config["url"]), certificate=certificate)

    async def load_file(self, provider_id: TenantId, sha256: str) -> bytes:
        """Return the load-file data block of one of the provider's load files.

        Raises:
            NotFoundError: the provider has none with this content.
        """
        async with self._storage.transaction() as tx:
            block = await tx.load_files.block_of(provider_id, sha256)
        if block is None:
            raise NotFoundError("There is no such load file.")
        return block

    async def self_service(self, service_id: str) -> SelfService | None:
        """Return on which terms devices get access tokens for a service; None when they get none."""
        return await self.self_services.find(service_id)

    async def seal_personalization_data(
        self,
        provider_id: TenantId,
        description: ServiceDescription,
        instance_id: InstanceId,
        data: dict[str, str],
    ) -> bytes:
        """Check the data against the service's recipes, add what they generate, seal it for the instance.

        Raises:
            InvalidInputError: a datum is unknown, missing or malformed; its name is told, never its value.
        """
        recipes = await self._recipes(provider_id, description)
        values = await complete(recipes, data, self._world.random, description.sp_parameters)
        return await seal(self._keystore_of(provider_id), instance_id, values)

    async def check_personalization_data(
        self, provider_id: TenantId, description: ServiceDescription, data: dict[str, str]
    ) -> None:
        """Check the data against the service's recipes.

        Raises:
            InvalidInputError: a datum is unknown, missing or malformed; its name is told, never its value.
        """
        recipes = await self._recipes(provider_id, description)
        await complete(recipes, data, self._world.random, description.sp_parameters)

    async def seal_prepared_data(self, provider_id: TenantId, record_id: str, data: dict[str, str]) -> bytes:
        """Seal data that wait for their instance."""
        return await self._keystore_of(provider_id).seal(to_json(data), context=context_of(record_id))

    async def open_prepared_data(
        self, provider_id: TenantId, record_id: str, sealed: bytes
    ) -> dict[str, str]:
        """Open data that waited for their instance.

        Raises:
            KeystoreError: they were sealed for another record, or changed.
        """
        opened = await self._keystore_of(provider_id).open(sealed, context=context_of(record_id))
        return from_json(dict[str, str], opened)

    async def form(
        self, provider_id: TenantId, service_id: str, version_tag: str | None, profile_id: str
    ) -> UserForm:
        """Return what the end user is asked for before a service gets on a card of this kind.

        Raises:
            NotFoundError: as `describe`, and so are InvalidInputError and ConflictError.
        """
        description = await self.describe(provider_id, service_id, version_tag, profile_id)
        return await self.user_form(provider_id, description)

    async def user_form(self, provider_id: TenantId, description: ServiceDescription) -> UserForm:
        """Return what the end user is asked for before a description gets on a card."""
        return form_of(description, await self._recipes(provider_id, description))

    async def _recipes(self, provider_id: TenantId, description: ServiceDescription) -> list[Recipe]:
        async with self._storage.transaction() as tx:
            return [
                await load_recipe(tx, provider_id, application.recipe_id)
                for application in description.applications
                if application.recipe_id is not None
            ]

    def _profile(self, name: str) -> Document:
        try:
            return document(self._se_profiles[name])
        except KeyError:
            raise NotFoundError(f"There is no card profile {quoted(name)}.") from None

    async def _applications(
        self, tx: UnitOfWork, owner: TenantId, flavor: Document, load_files: Sequence[Document]
    ) -> list[Application]:
        by_id = {str(one["id"]): one for one in load_files}
        found: list[Application] = []
        for config in shelf.objects(flavor, "applicationInstantiationConfigs"):
            module = await find(tx, owner, shelf.MODULE, str(config["executableModuleId"]))
            settings = await find(tx, owner, shelf.APPLICATION_CONFIG, str(config["applicationConfigId"]))
            recipe_id = await recipe_id_of(tx, owner, settings)
            recipe = await load_recipe(tx, owner, recipe_id) if recipe_id else None
            load_file = by_id[str(module["elfId"])]
            found.append(Application(priority_of(config), module, settings, load_file, recipe_id, recipe))
        return found
