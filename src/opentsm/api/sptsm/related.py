"""The *related* lists of TR-03165 §4.1.6: what uses a card profile, a flavor, a load file and so on."""

from opentsm.api.sptsm.table import list_

_PROFILE = "/secure-component-profiles/{scpId}"
_FLAVOR = "/services/{serviceId}/flavors/{flavorId}"
_ELF = "/executable-load-files/{elfId}"
_CONFIG = "/application-configs/{applicationConfigId}"
_SCRIPT = "/personalization-scripts/{personalizationScriptId}"
_CERTIFICATE = "/certificates/{certificateId}"

RELATED = (
    list_(
        f"{_PROFILE}/elfs",
        "listScpRelatedElfs",
        "ExecutableLoadFile",
        "List the load files that some version brings to a card profile",
        lambda c: c.relations.load_files_of_profile,
    ),
    list_(
        f"{_PROFILE}/services",
        "listScpRelatedServices",
        "Service",
        "List the services that are for a card profile",
        lambda c: c.relations.services_of_profile,
    ),
    list_(
        f"{_PROFILE}/services/{{serviceId}}/flavors",
        "listScpRelatedFlavors",
        "Flavor",
        "List a service's flavors for a card profile",
        lambda c: c.relations.flavors_of_profile,
    ),
    list_(
        f"{_PROFILE}/services/{{serviceId}}/versions",
        "listScpRelatedVersions",
        "Version",
        "List a service's versions for a card profile",
        lambda c: c.relations.versions_of_profile,
    ),
    list_(
        f"{_FLAVOR}/application-configs",
        "listServiceRelatedAppConfigs",
        "ApplicationConfig",
        "List the application configurations of a flavor",
        lambda c: c.relations.configurations_of_flavor,
    ),
    list_(
        f"{_FLAVOR}/versions",
        "listServiceRelatedVersions",
        "Version",
        "List the versions that deploy a flavor",
        lambda c: c.relations.versions_of_flavor,
    ),
    list_(
        f"{_ELF}/executable-modules/{{emId}}/application-configs",
        "listElfRelatedAppConfigs",
        "ApplicationConfig",
        "List the application configurations of a module",
        lambda c: c.relations.configurations_of_module,
    ),
    list_(
        f"{_ELF}/services",
        "listElfRelatedServices",
        "Service",
        "List the services that use a load file",
        lambda c: c.relations.services_of_load_file,
    ),
    list_(
        f"{_ELF}/services/{{serviceId}}/flavors",
        "listElfRelatedFlavors",
        "Flavor",
        "List a service's flavors that use a load file",
        lambda c: c.relations.flavors_of_load_file,
    ),
    list_(
        f"{_ELF}/services/{{serviceId}}/versions",
        "listElfRelatedVersions",
        "Version",
        "List a service's versions that deploy a load file",
        lambda c: c.relations.versions_of_load_file,
    ),
    list_(
        f"{_ELF}/services/{{serviceId}}/secure-component-profiles",
        "listElfRelatedSecureComponentProfiles",
        "SecureComponentProfile",
        "List the card profiles to which a service brings a load file",
        lambda c: c.relations.profiles_of_load_file,
    ),
    list_(
        f"{_CONFIG}/executable-modules",
        "listAppConfigRelatedEms",
        "ExecutableModule",
        "List the modules that an application configuration is for",
        lambda c: c.relations.modules_of_configuration,
    ),
    list_(
        f"{_CONFIG}/exectable-modules",
        "listAppConfigRelatedEmsAsInOverview",
        "ExecutableModule",
        "The same by the path of the guideline's overview (§4.1.2.6)",
        lambda c: c.relations.modules_of_configuration,
    ),
    list_(
        f"{_CONFIG}/flavors",
        "listAppConfigRelatedFlavors",
        "Flavor",
        "List the flavors that apply an application configuration",
        lambda c: c.relations.flavors_of_configuration,
    ),
    list_(
        f"{_CONFIG}/services",
        "listAppConfigRelatedServices",
        "Service",
        "List the services that apply an application configuration",
        lambda c: c.relations.services_of_configuration,
    ),
    list_(
        f"{_SCRIPT}/application-configs",
        "listScriptRelatedAppConfigs",
        "ApplicationConfig",
        "List the application configurations that name a script",
        lambda c: c.relations.configurations_of_script,
    ),
    list_(
        f"{_SCRIPT}/flavors",
        "listScriptRelatedFlavors",
        "Flavor",
        "List the flavors that a script personalises",
        lambda c: c.relations.flavors_of_script,
    ),
    list_(
        f"{_SCRIPT}/services",
        "listScriptRelatedServices",
        "Service",
        "List the services that a script personalises",
        lambda c: c.relations.services_of_script,
    ),
    list_(
        f"{_CERTIFICATE}/application-configs",
        "listCertRelatedAppConfigs",
        "ApplicationConfig",
        "List the application configurations that name a certificate",
        lambda c: c.relations.configurations_of_certificate,
    ),
    list_(
        f"{_CERTIFICATE}/flavors",
        "listCertRelatedFlavors",
        "Flavor",
        "List the flavors with an application that names a certificate",
        lambda c: c.relations.flavors_of_certificate,
    ),
    list_(
        f"{_CERTIFICATE}/services",
        "listCertRelatedServices",
        "Service",
        "List the services that use a certificate",
        lambda c: c.relations.services_of_certificate,
    ),
    list_(
        f"{_CERTIFICATE}/spos-configs",
        "listCertRelatedSposConfigs",
        "SposConfig",
        "List the configurations of online systems that name a certificate",
        lambda c: c.relations.spos_configs_of_certificate,
    ),
    list_(
        "/spos-configs/{sposConfigId}/services",
        "listSposConfigRelatedServices",
        "Service",
        "List the services that report to an online system",
        lambda c: c.relations.services_of_spos_config,
    ),
)
