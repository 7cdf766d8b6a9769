"""Puts a Local Agent, a card and a Remote Agent of the test tree together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.contract.seram_cards import FakeClock
from tests.contract.seram_server import CODE, SeramServer

from opentsm.agent.clock import Clock
from opentsm.agent.device_key import DeviceIdentity, DeviceKey
from opentsm.agent.http_exchange import http_client
from opentsm.agent.journal import MemoryStore, Store
from opentsm.agent.loop import LocalAgent
from opentsm.agent.messages import SecureElement
from opentsm.agent.readers import Reader
from opentsm.agent.server_link import LinkSettings, ServerLink, enrol

SE = SecureElement("eSE", "89001012012341234012345678901224")


@asynccontextmanager
async def linked(
    server: SeramServer, clock: Clock, settings: LinkSettings | None = None
) -> AsyncIterator[ServerLink]:
    """Enrol a device and give its link; pauses have their longest length."""
    async with http_client(server.url) as client:
        key = DeviceKey.generate()
        device = await enrol(client, CODE, key, "test device")
        settings = settings or LinkSettings(random=lambda: 1.0)
        yield ServerLink(client, DeviceIdentity(device, key), clock=clock, settings=settings)


def agent_for(link: ServerLink, card: Reader, store: Store | None = None, **more: Any) -> LocalAgent:
    """Make an agent for the card."""
    more.setdefault("clock", FakeClock())
    return LocalAgent(SE, card, store or MemoryStore(), link, **more)
