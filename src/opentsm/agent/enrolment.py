"""Makes a state directory that of an enrolled device: at most one one-time code is spent on it."""

import httpx

from opentsm.agent.clock import Clock
from opentsm.agent.device_key import DeviceIdentity, StateDirectory
from opentsm.agent.observer import Observer
from opentsm.agent.server_link import LinkSettings, enrol


async def enrolled_identity(
    state: StateDirectory,
    client: httpx.AsyncClient,
    code: str | None,
    name: str,
    *,
    clock: Clock | None = None,
    settings: LinkSettings | None = None,
    observer: Observer | None = None,
) -> DeviceIdentity:
    """Return the device of a state directory, enrolling it first if a code is still to be used.

    The key is on the disk before the server hears of it, so that a crash in between costs nothing.

    Args:
        state: the directory.
        client: reaches the server.
        code: the one-time code; None or the code used before for a device that is enrolled.
        name: what the operator will see.
        clock: pauses.
        settings: patience.
        observer: is told of retries.

    Raises:
        StateError: no device and no code, or another code than the one that was used.
        LinkError: the server refuses the code or cannot be reached.
    """
    if code is None or not state.needs_enrolment(code):
        return state.identity()
    key = state.key()
    device_id = await enrol(client, code, key, name, clock=clock, settings=settings, observer=observer)
    return state.enrolled(device_id, code)
