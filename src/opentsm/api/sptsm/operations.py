"""The operations of TR-03165 §4.1.6 that are served, as one table: routes and description are made of it.

Names of operations and path parameters are those of the published OpenAPI document. Every use case takes the
provider, then the path parameters in their order, then the body.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.roles.sp.catalogue import SpCatalogue
from opentsm.tsm.roles.sp.forms import Document

UseCase = Callable[..., Awaitable[Any]]


class Body(Enum):
    """What a request carries: nothing, a JSON document, or a form with one file."""

    NONE = "none"
    JSON = "json"
    LOAD_FILE = "elf"
    SCRIPT = "script"


class Answer(Enum):
    """What comes back: one document, a list of them, a file, or nothing."""

    ONE = "one"
    LIST = "list"
    FILE = "file"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: `schema` names what the answer holds, `takes` what the body holds."""

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    id: str
    summary: str
    use_case: Callable[[SpCatalogue], UseCase]
    schema: str = ""
    answer: Answer = Answer.ONE
    body: Body = Body.NONE
    takes: str = ""


_SERVICE = "/services/{serviceId}"
_FLAVOR = f"{_SERVICE}/flavors/{{flavorId}}"
_LINKS = f"{_FLAVOR}/executable-load-files"
_VERSION = f"{_SERVICE}/versions/{{tag}}"
_ELF = "/executable-load-files/{elfId}"
_CONFIG = "/application-configs/{applicationConfigId}"
_SCRIPT = "/personalization-scripts/{personalizationScriptId}"


def _get(
    path: str, id_: str, schema: str, summary: str, use_case: Callable[[SpCatalogue], UseCase]
) -> Operation:
    return Operation("GET", path, id_, summary, use_case, schema)


def _list(
    path: str, id_: str, schema: str, summary: str, use_case: Callable[[SpCatalogue], UseCase]
) -> Operation:
    return Operation("GET", path, id_, summary, use_case, schema, Answer.LIST)


def _file(path: str, id_: str, summary: str, use_case: Callable[[SpCatalogue], UseCase]) -> Operation:
    return Operation("GET", path, id_, summary, use_case, answer=Answer.FILE)


def _create(
    path: str, id_: str, schema: str, summary: str, use_case: Callable[[SpCatalogue], UseCase]
) -> Operation:
    return Operation("POST", path, id_, summary, use_case, schema, body=Body.JSON, takes=f"New{schema}")


def _delete(path: str, id_: str, summary: str, use_case: Callable[[SpCatalogue], UseCase]) -> Operation:
    return Operation("DELETE", path, id_, summary, use_case, answer=Answer.NOTHING)


def _account(catalogue: SpCatalogue) -> UseCase:
    return catalogue.access.account


def _profiles(catalogue: SpCatalogue) -> UseCase:
    async def every(_provider: TenantId) -> list[Document]:
        return catalogue.profiles.all()

    return every


def _profile(catalogue: SpCatalogue) -> UseCase:
    async def one(_provider: TenantId, id_: str) -> Document:
        return catalogue.profiles.get(id_)

    return one


_ACCOUNT = (
    _get(
        "/service-providers/current", "getAccountInformation", "ServiceProvider", "Show the account", _account
    ),
    _get(
        "/serviceproviders/current",
        "getAccountInformationAsInDocument",
        "ServiceProvider",
        "Show the account, by the path of the OpenAPI document",
        _account,
    ),
)
_PROFILES = (
    _list(
        "/secure-component-profiles",
        "listSecureComponentProfiles",
        "SecureComponentProfile",
        "List the profiles of cards",
        _profiles,
    ),
    _get(
        "/secure-component-profiles/{scpId}",
        "getSecureComponentProfile",
        "SecureComponentProfile",
        "Show a profile",
        _profile,
    ),
)
_SERVICES = (
    _list("/services", "listServices", "Service", "List the services", lambda c: c.services.all),
    _create("/services", "createService", "Service", "Create a service", lambda c: c.services.create),
    _get(_SERVICE, "getService", "Service", "Show a service", lambda c: c.services.get),
    Operation(
        "PUT",
        _SERVICE,
        "modifyService",
        "Replace what may be edited of a service",
        lambda c: c.services.modify,
        "Service",
        body=Body.JSON,
        takes="NewService",
    ),
    _delete(
        _SERVICE, "deleteService", "Delete a service, its versions and flavors", lambda c: c.services.delete
    ),
)
_FLAVORS = (
    _list(
        f"{_SERVICE}/flavors", "listFlavors", "Flavor", "List a service's flavors", lambda c: c.flavors.all
    ),
    _create(f"{_SERVICE}/flavors", "createFlavor", "Flavor", "Create a flavor", lambda c: c.flavors.create),
    _get(_FLAVOR, "getFlavor", "Flavor", "Show a flavor", lambda c: c.flavors.get),
    _delete(_FLAVOR, "deleteFlavor", "Delete a flavor that no version uses", lambda c: c.flavors.delete),
    _list(
        _LINKS,
        "listLinkedElfs",
        "ExecutableLoadFile",
        "List a flavor's load files",
        lambda c: c.flavors.load_files,
    ),
    Operation(
        "POST",
        _LINKS,
        "linkElfs",
        "Add load files to a flavor",
        lambda c: c.flavors.link,
        "Flavor",
        body=Body.JSON,
        takes="Ids",
    ),
    Operation(
        "PUT",
        _LINKS,
        "unlinkElfs",
        "Take load files out of a flavor: in TR-03165 PUT removes",
        lambda c: c.flavors.unlink,
        "Flavor",
        body=Body.JSON,
        takes="Ids",
    ),
    Operation(
        "POST",
        f"{_FLAVOR}/publish",
        "publishFlavor",
        "Publish a flavor: it never changes again",
        lambda c: c.flavors.publish,
        "Flavor",
    ),
)
_VERSIONS = (
    _list(
        f"{_SERVICE}/versions",
        "listVersions",
        "Version",
        "List a service's versions",
        lambda c: c.versions.all,
    ),
    _create(
        f"{_SERVICE}/versions", "createVersion", "Version", "Create a version", lambda c: c.versions.create
    ),
    _get(_VERSION, "getVersion", "Version", "Show a version", lambda c: c.versions.get),
    _delete(_VERSION, "deleteVersion", "Delete a version", lambda c: c.versions.delete),
)
_LOAD_FILES = (
    _list(
        "/executable-load-files",
        "listElfs",
        "ExecutableLoadFile",
        "List the load files",
        lambda c: c.load_files.all,
    ),
    Operation(
        "POST",
        "/executable-load-files",
        "createElfAndUploadBinary",
        "Upload a CAP file or raw load file",
        lambda c: c.load_files.upload,
        "ExecutableLoadFile",
        body=Body.LOAD_FILE,
    ),
    _get(_ELF, "getElf", "ExecutableLoadFile", "Show a load file", lambda c: c.load_files.get),
    _delete(_ELF, "deleteElf", "Delete a load file that no flavor uses", lambda c: c.load_files.delete),
    _file(f"{_ELF}/binary", "getElfBinary", "Fetch the file as uploaded", lambda c: c.load_files.binary),
    _list(
        f"{_ELF}/executable-modules",
        "listEms",
        "ExecutableModule",
        "List a load file's modules",
        lambda c: c.load_files.modules,
    ),
    _get(
        f"{_ELF}/executable-modules/{{emId}}",
        "getEm",
        "ExecutableModule",
        "Show a module",
        lambda c: c.load_files.module,
    ),
)
_CONFIGURATIONS = (
    _list(
        "/application-configs",
        "listAppConfigs",
        "ApplicationConfig",
        "List the application configurations",
        lambda c: c.configurations.all,
    ),
    _create(
        "/application-configs",
        "createAppConfig",
        "ApplicationConfig",
        "Create an application configuration",
        lambda c: c.configurations.create,
    ),
    _get(
        _CONFIG,
        "getAppConfig",
        "ApplicationConfig",
        "Show an application configuration",
        lambda c: c.configurations.get,
    ),
    _delete(
        _CONFIG,
        "deleteAppConfig",
        "Delete an application configuration that no flavor uses",
        lambda c: c.configurations.delete,
    ),
)
_SCRIPTS = (
    _list(
        "/personalization-scripts",
        "listPersoScripts",
        "PersonalizationScript",
        "List the personalisation scripts",
        lambda c: c.scripts.all,
    ),
    Operation(
        "POST",
        "/personalization-scripts",
        "createPersoScriptAndUploadBinary",
        "Upload a personalisation script",
        lambda c: c.scripts.upload,
        "PersonalizationScript",
        body=Body.SCRIPT,
    ),
    _get(
        _SCRIPT,
        "getPersoScript",
        "PersonalizationScript",
        "Show a personalisation script",
        lambda c: c.scripts.get,
    ),
    _delete(
        _SCRIPT,
        "deletePersoScript",
        "Delete a personalisation script that no configuration uses",
        lambda c: c.scripts.delete,
    ),
    _file(
        f"{_SCRIPT}/binary",
        "getScriptBinary",
        "Fetch the script as uploaded",
        lambda c: c.scripts.binary,
    ),
)
OPERATIONS = (
    *_ACCOUNT,
    *_PROFILES,
    *_SERVICES,
    *_FLAVORS,
    *_VERSIONS,
    *_LOAD_FILES,
    *_CONFIGURATIONS,
    *_SCRIPTS,
)
