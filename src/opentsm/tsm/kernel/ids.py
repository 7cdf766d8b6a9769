"""Identifiers. Every id of ours is a UUID in text form whose first bits are time (version 7)."""

from typing import NewType

TenantId = NewType("TenantId", str)
SeId = NewType("SeId", str)
DeviceId = NewType("DeviceId", str)
DeviceSessionId = NewType("DeviceSessionId", str)
ServiceId = NewType("ServiceId", str)
FlavorId = NewType("FlavorId", str)
InstanceId = NewType("InstanceId", str)
ArrangementId = NewType("ArrangementId", str)
SubscriptionId = NewType("SubscriptionId", str)
NetworkOperatorId = NewType("NetworkOperatorId", str)
ImportId = NewType("ImportId", str)
OperationId = NewType("OperationId", str)
SegmentId = NewType("SegmentId", str)
MessageId = NewType("MessageId", str)
KeyHandle = NewType("KeyHandle", str)
WebhookId = NewType("WebhookId", str)
DeliveryId = NewType("DeliveryId", str)
CampaignId = NewType("CampaignId", str)
ApprovalId = NewType("ApprovalId", str)
SubmissionId = NewType("SubmissionId", str)
