"""What a sandbox has beside its server: demo tenants, and virtual cards with agents in the same process."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from opentsm.agent.backoff import Patience
from opentsm.agent.device_key import StateDirectory
from opentsm.agent.enrolment import enrolled_identity
from opentsm.agent.http_exchange import http_client
from opentsm.agent.loop import LocalAgent, LoopSettings
from opentsm.agent.messages import SecureElement
from opentsm.agent.readers import Reader
from opentsm.agent.server_link import LinkSettings, ServerLink
from opentsm.demo.cards import DemoCard, issue_card, new_masters
from opentsm.demo.http_api import SPTSM_PATH, Json, open_client
from opentsm.demo.parties import (
    Parties,
    enrolment_code,
    import_master,
    register_card,
    register_parties,
)
from opentsm.vse.card import VirtualCard

FOREVER: Final = LinkSettings(patience=Patience(give_up_after_s=None))


@dataclass(frozen=True, slots=True)
class Playground:
    """A furnished sandbox."""

    base_url: str
    operator_token: str
    parties: Parties
    cards: tuple[DemoCard, ...]
    device_state: Path

    def document(self) -> Json:
        """Return what a user needs to know; the tokens are those of this sandbox only."""
        return {
            "base_url": self.base_url,
            "sptsm_url": f"{self.base_url}{SPTSM_PATH}",
            "sp_token": self.parties.provider_token,
            "issuer_token": self.parties.issuer_token,
            "operator_token": self.operator_token,
            "device_state": str(self.device_state),
            "ses": [
                {"id": card.id, "identifier": card.se_id, "profile": card.profile.name} for card in self.cards
            ],
        }


@asynccontextmanager
async def furnished(
    base_url: str,
    operator_token: str,
    profiles: Sequence[str],
    state: Path,
    reader_of: Callable[[VirtualCard], Reader],
) -> AsyncIterator[Playground]:
    """Register tenants and cards, and run an agent for each card.

    Args:
        base_url: of the running server.
        operator_token: the operator's.
        profiles: of the cards, one each.
        state: directory of the device's key and journals.
        reader_of: makes the agent's reader of a card.

    Raises:
        ApiError: the server refused.
        LinkError: the device could not be enrolled.
    """
    async with open_client(base_url) as client:
        names = f"Sandbox {secrets.token_hex(2)}"
        parties = await register_parties(client, operator_token, names=names, sandbox=True)
        masters = new_masters()
        for master in masters.values():
            await import_master(parties.issuer, master)
        cards = tuple(issue_card(f"SE {n}", profile, masters) for n, profile in enumerate(profiles, 1))
        for card in cards:
            await register_card(parties.issuer, card)
        code = await enrolment_code(parties.issuer)
        async with _agents(base_url, code, cards, state, reader_of):
            yield Playground(base_url, operator_token, parties, cards, state)


@asynccontextmanager
async def _agents(
    base_url: str,
    code: str,
    cards: Sequence[DemoCard],
    state: Path,
    reader_of: Callable[[VirtualCard], Reader],
) -> AsyncIterator[None]:
    directory = StateDirectory(state)
    try:
        async with http_client(base_url) as client:
            identity = await enrolled_identity(directory, client, code, "sandbox device", settings=FOREVER)
            link = ServerLink(client, identity, settings=FOREVER)
            agents = [
                LocalAgent(
                    SecureElement("eSE", card.se_id),
                    reader_of(card.card),
                    directory.journal_store(card.se_id),
                    link,
                    settings=LoopSettings(come_back=True),
                )
                for card in cards
            ]
            tasks = [asyncio.create_task(agent.run()) for agent in agents]
            try:
                yield
            finally:
                for agent in agents:
                    agent.leave()
                await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        directory.close()
