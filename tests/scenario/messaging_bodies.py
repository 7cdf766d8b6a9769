"""A body for every function of messaging that names what belongs to one party."""

from typing import Any

from opentsm.api.messaging.status_codes import OWNER

PATH = "POST /v1/messaging/"


def bodies(own: dict[str, str]) -> dict[str, Any]:
    """Return bodies by route; `own` has ids of the owner's things."""
    element = {"MobileSubscription": {"MSId_Alias": own["alias"]}}
    service = {"Service": {"ServiceId": own["service_id"]}}
    instance = {
        "ServiceInstanceReference": {"ReferenceOwner": OWNER, "Reference": own["instance_id"]},
    }
    conversation = {"ConversationID": int(own["conversation_id"])}
    install = {"ServiceCommand": [{"Command": "InstallServiceCommand"}]}
    named = {"ServiceInstanceReference": {"ReferenceOwner": "2.25.1", "Reference": "x"}}
    found: dict[str, Any] = {
        "GetMobileSubscriptionSEIdentifiers": element,
        "GetSEData": element,
        "GetSECapabilityProfileId": element,
        "CheckGlobalEligibility": element | service,
        "GetApplicationOrELFStatus": element | {"AID": ["F04F54534D020101"]},
        "GetSDFreeMemory": element,
        "LookupServiceInstanceReference": element | service,
        "DeclareServiceInstanceReference": element | service | named,
        "GetServiceInstanceReferenceDescriptor": instance,
        "GetServiceState": instance,
        "DeployService": instance | install,
        "UpgradeService": {
            "CurrentServiceInstanceReference": instance["ServiceInstanceReference"],
            "Service": {"ServiceId": own["service_id"], "ServiceVersion": "2.0.0"},
            **install,
        },
        "ExchangeServiceData": instance
        | {
            "ExchangeServiceDataCommand": [
                {"Command": "TopUp", "Amount": 1, "TransactionId": "0011223344556677"}
            ]
        },
        "SuspendOrResumeService": instance | {"SuspensionControl": True},
        "TerminateService": instance,
        "BeginConversation": element,
        "SendScript": conversation | {"CommandAPDU": ["00A4040008F04F54534D02010100"]},
        "EndConversation": conversation,
        "GetProcessResult": {"ProcessReference": own["operation_id"]},
        "GenerateDMToken": conversation | {"CCMCommand": ["80E40000024F00"], "FunctionCallIdentifier": "t"},
        "VerifyDMReceipt": conversation | {"CCMCommandStatus": ["9000"], "TokenCallIdentifier": "t"},
        "HandleSERenewalNotification": element
        | {"NewSecureElement": {"SEId_Generic": {"Id": own["se_id"], "Type": "OPENTSM"}}},
        "HandleMobileSubscriptionIdentifierChangedNotification": element
        | {"NewMobileSubscription": {"MSId_Alias": "another"}},
        "HandleMobileSubscriptionStatusChangeNotification": element | {"Status": "ENDED"},
        "HandleSEStatusChangeNotification": element | {"Status": "LOST"},
    }
    return {PATH + name: body for name, body in found.items()}
