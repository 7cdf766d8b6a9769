"""Access tokens that the device fetches itself, for services that their provider marked as self-service.

The installation hands them out for one service on this device; no server of the provider is needed. Ours, not
the guideline's: docs/reference/device-api.md.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from opentsm.sdk.backend import Backend

PATH: Final = "/v1/self-service-tokens"
_USED_OF_LIFE: Final = 0.9  # what is left is for the call that is made with it


class IssuedAccessToken(msgspec.Struct, frozen=True, kw_only=True):
    """The server's answer."""

    token: str
    expires_in: float

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


@dataclass(frozen=True, slots=True)
class HeldToken:
    """A token, and the moment (seconds since 1970) from which a new one is fetched.

    An app may keep it, where only itself can read, for its next start: a device gets few.
    """

    value: str = field(repr=False)
    renew_at: float


class SelfServiceToken:
    """Fetches an access token when one is needed, keeps it, and renews it in time.

    Args:
        backend: reaches the TSM.
        names: the service, or one of its instances, as the request names it.
        held: a token from an earlier start.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        backend: Backend,
        names: Mapping[str, str],
        held: HeldToken | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.held = held
        self._backend = backend
        self._names = dict(names)
        self._clock = clock
        self._lock = asyncio.Lock()

    async def __call__(self) -> str:
        """Return a token that is good.

        Raises:
            NotFoundError: no such service is offered to devices.
            NotAllowedError: this device can have no version of it.
            OverloadProtectionError: this device has as many tokens as the provider allows.
            NotAuthenticatedError: the device is not known.
        """
        async with self._lock:
            if self.held is None or self.held.renew_at <= self._clock():
                begun = self._clock()
                issued = await self._backend.post_as_device(PATH, self._names, IssuedAccessToken)
                self.held = HeldToken(issued.token, begun + _USED_OF_LIFE * issued.expires_in)
            return self.held.value
