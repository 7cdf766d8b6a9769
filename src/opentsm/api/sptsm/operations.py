"""The operations of TR-03165 §4.1.6, as one table: routes and description are made of it.

Names of operations and path parameters are those of the published OpenAPI document. Every use case takes the
provider, then the path parameters in their order, then the body. Certificates and online systems stand in
`online_systems`, the *related* lists in `related`.
"""

from opentsm.api.sptsm.online_systems import ONLINE_SYSTEMS
from opentsm.api.sptsm.related import RELATED
from opentsm.api.sptsm.table import Body, Operation, UseCase, create, delete, file, get, list_, modify
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.roles.sp.catalogue import SpCatalogue
from opentsm.tsm.roles.sp.forms import Document

_SERVICE = "/services/{serviceId}"
_FLAVOR = f"{_SERVICE}/flavors/{{flavorId}}"
_LINKS = f"{_FLAVOR}/executable-load-files"
_VERSION = f"{_SERVICE}/versions/{{tag}}"
_ELF = "/executable-load-files/{elfId}"
_CONFIG = "/application-configs/{applicationConfigId}"
_SCRIPT = "/personalization-scripts/{personalizationScriptId}"


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
    get(
        "/service-providers/current", "getAccountInformation", "ServiceProvider", "Show the account", _account
    ),
    get(
        "/serviceproviders/current",
        "getAccountInformationAsInDocument",
        "ServiceProvider",
        "Show the account, by the path of the OpenAPI document",
        _account,
    ),
)
_PROFILES = (
    list_(
        "/secure-component-profiles",
        "listSecureComponentProfiles",
        "SecureComponentProfile",
        "List the profiles of cards",
        _profiles,
    ),
    get(
        "/secure-component-profiles/{scpId}",
        "getSecureComponentProfile",
        "SecureComponentProfile",
        "Show a profile",
        _profile,
    ),
)
_SERVICES = (
    list_("/services", "listServices", "Service", "List the services", lambda c: c.services.all),
    create("/services", "createService", "Service", "Create a service", lambda c: c.services.create),
    get(_SERVICE, "getService", "Service", "Show a service", lambda c: c.services.get),
    modify(
        _SERVICE,
        "modifyService",
        "Service",
        "Replace what may be edited of a service",
        lambda c: c.services.modify,
    ),
    delete(
        _SERVICE, "deleteService", "Delete a service, its versions and flavors", lambda c: c.services.delete
    ),
)
_FLAVORS = (
    list_(
        f"{_SERVICE}/flavors", "listFlavors", "Flavor", "List a service's flavors", lambda c: c.flavors.all
    ),
    create(f"{_SERVICE}/flavors", "createFlavor", "Flavor", "Create a flavor", lambda c: c.flavors.create),
    get(_FLAVOR, "getFlavor", "Flavor", "Show a flavor", lambda c: c.flavors.get),
    modify(
        _FLAVOR,
        "modifyFlavor",
        "Flavor",
        "Replace what may be edited of a flavor",
        lambda c: c.flavors.modify,
    ),
    delete(_FLAVOR, "deleteFlavor", "Delete a flavor that no version uses", lambda c: c.flavors.delete),
    list_(
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
    list_(
        f"{_SERVICE}/versions",
        "listVersions",
        "Version",
        "List a service's versions",
        lambda c: c.versions.all,
    ),
    create(
        f"{_SERVICE}/versions", "createVersion", "Version", "Create a version", lambda c: c.versions.create
    ),
    get(_VERSION, "getVersion", "Version", "Show a version", lambda c: c.versions.get),
    modify(
        _VERSION,
        "modifyVersion",
        "Version",
        "Replace the deployments of a version",
        lambda c: c.versions.modify,
    ),
    delete(_VERSION, "deleteVersion", "Delete a version", lambda c: c.versions.delete),
    list_(
        f"{_VERSION}/flavors",
        "listLinkedFlavors",
        "Flavor",
        "List a version's flavors",
        lambda c: c.versions.flavors,
    ),
    Operation(
        "POST",
        f"{_VERSION}/flavors",
        "linkFlavors",
        "Add flavors to a version, each with its card profiles",
        lambda c: c.versions.link_flavors,
        "Version",
        body=Body.JSON,
        takes="ProfilesOfFlavors",
    ),
    Operation(
        "PUT",
        f"{_VERSION}/flavors",
        "unlinkFlavors",
        "Take flavors out of a version: in TR-03165 PUT removes",
        lambda c: c.versions.unlink_flavors,
        "Version",
        body=Body.JSON,
        takes="Ids",
    ),
    list_(
        f"{_VERSION}/flavors/{{flavorId}}/secure-component-profiles",
        "listAssociatedSecureComponentProfiles",
        "SecureComponentProfile",
        "List the card profiles that get a flavor in a version",
        lambda c: c.versions.profiles_of_flavor,
    ),
    list_(
        f"{_VERSION}/secure-component-profiles",
        "listLinkedSecureComponentProfiles",
        "SecureComponentProfile",
        "List a version's card profiles",
        lambda c: c.versions.linked_profiles,
    ),
    Operation(
        "POST",
        f"{_VERSION}/secure-component-profiles",
        "linkSecureComponentProfiles",
        "Add card profiles to a version, each with its flavor",
        lambda c: c.versions.link_profiles,
        "Version",
        body=Body.JSON,
        takes="FlavorsOfProfiles",
    ),
    Operation(
        "PUT",
        f"{_VERSION}/secure-component-profiles",
        "unlinkSecureComponentProfiles",
        "Take card profiles out of a version: in TR-03165 PUT removes",
        lambda c: c.versions.unlink_profiles,
        "Version",
        body=Body.JSON,
        takes="Ids",
    ),
)
_LOAD_FILES = (
    list_(
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
    get(_ELF, "getElf", "ExecutableLoadFile", "Show a load file", lambda c: c.load_files.get),
    Operation(
        "PUT",
        _ELF,
        "modifyElfAndOverwriteBinary",
        "Replace the file of a load file that no published flavor uses",
        lambda c: c.load_files.replace,
        "ExecutableLoadFile",
        body=Body.LOAD_FILE,
    ),
    delete(_ELF, "deleteElf", "Delete a load file that no flavor uses", lambda c: c.load_files.delete),
    file(f"{_ELF}/binary", "getElfBinary", "Fetch the file as uploaded", lambda c: c.load_files.binary),
    list_(
        f"{_ELF}/executable-modules",
        "listEms",
        "ExecutableModule",
        "List a load file's modules",
        lambda c: c.load_files.modules,
    ),
    get(
        f"{_ELF}/executable-modules/{{emId}}",
        "getEm",
        "ExecutableModule",
        "Show a module",
        lambda c: c.load_files.module,
    ),
)
_CONFIGURATIONS = (
    list_(
        "/application-configs",
        "listAppConfigs",
        "ApplicationConfig",
        "List the application configurations",
        lambda c: c.configurations.all,
    ),
    create(
        "/application-configs",
        "createAppConfig",
        "ApplicationConfig",
        "Create an application configuration",
        lambda c: c.configurations.create,
    ),
    get(
        _CONFIG,
        "getAppConfig",
        "ApplicationConfig",
        "Show an application configuration",
        lambda c: c.configurations.get,
    ),
    modify(
        _CONFIG,
        "modifyAppConfig",
        "ApplicationConfig",
        "Replace what may be edited of an application configuration",
        lambda c: c.configurations.modify,
    ),
    delete(
        _CONFIG,
        "deleteAppConfig",
        "Delete an application configuration that no flavor uses",
        lambda c: c.configurations.delete,
    ),
)
_SCRIPTS = (
    list_(
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
    get(
        _SCRIPT,
        "getPersoScript",
        "PersonalizationScript",
        "Show a personalisation script",
        lambda c: c.scripts.get,
    ),
    Operation(
        "PUT",
        _SCRIPT,
        "modifyPersoScriptAndOverwriteBinary",
        "Replace the file of a personalisation script",
        lambda c: c.scripts.replace,
        "PersonalizationScript",
        body=Body.SCRIPT,
    ),
    delete(
        _SCRIPT,
        "deletePersoScript",
        "Delete a personalisation script that no configuration uses",
        lambda c: c.scripts.delete,
    ),
    file(
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
    *ONLINE_SYSTEMS,
    *RELATED,
)
