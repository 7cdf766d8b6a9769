"""The answer to a request that was carried out and whose answer was lost: made again from what it did."""

from typing import Any

from litestar import Response

from opentsm.api.container import ApiContainer
from opentsm.api.v1 import views
from opentsm.api.v1.approval_views import approval_view, asked_answer
from opentsm.api.v1.arrangement_views import arrangement_view
from opentsm.api.v1.delivery_views import delivery_view
from opentsm.api.v1.import_views import begun
from opentsm.api.v1.operations import accepted, deployed
from opentsm.api.v1.registry_views import network_operator
from opentsm.api.v1.release_messages import submission_view
from opentsm.tsm.domain.tenant import Principal
from opentsm.tsm.kernel.errors import InvariantError
from opentsm.tsm.kernel.ids import (
    ApprovalId,
    ArrangementId,
    DeliveryId,
    DeviceId,
    ImportId,
    NetworkOperatorId,
    OperationId,
    SeId,
    SubmissionId,
)
from opentsm.tsm.roles.hub.once import Deed

_OF_SECURE_ELEMENTS = ("secure-element.registered", "secure-element.reinstated", "secure-element.retired")


async def recall(
    container: ApiContainer, principal: Principal, deed: Deed, *, with_instance: bool
) -> Response[Any] | None:
    """Return the answer as it would be given now, or None when it held what nobody knows any more.

    Args:
        container: use cases.
        principal: who asks again.
        deed: what the request did.
        with_instance: whether the answer shows an operation together with its instance.
    """
    if deed.action.startswith("operation."):
        operation = await container.requests.operation(principal, OperationId(deed.subject))
        if not with_instance:
            return accepted(operation)
        if operation.instance_id is None:
            raise InvariantError("A deployment has no instance.")
        return deployed(await container.requests.instance(principal, operation.instance_id), operation)
    if deed.action in _OF_SECURE_ELEMENTS:
        se = await container.onboarding.secure_element(principal, SeId(deed.subject))
        created = deed.action == "secure-element.registered"
        return Response(
            views.secure_element(principal, se),
            status_code=201 if created else 200,
            headers={"Location": f"/v1/secure-elements/{se.id}"} if created else {},
        )
    if deed.action == "arrangement.created":
        arrangement = await container.arrangements.arrangement(principal, ArrangementId(deed.subject))
        headers = {"Location": f"/v1/arrangements/{arrangement.id}"}
        return Response(arrangement_view(arrangement), status_code=201, headers=headers)
    if deed.action in ("delivery.pinged", "delivery.retried"):
        delivery = await container.webhooks.delivery(principal, DeliveryId(deed.subject))
        return Response(delivery_view(delivery), status_code=201 if deed.action == "delivery.pinged" else 200)
    if deed.action == "import.begun":
        return begun(await container.imports.job(principal, ImportId(deed.subject)))
    if deed.action == "network-operator.registered":
        made = await container.registry.network_operator(principal, NetworkOperatorId(deed.subject))
        location = {"Location": f"/v1/network-operators/{made.id}"}
        return Response(network_operator(made), status_code=201, headers=location)
    if deed.action.startswith("approval."):
        approval = await container.approvals.approval(principal, ApprovalId(deed.subject))
        asked = deed.action == "approval.asked"
        return asked_answer(approval) if asked else Response(approval_view(approval), status_code=200)
    if deed.action.startswith("submission."):
        submission = await container.submissions.submission(principal, SubmissionId(deed.subject))
        first = deed.action == "submission.submitted"
        at = {"Location": f"/v1/applet-submissions/{submission.id}"} if first else {}
        return Response(submission_view(submission), status_code=201 if first else 200, headers=at)
    if deed.action == "device.revoked":
        return Response(
            views.device(await container.onboarding.device(principal, DeviceId(deed.subject))),
            status_code=200,
        )
    return None
