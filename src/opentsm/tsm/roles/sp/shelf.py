"""Where the repository's documents stand: reading, writing, numbering, and the audit entry of each change."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.unit_of_work import Storage, UnitOfWork
from opentsm.tsm.ports.world import World
from opentsm.tsm.roles.sp import errors
from opentsm.tsm.roles.sp.forms import Document

SERVICE = "service"
FLAVOR = "flavor"
VERSION = "version"
LOAD_FILE = "executable-load-file"
MODULE = "executable-module"
APPLICATION_CONFIG = "application-config"
SCRIPT = "personalization-script"
RECIPE = "recipe"
CERTIFICATE = "certificate"
SPOS_CONFIG = "spos-config"
DOMAIN_MASTER_KEY = "domain-master-key"
TRANSPORT_KEY = "transport-key"
DOMAIN_KEY_SET = "domain-key-set"
ATTESTATION_KEY = "attestation-key"
SELF_SERVICE = "self-service"

_NAMES = {
    SERVICE: "Service",
    FLAVOR: "Flavor",
    VERSION: "Version",
    LOAD_FILE: "ExecutableLoadFile",
    MODULE: "ExecutableModule",
    APPLICATION_CONFIG: "ApplicationConfig",
    SCRIPT: "PersonalizationScript",
    RECIPE: "Recipe",
    CERTIFICATE: "Certificate",
    SPOS_CONFIG: "SposConfig",
    DOMAIN_MASTER_KEY: "master key",
    TRANSPORT_KEY: "transport key",
    DOMAIN_KEY_SET: "key set",
}


@dataclass(frozen=True, slots=True)
class Shelf:
    """The storage and the clock, as every desk of the repository uses them."""

    storage: Storage
    world: World

    def now(self) -> str:
        """Return the present time as RFC 3339 in UTC, to the second."""
        return timestamp(self.world.now())

    @asynccontextmanager
    async def changing(self, owner: TenantId) -> AsyncIterator[UnitOfWork]:
        """Open a transaction that changes a provider's documents; it is committed unless something fails.

        Changes of one provider wait for each other, so that no reference breaks between check and change.
        """
        async with self.storage.transaction() as tx:
            await tx.catalogue.lock(owner)
            yield tx
            await tx.commit()


def timestamp(moment: datetime) -> str:
    """Return a time as RFC 3339 in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def shown(document: Document) -> Document:
    """Return a document without what only the TSM needs (names that begin with an underscore)."""
    return {name: value for name, value in document.items() if not name.startswith("_")}


async def find(tx: UnitOfWork, owner: TenantId, entity: str, id_: str) -> Document:
    """Return a document of this owner.

    Raises:
        CatalogueError: 1009; what belongs to somebody else does not exist.
    """
    document = await tx.catalogue.get(owner, entity, id_) if "\x00" not in id_ else None
    if document is None:
        raise errors.not_existing(_NAMES[entity], id_)
    return document


async def find_in(tx: UnitOfWork, owner: TenantId, entity: str, id_: str, service_id: str) -> Document:
    """Return a flavor or version of one service.

    Raises:
        CatalogueError: 1009 for the service or for what should be in it.
    """
    await find(tx, owner, SERVICE, service_id)
    document = await find(tx, owner, entity, id_)
    if document["serviceId"] != service_id:
        raise errors.not_existing(_NAMES[entity], id_)
    return document


async def record(
    tx: UnitOfWork, owner: TenantId, entity: str, id_: str, happened: str, **details: str | int
) -> None:
    """Write the audit entry of a change, in its transaction."""
    await tx.audit.append(owner, actor=owner, action=f"{entity}.{happened}", subject=id_, details=details)


def version_key(service_id: str, tag: str) -> str:
    """Return the id under which a version is stored: tags are unique within a service only."""
    return f"{service_id}/{tag}"


def texts(document: Document, name: str) -> list[str]:
    """Return a list of strings of a document; nothing when it is absent."""
    found = document.get(name)
    return [str(item) for item in found] if isinstance(found, list) else []


def objects(document: Document, name: str) -> list[Document]:
    """Return a list of objects of a document; nothing when it is absent."""
    found = document.get(name)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def part(document: Document, name: str) -> Document:
    """Return an object inside a document; an empty one when it is absent."""
    found = document.get(name)
    return found if isinstance(found, dict) else {}
