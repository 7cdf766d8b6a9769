"""Devices: enrolment codes, enrolment, tokens, sessions."""

from typing import Any

from litestar import Request, get, post
from litestar.params import FromPath, JSONBody

from opentsm.api.attempts import Door, proving
from opentsm.api.authentication import ANYBODY, DEVICES, Caller
from opentsm.api.bodies import ANONYMOUS_BYTES
from opentsm.api.container import Services
from opentsm.api.idempotency import SECRET_ANSWER
from opentsm.api.v1 import messages as m
from opentsm.api.v1 import views
from opentsm.api.v1.paging import After, Limit, read_page
from opentsm.tsm.kernel.errors import UnauthenticatedError
from opentsm.tsm.kernel.ids import DeviceId, SeId
from opentsm.tsm.roles.hub.assertions import key_id

_TAG = ["devices"]


@post("/device-enrolments", opt=SECRET_ANSWER, tags=_TAG, summary="Offer an enrolment (issuer)")
async def offer_enrolment(
    principal: Caller, container: Services, data: JSONBody[m.NewEnrolment]
) -> m.Enrolment:
    """Make a one-time code. A device that enrols for a secure element ends its binding to an earlier one."""
    se_id = None if data.se_id is None else SeId(data.se_id)
    code, expires_at = await container.onboarding.offer_enrolment(principal, se_id)
    return m.Enrolment(code=code, expires_at=expires_at)


@post(
    "/devices",
    opt=ANYBODY,
    tags=_TAG,
    security=[],
    summary="Enrol a device (by one-time code)",
    request_max_body_size=ANONYMOUS_BYTES,
)
async def enrol_device(
    request: Request[Any, Any, Any], container: Services, data: JSONBody[m.NewDevice]
) -> m.EnrolledDevice:
    """Enrol a device with its public key; the same code and key again give the same device."""
    with proving(request.scope, Door.ENROLMENT):
        device = await container.onboarding.enrol_device(data.code, data.public_key, data.name)
    return m.EnrolledDevice(id=device.id)


@get("/devices", tags=_TAG, summary="List devices (issuer)")
async def list_devices(
    principal: Caller, container: Services, limit: Limit = 50, after: After = None
) -> m.DevicePage:
    """Return the issuer's devices by id, revoked ones too."""
    items, following = await read_page(
        lambda page: container.onboarding.devices(principal, page), lambda device: device.id, limit, after
    )
    return m.DevicePage(items=[views.device(device) for device in items], next=following)


@get("/devices/{device_id:str}", tags=_TAG, summary="Show a device (issuer, operator)")
async def show_device(principal: Caller, container: Services, device_id: FromPath[str]) -> m.DeviceAnswer:
    """Return a device."""
    return views.device(await container.onboarding.device(principal, DeviceId(device_id)))


@post(
    "/devices/{device_id:str}/revocations",
    tags=_TAG,
    status_code=200,
    summary="Revoke a device for good (issuer, operator)",
)
async def revoke_device(principal: Caller, container: Services, device_id: FromPath[str]) -> m.DeviceAnswer:
    """End the device's tokens and sessions at once; it gets no new ones and no further order."""
    return views.device(await container.onboarding.revoke_device(principal, DeviceId(device_id)))


@post(
    "/device-tokens",
    opt=ANYBODY,
    tags=_TAG,
    security=[],
    status_code=200,
    summary="Fetch a device's token (by assertion)",
    request_max_body_size=ANONYMOUS_BYTES,
)
async def issue_device_token(
    request: Request[Any, Any, Any], container: Services, data: JSONBody[m.AssertionBody]
) -> m.DeviceToken:
    """Exchange an assertion, which is good once, for a short-term token."""
    with proving(request.scope, Door.ASSERTION, _claimed_device(data.assertion)):
        issued = await container.onboarding.issue_device_token(data.assertion)
    return m.DeviceToken(token=issued.token, expires_in=issued.expires_in_s)


@post(
    "/device-sessions",
    opt={**DEVICES, **SECRET_ANSWER},
    tags=_TAG,
    summary="Open a session for a secure element (device)",
)
async def open_device_session(
    principal: Caller, container: Services, data: JSONBody[m.NewDeviceSession]
) -> m.OpenedDeviceSession:
    """Open a session; its id is useless without the token of the same device."""
    opened = await container.onboarding.open_device_session(principal, data.se.id)
    return m.OpenedDeviceSession(session_id=opened.session_id, expires_in=opened.expires_in_s)


def _claimed_device(assertion: str) -> str | None:
    try:
        return key_id(assertion)
    except UnauthenticatedError:
        return None
