"""Bodies about devices, their enrolment and their sessions."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from opentsm.api.v1.messages.base import Answer, Body, Name

SeType = Literal["eSE", "iSE", "uicc", "euicc", "ieuicc", "undefined"]


class NewEnrolment(Body, frozen=True, kw_only=True):
    """An enrolment to offer; with `se_id` the device may work only for that secure element."""

    se_id: str | None = None


class Enrolment(Answer, frozen=True, kw_only=True):
    """A one-time code, which is shown only once."""

    code: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class NewDevice(Body, frozen=True, kw_only=True):
    """A device that enrols: its code, its public key (JWK, P-256), its name."""

    code: Annotated[str, Meta(min_length=1, max_length=200)]
    public_key: dict[str, str]
    name: Name

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class EnrolledDevice(Answer, frozen=True, kw_only=True):
    """An enrolled device."""

    id: str


class DeviceAnswer(Answer, frozen=True, kw_only=True):
    """A device; `se_id` is the only secure element that it may work for, null: any of its issuer's."""

    id: str
    name: str
    se_id: str | None
    created_at: datetime
    revoked_at: datetime | None


class DevicePage(Answer, frozen=True, kw_only=True):
    """A page; `next` is the cursor for `after`, null on the last page."""

    items: list[DeviceAnswer]
    next: str | None


class AssertionBody(Body, frozen=True, kw_only=True):
    """A JWS (compact, ES256; header `kid` = device id; sub, aud "opentsm", iat, exp ≤ 60 s, jti)."""

    assertion: str

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class DeviceToken(Answer, frozen=True, kw_only=True):
    """A short-term bearer token."""

    token: str
    expires_in: float

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class SessionElement(Body, frozen=True, kw_only=True):
    """The secure element of a session, as SERAM names it."""

    type: SeType
    id: Annotated[str, Meta(min_length=1, max_length=64)]


class NewDeviceSession(Body, frozen=True, kw_only=True):
    """A session to open."""

    se: SessionElement


class OpenedDeviceSession(Answer, frozen=True, kw_only=True):
    """A session: its id goes into the query of the SERAM requests and is a secret."""

    session_id: str
    expires_in: float

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"
