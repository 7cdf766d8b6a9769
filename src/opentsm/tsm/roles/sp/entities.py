"""The entities of TR-03165 §4.1.4 that a service provider writes, attribute by attribute.

What holds between attributes stands in the desks, and in `provisioning_rules`.
"""

from opentsm.tsm.roles.sp import forms as f
from opentsm.tsm.roles.sp.card_settings import PRIVILEGES
from opentsm.tsm.roles.sp.forms import Access, Attribute, Form

EXTRADITE = "extradite"
UNDER_ISSUER_DOMAIN = "underIssuerDomain"
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
        "name": Attribute(f.text, mandatory=True),
        "accessAuthorizedDeviceApps": Attribute(f.list_of(f.device_app)),
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
        "keyProvisioningMode": Attribute(f.integer(0, 3)),
        "keyIndex": Attribute(f.text),
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
                    "provideAttestationToken": Attribute(f.boolean),
                    "includeSecurityDomainDiversificationData": Attribute(f.boolean),
                },
            )
        ),
    },
)
