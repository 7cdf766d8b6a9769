"""The entities of TR-03165 §4.1.4 that a service provider writes, attribute by attribute.

What the TSM does not do yet (key provisioning modes, attestation tokens) is refused here, not ignored.
"""

from opentsm.tsm.roles.sp import forms as f
from opentsm.tsm.roles.sp.forms import Access, Attribute, Form

EXTRADITE = "extradite"
UNDER_ISSUER_DOMAIN = "underIssuerDomain"
PRIVILEGES = ("CVMManagement", "ContactlessSelfActivation", "GlobalService")
DEFAULT_PRIORITY = 255

_ASSIGNED = Attribute(f.text, access=Access.ASSIGNED)
_TEXT = Attribute(f.text)
_TEXTS = Attribute(f.map_to(f.text))

SERVICE = Form(
    "Service",
    {
        "id": _ASSIGNED,
        "spId": _ASSIGNED,
        "creationDate": _ASSIGNED,
        "sdAid": _ASSIGNED,
        "name": Attribute(f.name, mandatory=True),
        "accessAuthorizedDeviceApps": Attribute(f.list_of(f.aid)),
        "sposConfigId": Attribute(f.reference),
        "spParameters": _TEXTS,
    },
)

_FEATURES = f.nested(
    "FeatureConfig",
    {
        "useCspFull": Attribute(f.boolean),
        "genericOptions": Attribute(
            f.nested(
                "FeatureConfig",
                {EXTRADITE: Attribute(f.boolean), UNDER_ISSUER_DOMAIN: Attribute(f.boolean)},
            )
        ),
        "keyProvisioningMode": Attribute(f.only(0, "0: this TSM provisions no other keys yet")),
        "keyIndex": Attribute(f.only("", "the empty string, as keyProvisioningMode is 0")),
    },
)

_INSTANTIATION = f.nested(
    "ApplicationInstantiationConfig",
    {
        "priority": Attribute(f.integer(1, DEFAULT_PRIORITY)),
        "executableModuleId": Attribute(f.reference, mandatory=True),
        "applicationConfigId": Attribute(f.reference, mandatory=True),
    },
)

FLAVOR = Form(
    "Flavor",
    {
        "id": _ASSIGNED,
        "serviceId": _ASSIGNED,
        "creationDate": _ASSIGNED,
        "published": Attribute(f.boolean, access=Access.ASSIGNED),
        "name": _TEXT,
        "description": _TEXT,
        "executableLoadFileIds": Attribute(f.list_of(f.reference)),
        "applicationInstantiationConfigs": Attribute(f.list_of(_INSTANTIATION)),
        "spParameters": _TEXTS,
        "featureConfig": Attribute(_FEATURES),
        "contextSpecificAttributes": _TEXTS,
    },
)

VERSION = Form(
    "Version",
    {
        "tag": Attribute(f.tag, mandatory=True, access=Access.FIXED),
        "serviceId": _ASSIGNED,
        "allowedDeployments": Attribute(f.map_to(f.list_of(f.reference)), mandatory=True),
    },
)

SPOS_CONFIG = Form(
    "SposConfig",
    {
        "id": _ASSIGNED,
        "spId": _ASSIGNED,
        "url": Attribute(f.https_url, mandatory=True),
        "certificateId": Attribute(f.reference, mandatory=True),
    },
)

_NOT_YET = "false: this TSM makes no attestation tokens yet"
APPLICATION_CONFIG = Form(
    "ApplicationConfig",
    {
        "id": _ASSIGNED,
        "spId": _ASSIGNED,
        "instanceAid": Attribute(f.aid, mandatory=True),
        "name": _TEXT,
        "description": _TEXT,
        "installConfig": Attribute(
            f.nested(
                "InstallConfig",
                {
                    "applicationSpecificInstallParameter": Attribute(f.tlv),
                    "privileges": Attribute(f.list_of(f.one_of(*PRIVILEGES))),
                },
            )
        ),
        "activationConfig": Attribute(
            f.nested(
                "ActivationConfig",
                {
                    "makeSelectable": Attribute(f.boolean),
                    "accessibleViaApdu": Attribute(f.boolean),
                    "accessibleViaNfc": Attribute(f.boolean),
                },
            )
        ),
        "personalizationConfig": Attribute(
            f.nested(
                "PersonalizationConfig",
                {
                    "personalizationScriptId": Attribute(f.reference),
                    "certificateId": Attribute(f.reference),
                    "provideAttestationToken": Attribute(f.only(False, _NOT_YET)),
                    "includeSecurityDomainDiversificationData": Attribute(f.only(False, _NOT_YET)),
                },
            )
        ),
    },
)
