"""Services, flavors and versions (TR-03165 §4.1.6.4)."""

from litestar import delete, get, post, put
from litestar.params import FromPath

from opentsm.api.sptsm.exchange import AnyRequest, Catalogue, Provider, read_json, refuse_body
from opentsm.tsm.roles.sp.forms import Document

_FLAVORS = "/services/{service_id:str}/flavors"
_FLAVOR = f"{_FLAVORS}/{{flavor_id:str}}"
_VERSIONS = "/services/{service_id:str}/versions"
_VERSION = f"{_VERSIONS}/{{tag:str}}"


@get("/services")
async def list_services(request: AnyRequest, provider: Provider, catalogue: Catalogue) -> list[Document]:
    """Return all services."""
    await refuse_body(request)
    return await catalogue.services.all(provider)


@post("/services", status_code=200)
async def create_service(request: AnyRequest, provider: Provider, catalogue: Catalogue) -> Document:
    """Create a service."""
    return await catalogue.services.create(provider, await read_json(request))


@get("/services/{service_id:str}")
async def get_service(
    request: AnyRequest, provider: Provider, catalogue: Catalogue, service_id: FromPath[str]
) -> Document:
    """Return one service."""
    await refuse_body(request)
    return await catalogue.services.get(provider, service_id)


@put("/services/{service_id:str}")
async def modify_service(
    request: AnyRequest, provider: Provider, catalogue: Catalogue, service_id: FromPath[str]
) -> Document:
    """Replace what may be edited."""
    return await catalogue.services.modify(provider, service_id, await read_json(request))


@delete("/services/{service_id:str}")
async def delete_service(
    request: AnyRequest, provider: Provider, catalogue: Catalogue, service_id: FromPath[str]
) -> None:
    """Delete a service with its versions and flavors."""
    await refuse_body(request)
    await catalogue.services.delete(provider, service_id)


# --- flavors -----------------------------------------------------------------------------------


@get(_FLAVORS)
async def list_flavors(
    request: AnyRequest, provider: Provider, catalogue: Catalogue, service_id: FromPath[str]
) -> list[Document]:
    """Return the flavors of a service."""
    await refuse_body(request)
    return await catalogue.flavors.all(provider, service_id)


@post(_FLAVORS, status_code=200)
async def create_flavor(
    request: AnyRequest, provider: Provider, catalogue: Catalogue, service_id: FromPath[str]
) -> Document:
    """Create a flavor."""
    return await catalogue.flavors.create(provider, service_id, await read_json(request))


@get(_FLAVOR)
async def get_flavor(
    request: AnyRequest,
    provider: Provider,
    catalogue: Catalogue,
    service_id: FromPath[str],
    flavor_id: FromPath[str],
) -> Document:
    """Return one flavor."""
    await refuse_body(request)
    return await catalogue.flavors.get(provider, service_id, flavor_id)


@delete(_FLAVOR)
async def delete_flavor(
    request: AnyRequest,
    provider: Provider,
    catalogue: Catalogue,
    service_id: FromPath[str],
    flavor_id: FromPath[str],
) -> None:
    """Delete a flavor that no version uses."""
    await refuse_body(request)
    await catalogue.flavors.delete(provider, service_id, flavor_id)


@get(f"{_FLAVOR}/executable-load-files")
async def list_linked_elfs(
    request: AnyRequest,
    provider: Provider,
    catalogue: Catalogue,
    service_id: FromPath[str],
    flavor_id: FromPath[str],
) -> list[Document]:
    """Return the load files of a flavor."""
    await refuse_body(request)
    return await catalogue.flavors.load_files(provider, service_id, flavor_id)


@post(f"{_FLAVOR}/executable-load-files", status_code=200)
async def link_elfs(
    request: AnyRequest,
    provider: Provider,
    catalogue: Catalogue,
    service_id: FromPath[str],
    flavor_id: FromPath[str],
) -> Document:
    """Add load files to a flavor."""
    return await catalogue.flavors.link(provider, service_id, flavor_id, await read_json(request))


@put(f"{_FLAVOR}/executable-load-files")
async def unlink_elfs(
    request: AnyRequest,
    provider: Provider,
    catalogue: Catalogue,
    service_id: FromPath[str],
    flavor_id: FromPath[str],
) -> Document:
    """Take load files out of a flavor: in TR-03165 PUT removes."""
    return await catalogue.flavors.unlink(provider, service_id, flavor_id, await read_json(request))


@post(f"{_FLAVOR}/publish", status_code=200)
async def publish_flavor(
    request: AnyRequest,
    provider: Provider,
    catalogue: Catalogue,
    service_id: FromPath[str],
    flavor_id: FromPath[str],
) -> Document:
    """Publish a flavor."""
    await refuse_body(request)
    return await catalogue.flavors.publish(provider, service_id, flavor_id)


# --- versions ----------------------------------------------------------------------------------


@get(_VERSIONS)
async def list_versions(
    request: AnyRequest, provider: Provider, catalogue: Catalogue, service_id: FromPath[str]
) -> list[Document]:
    """Return the versions of a service."""
    await refuse_body(request)
    return await catalogue.versions.all(provider, service_id)


@post(_VERSIONS, status_code=200)
async def create_version(
    request: AnyRequest, provider: Provider, catalogue: Catalogue, service_id: FromPath[str]
) -> Document:
    """Create a version."""
    return await catalogue.versions.create(provider, service_id, await read_json(request))


@get(_VERSION)
async def get_version(
    request: AnyRequest,
    provider: Provider,
    catalogue: Catalogue,
    service_id: FromPath[str],
    tag: FromPath[str],
) -> Document:
    """Return one version."""
    await refuse_body(request)
    return await catalogue.versions.get(provider, service_id, tag)


@delete(_VERSION)
async def delete_version(
    request: AnyRequest,
    provider: Provider,
    catalogue: Catalogue,
    service_id: FromPath[str],
    tag: FromPath[str],
) -> None:
    """Delete a version."""
    await refuse_body(request)
    await catalogue.versions.delete(provider, service_id, tag)


HANDLERS = [
    list_services,
    create_service,
    get_service,
    modify_service,
    delete_service,
    list_flavors,
    create_flavor,
    get_flavor,
    delete_flavor,
    list_linked_elfs,
    link_elfs,
    unlink_elfs,
    publish_flavor,
    list_versions,
    create_version,
    get_version,
    delete_version,
]
