"""Real processes for the leak test: server, agent, and between them what they say; cards that remember.

Everything that leaves a process is kept here, so that it can be searched afterwards.
"""

import asyncio
import json
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import httpx

from opentsm.card.crypto.secret import Secret
from opentsm.card.gp.diversification import DiversificationMethod, diversify
from opentsm.card.scp.channel import StaticKeys, parse_initialize_update
from opentsm.card.scp.session import derive_session_keys
from opentsm.vse.card import CardIdentity, KeyMaterial, VirtualCard
from opentsm.vse.nvm import MemoryNvm
from opentsm.vse.profiles import VseProfile, load_profile
from opentsm.vse.vpcd import VpcdEndpoint

RUN = "from opentsm.cli.main import main; main()"
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 180.0
INITIALIZE_UPDATE = 0x50
Json = dict[str, Any]


class RememberingCard:
    """A virtual card that remembers all keys it ever held, and every opening of a session."""

    def __init__(self, profile: str, serial: int, master: Secret, method: DiversificationMethod) -> None:
        self.identity = CardIdentity.from_serial(serial)
        self.factory = diversify(master, self.identity.kdd, method)
        keys = KeyMaterial(self.factory.enc, self.factory.mac, self.factory.dek)
        self._card = VirtualCard.issue(load_profile(profile), self.identity, keys, MemoryNvm())
        self.key_sets: dict[tuple[str, int], list[StaticKeys]] = {}
        self._openings: list[tuple[bytes, bytes]] = []
        self._remember()

    @property
    def profile(self) -> VseProfile:
        """The kind of card."""
        return self._card.profile

    @property
    def name(self) -> str:
        """The name by which the agent knows the card."""
        return (self.identity.iin + self.identity.cin).hex().upper()

    def power_on(self) -> bytes:
        """Power on."""
        return self._card.power_on()

    def power_off(self) -> None:
        """Power off."""
        self._card.power_off()

    def transmit(self, raw: bytes) -> bytes:
        """Answer, and remember."""
        answer = self._card.transmit(raw)
        # a purse's INITIALIZE FOR LOAD has the same instruction, and P2 02
        if raw[1] == INITIALIZE_UPDATE and raw[3] == 0 and answer[-2:] == b"\x90\x00":
            self._openings.append((raw[5 : 5 + raw[4]], answer[:-2]))
        self._remember()
        return answer

    def stores(self) -> bytes:
        """Return everything that the card's applets ever stored and still have."""
        return b"".join(
            value for instance in self._card.image().instances for value in instance.store.values()
        )

    def session_keys(self) -> list[tuple[str, bytes]]:
        """Return the session keys of every session under every key set that could have opened it."""
        found: dict[bytes, str] = {}
        for host_challenge, answer in self._openings:
            init = parse_initialize_update(answer)
            for (domain, kvn), sets in self.key_sets.items():
                for static in sets if kvn == init.kvn else []:
                    keys = derive_session_keys(static, init, host_challenge)
                    for name in ("enc", "mac", "rmac", "dek"):
                        secret = getattr(keys, name)
                        found.setdefault(secret.reveal(), f"session {name} of {domain} {kvn:02X}")
        return [(name, value) for value, name in found.items()]

    def static_keys(self) -> list[tuple[str, bytes]]:
        """Return every key of every security domain that the card ever held."""
        found: dict[bytes, str] = {}
        for (domain, kvn), sets in self.key_sets.items():
            for static in sets:
                for name in ("enc", "mac", "dek"):
                    found.setdefault(getattr(static, name).reveal(), f"{domain} {kvn:02X} {name}")
        return [(name, value) for value, name in found.items()]

    def _remember(self) -> None:
        for instance in self._card.image().instances:
            for kvn in instance.domain.versions() if instance.domain else ():
                assert instance.domain is not None
                keys = [instance.domain.find_key(kid, kvn) for kid in (1, 2, 3)]
                if all(keys):
                    enc, mac, dek = (Secret(key.value) for key in keys if key is not None)
                    known = self.key_sets.setdefault((instance.aid.hex().upper(), kvn), [])
                    if StaticKeys(enc, mac, dek) not in known:
                        known.append(StaticKeys(enc, mac, dek))


@dataclass
class Said:
    """One answer of the server, or one direction of a connection."""

    name: str
    content: bytes = field(repr=False)


class Wire:
    """Forwards connections to the server and keeps what is said in both directions."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: asyncio.Server | None = None
        self._conversations: set[asyncio.Task[None]] = set()
        self.to_server = bytearray()
        self.to_agent = bytearray()

    async def listen(self) -> int:
        """Listen on a free port and return it."""
        self._server = await asyncio.start_server(self._converse, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop."""
        assert self._server is not None
        self._server.close()
        for task in self._conversations:
            task.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._conversations.add(task)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            await asyncio.gather(
                _forward(reader, far_writer, self.to_server), _forward(far_reader, writer, self.to_agent)
            )
        finally:
            for end in (writer, far_writer):
                end.close()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            kept += data
            writer.write(data)
            await writer.drain()
        writer.close()


@dataclass
class Stage:
    """A running server, its files, its logs, and everything it answered."""

    data_dir: Path
    work_dir: Path
    base_url: str
    client: httpx.AsyncClient
    wire: Wire
    wire_port: int
    server: Process
    said: list[Said] = field(default_factory=list)
    agent: Process | None = None
    endpoints: list[VpcdEndpoint] = field(default_factory=list)

    @property
    def agent_state(self) -> Path:
        """Where the agent keeps its files."""
        return self.work_dir / "agent"

    @property
    def operator_token(self) -> str:
        """The token in the operator's file."""
        return (self.data_dir / "operator.token").read_text("ascii").strip()

    async def call(
        self, method: str, path: str, token: str | None, *, label: str | None = None, **more: Any
    ) -> httpx.Response:
        """Send a request and keep the answer, under a name that holds no value."""
        headers = {**more.pop("headers", {})}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        answer = await self.client.request(method, path, headers=headers, **more)
        head = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
        name = f"answer {answer.status_code} to {label or f'{method} {path}'}"
        self.said.append(Said(name, head.encode() + b"\n\n" + answer.content))
        return answer

    async def start_agent(self, cards: Sequence[RememberingCard], code: str) -> None:
        """Put cards into readers and start the agent, which enrols with a code."""
        arguments = ["--enrol", code, "--state", str(self.agent_state), "--name", "phone", "--forever"]
        for card in cards:
            endpoint = VpcdEndpoint(cast("VirtualCard", card))
            self.endpoints.append(endpoint)
            port = await endpoint.listen("127.0.0.1", 0)
            arguments += ["--reader", f"vpcd:127.0.0.1:{port}", "--se", f"eSE:{card.name}"]
        server = f"http://127.0.0.1:{self.wire_port}"
        with (self.work_dir / "agent.log").open("wb") as log:
            self.agent = await _start(["agent", "run", "--server", server, *arguments], log, {})

    async def stop(self) -> None:
        """End agent and server in order."""
        if self.agent is not None:
            await _stop(self.agent)
        await _stop(self.server)
        await self.wire.close()
        for endpoint in self.endpoints:
            await endpoint.close()
        self.endpoints, self.agent = [], None


@asynccontextmanager
async def open_stage(data_dir: Path, work_dir: Path) -> AsyncIterator[Stage]:
    """Start a server with a database of its own, logging as much as it can."""
    environment = {"OPENTSM_LOG_LEVEL": "debug", "OPENTSM_LOG_FORMAT": "json"}
    with (work_dir / "server.log").open("wb") as log:
        arguments = ["serve", "--json", "--port", "0", "--data-dir", str(data_dir), "--attached"]
        server = await _start(arguments, log, environment)
    assert server.stdout is not None
    line = await asyncio.wait_for(server.stdout.readline(), START_TIMEOUT_S)
    assert line, (work_dir / "server.log").read_text()[-2000:]
    base_url = json.loads(line)["base_url"]
    match = re.search(r":(\d+)$", base_url)
    assert match is not None
    wire = Wire(int(match[1]))
    async with httpx.AsyncClient(base_url=base_url, timeout=180, trust_env=False) as client:
        stage = Stage(data_dir, work_dir, base_url, client, wire, await wire.listen(), server)
        try:
            yield stage
        finally:
            await stage.stop()


async def _start(arguments: Sequence[str], log: IO[bytes], environment: Mapping[str, str]) -> Process:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OPENTSM_")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", RUN, *arguments),
        stdin=PIPE,
        stdout=PIPE,
        stderr=log,
        env={**clean, **environment},
        cwd="/",
    )


async def _stop(process: Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.communicate(), STOP_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.communicate()
        raise
