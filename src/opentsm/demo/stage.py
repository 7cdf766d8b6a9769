"""The demo's stage: a server and a device agent as real processes, virtual cards, one HTTP client.

The cards live in the demo's own process and listen on loopback ports, where the agent's TCP reader and, held
to them by `DemoCard.tap`, the terminals find them.
"""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from opentsm.demo.cards import DemoCard, MasterKey, issue_card, new_central_master, new_masters
from opentsm.demo.central.arranging import CENTRAL_SD
from opentsm.demo.http_api import open_client
from opentsm.demo.processes import Child

AGENT_PATIENCE_S = 20


@dataclass(slots=True)
class Stage:
    """Everything that the story happens on.

    `program` is the command that runs our command line; `directory` belongs to this run alone.
    """

    program: Sequence[str]
    directory: Path
    server: Child
    agent: Child
    base_url: str
    operator_token: str
    client: httpx.AsyncClient
    masters: dict[int, MasterKey]
    central: MasterKey
    cards: list[DemoCard]

    async def start_agent(self, code: str) -> None:
        """Start one agent for all cards; it enrols with the one-time code.

        Args:
            code: handed over in the environment, which other users cannot read.
        """
        command = [*self.program, "agent", "run", "--server", self.base_url, "--name", "demo device"]
        command += [
            "--state",
            str(self.directory / "agent"),
            "--patience",
            str(AGENT_PATIENCE_S),
            "--attached",
        ]
        for card in self.cards:
            command += ["--reader", f"vpcd:127.0.0.1:{card.port}", "--se", f"eSE:{card.se_id}"]
        environment = {"OPENTSM_ENROL_CODE": code}
        await self.agent.start(command, directory=self.directory, environment=environment)


@asynccontextmanager
async def open_stage(program: Sequence[str], profiles: Sequence[str]) -> AsyncIterator[Stage]:
    """Start the server and issue the cards; at the end nothing of it is left.

    Args:
        program: the command that runs our command line.
        profiles: of the cards to issue.

    Raises:
        ChildError: the server does not start.
    """
    directory = _make_directory()
    server = Child("server", directory / "server.log")
    agent = Child("device agent", directory / "agent.log")
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        stack.push_async_callback(server.stop)
        stack.push_async_callback(agent.stop)
        data = str(directory / "data")
        command = [*program, "serve", "--port", "0", "--data-dir", data, "--attached", "--json"]
        await server.start(command, directory=directory)
        masters, central = new_masters(), new_central_master()
        domains = {CENTRAL_SD: central}
        cards = [
            issue_card(f"SE {n}", profile, masters, domains=domains) for n, profile in enumerate(profiles, 1)
        ]
        for card in cards:
            await card.listen()
            stack.push_async_callback(card.close)
        ready = await server.first_line()
        base_url = str(ready["base_url"])
        client = await stack.enter_async_context(open_client(base_url))
        yield Stage(
            program=program,
            directory=directory,
            server=server,
            agent=agent,
            base_url=base_url,
            operator_token=Path(ready["operator_token_file"]).read_text("ascii").strip(),  # noqa: ASYNC240
            client=client,
            masters=masters,
            central=central,
            cards=cards,
        )


def _make_directory() -> Path:
    """Make a directory; under root the database runs as another user, who must be able to pass through."""
    directory = Path(tempfile.mkdtemp(prefix="opentsm-demo-"))
    if os.geteuid() == 0:
        directory.chmod(0o711)
    return directory
