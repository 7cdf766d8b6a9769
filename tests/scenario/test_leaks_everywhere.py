"""No key and no personalisation value is found anywhere outside: database, logs, answers, audit, files.

A whole life of three cards runs through real processes and the public HTTP APIs, with mistakes on the way.
Exceptions are named in `SHOWN` and `KEPT`, each with its reason.
"""

import asyncio
import json
import re
import shutil
import tempfile
from base64 import urlsafe_b64decode
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from tests.scenario.leak_mistakes import mistakes
from tests.scenario.leak_search import Canary, Place, different_pages, search, text_canary
from tests.scenario.leak_stage import Stage, open_stage
from tests.scenario.leak_story import SPTSM, Story

from opentsm.card.crypto.secret import Secret
from opentsm.tsm.adapters.keystores.sealed_file import KeyFile, SealedFile
from opentsm.tsm.adapters.postgres import database
from opentsm.tsm.config import load_settings

# Answers that show a secret on purpose: its holder learns it there, and only there.
SHOWN = (
    (f"POST {SPTSM}/auth", {"short-term token"}),
    ("POST /v1/parties", {"token of issuer", "token of provider"}),
    ("POST /v1/device-enrolments", {"enrolment code"}),
)
# Files that hold a secret on purpose, readable by their owner only.
KEPT = {
    "data/operator.token": {"token of operator"},  # how the operator gets it at all
    "data/keystores/unlock.key": {"unlock key"},  # no passphrase was set: docs/howto/configure.md
    "data/postgres/password": {"database password"},  # for the embedded server's own socket
    "agent/key.json": {"device private key"},  # the device's identity
}
# What a purse tells everybody who selects it: the agent's journal holds the answer until it is acknowledged.
PUBLIC_ON_CARD = {"purse id", "purse label"}
PRIVATE_MODE = 0o077
WATCH_PAUSE_S = 0.1


@pytest.fixture
def directories() -> Iterator[tuple[Path, Path]]:
    """Give a data directory, which the database's user must reach, and one for all else."""
    root = Path(tempfile.mkdtemp(prefix="otsm-leak-"))
    root.chmod(0o755)
    (root / "data").mkdir()
    (root / "work").mkdir(mode=0o700)
    yield root / "data", root / "work"
    shutil.rmtree(root)


async def test_secrets_when_everything_has_happened_are_found_nowhere(directories: tuple[Path, Path]) -> None:
    data_dir, work_dir = directories
    async with open_stage(data_dir, work_dir) as stage:
        story, watch = Story(stage), TableWatch(data_dir)
        async with watch.running():
            await story.gather()
            await story.issue()
            await story.publish()
            await story.live()
            await make_mistakes(story)
            await story.look()
        wire = wire_places(stage)
        await stage.stop()
        canaries = [*story.canaries, *learnt(story)]
        places = [
            *watch.places(),
            *wire,
            *answer_places(stage),
            *log_places(work_dir),
            *file_places(data_dir, work_dir),
        ]
    assert_whole(story, canaries, places)
    findings = search(places, canaries)
    assert findings == [], "\n" + "\n".join(findings)


async def make_mistakes(story: Story) -> None:
    """Send every mistake; all are refused, and none is an error of the server."""
    tokens, sessions = device_secrets(story.stage)
    wrong = []
    for mistake in mistakes(story, tokens[-1], sessions[-1]):
        who = None if mistake.who is None else story.tokens[mistake.who]
        answer = await story.stage.call(mistake.method, mistake.path, who, label=mistake.name, **mistake.more)
        expected = 200 if mistake.name in ("import of lines", "device: refused order") else range(400, 500)
        if answer.status_code != expected and (
            isinstance(expected, int) or answer.status_code not in expected
        ):
            wrong.append(f"{mistake.name}: {answer.status_code}")
    assert wrong == [], "\n".join(wrong)


def device_secrets(stage: Stage) -> tuple[list[str], list[str]]:
    """Return the device's tokens and session ids, as the server gave them."""
    said = bytes(stage.wire.to_agent).decode("latin-1")
    return re.findall(r'"token":"([^"]+)"', said), re.findall(r'"session_id":"([^"]+)"', said)


def learnt(story: Story) -> list[Canary]:
    """Return the secrets that nobody but a process or a card has seen."""
    stage = story.stage
    tokens, sessions = device_secrets(stage)
    found = [text_canary("device token", token) for token in tokens]
    found += [
        Canary("session id", session.encode(), (("bytes", bytes.fromhex(session)),)) for session in sessions
    ]
    for name, card in story.cards.items():
        found += [Canary(f"{name}: {key}", value) for key, value in card.static_keys()]
        found += [Canary(f"{name}: {key}", value) for key, value in card.session_keys() if value]
    private = json.loads((stage.agent_state / "key.json").read_text())
    found.append(Canary("device private key", urlsafe_b64decode(private["d"] + "==")))
    found.append(text_canary("database password", (stage.data_dir / "postgres/password").read_text().strip()))
    return found + list(keystore_canaries(stage.data_dir / "keystores"))


def keystore_canaries(directory: Path) -> Iterator[Canary]:
    """Return everything that the keystores hold, their roots among it."""
    unlock = (directory / "unlock.key").read_bytes()
    yield Canary("unlock key", unlock)
    for path in directory.glob("*.sealed"):
        content = json.loads(SealedFile.open(path, path.stem, KeyFile(Secret(unlock))).read())
        yield Canary("root of a keystore", urlsafe_b64decode(content["root"].translate(_URL)))
        for handle, key in content["keys"].items():
            kind = handle.partition("/")[0]
            yield Canary(f"{kind} key in a keystore", urlsafe_b64decode(key.translate(_URL)))


_URL = str.maketrans("+/", "-_")


# --- places ------------------------------------------------------------------------------------


class TableWatch:
    """Reads every table again and again while the story runs: much is sealed, used and erased soon."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._seen: defaultdict[str, set[bytes]] = defaultdict(set)
        self._ended = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watch until the block ends, and once more then."""
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            self._ended.set()
            await task

    def places(self) -> Iterator[Place]:
        """Return each column with all values that it ever had, and each table's rows as text."""
        for name, values in self._seen.items():
            yield Place(f"table {name}", b"\n".join(values))

    async def _watch(self) -> None:
        settings = load_settings({"data_dir": str(self._data_dir)}, environment={}).database
        async with database(replace(settings, share=True), lambda _: None) as dsn:
            connection = await asyncpg.connect(dsn)
            while not self._ended.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._ended.wait(), WATCH_PAUSE_S)
                await self._read(connection)
            await connection.close()

    async def _read(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        tables = await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        for (table,) in tables:
            for row in await connection.fetch(f"SELECT *, {table}::text AS row_as_text FROM {table}"):
                for column, value in row.items():
                    self._seen[f"{table}.{column}"].add(_bytes(value))


def _bytes(value: object) -> bytes:
    if isinstance(value, list):
        return b"\n".join(map(_bytes, value))
    return value if isinstance(value, bytes) else str(value).encode()


def wire_places(stage: Stage) -> list[Place]:
    """Return what server and agent said to each other; tokens and sessions travel there."""
    tickets = frozenset({"device token", "session id"})
    return [
        Place("from the server to the agent", bytes(stage.wire.to_agent), tickets),
        Place(
            "from the agent to the server",
            bytes(stage.wire.to_server),
            tickets | {"enrolment code"} | PUBLIC_ON_CARD,
        ),
    ]


def answer_places(stage: Stage) -> Iterator[Place]:
    """Return every answer, headers and body."""
    for said in stage.said:
        shown: set[str] = set()
        for request, names in SHOWN:
            if said.name.endswith(request):
                shown |= names
        yield Place(said.name, said.content, frozenset(shown))


def log_places(work_dir: Path) -> Iterator[Place]:
    """Return what the processes logged."""
    for path in work_dir.glob("*.log"):
        yield Place(path.name, path.read_bytes())


def file_places(data_dir: Path, work_dir: Path) -> Iterator[Place]:
    """Return every file of server and agent, names among it."""
    cluster: list[tuple[str, bytes]] = []
    for base, name in ((data_dir, "data"), (work_dir / "agent", "agent")):
        for path in sorted(base.rglob("*")):
            shown = f"{name}/{path.relative_to(base)}"
            yield Place(f"name of {name} file", shown.encode())
            if not path.is_file():
                continue
            if "cluster" in path.parts:
                cluster.append((shown, path.read_bytes()))
                continue
            allowed = set(KEPT.get(shown, ()))
            if shown in KEPT:
                assert path.stat().st_mode & PRIVATE_MODE == 0, shown
            if "journal" in path.parts:
                allowed |= PUBLIC_ON_CARD
            yield Place(shown, path.read_bytes(), frozenset(allowed))
    for shown, content in different_pages(cluster):
        yield Place(shown, content)


def assert_whole(story: Story, canaries: list[Canary], places: list[Place]) -> None:
    """Check that the test looks for all that it should, and in all places: an empty one finds nothing."""
    kinds = {re.sub(r"[0-9A-F]{10,}", "AID", canary.name) for canary in canaries}
    for wanted in (
        *("unlock key", "root of a keystore", "transport key in a keystore", "database password"),
        *("application key in a keystore", "device token", "session id", "device private key"),
        *(
            "phone: AID 30 enc",
            "phone: session rmac of AID 30",
            "ring: AID 20 dek",
            "ring: session dek of AID 20",
        ),
        *("phone: AID 34 mac", "phone: AID 35 mac", "phone: AID 38 mac", "phone: session enc of AID 38"),
        *("the purse's purse-load key", "track 2 of ring", "short-term token", "enrolment code"),
    ):
        assert wanted in kinds, wanted
    by_name = {place.name: place.content for place in places}
    for table in (
        "segments.sealed",
        "device_orders.sealed_commands",
        "key_sets.source",
        "audit_entries.details",
    ):
        assert len(by_name[f"table {table}"]) > 100, table
    assert b'"request"' in by_name["server.log"]
    assert b"order 1" in by_name["agent.log"]
    assert sum("cluster" in name for name in by_name) > 20
    assert story.stage.said
