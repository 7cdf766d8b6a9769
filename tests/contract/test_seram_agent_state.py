"""The agent's files: key, identity, journal; and the page that documents the protocol."""

import json
import re
import stat
from pathlib import Path

import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from tests.contract.seram_cards import FakeClock
from tests.contract.seram_server import CODE, SeramServer

from opentsm.agent.device_key import DeviceKey, StateDirectory, read_identity
from opentsm.agent.enrolment import enrolled_identity
from opentsm.agent.errors import (
    KeyFileError,
    NotEnrolledError,
    ServerRefusedError,
    StateError,
    StateInUseError,
)
from opentsm.agent.http_exchange import http_client
from opentsm.agent.journal import Journal, journal_path
from opentsm.agent.loop import state_diagram
from opentsm.agent.messages import Report, WireOrder
from opentsm.agent.orders import Transmit, read_order
from opentsm.agent.server_link import ServerLink

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "agent-protocol.md"


async def test_state_enrols_once_and_keeps_the_device(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "device")
    async with SeramServer([]) as server, http_client(server.url) as client:
        first = await enrolled_identity(state, client, CODE, "x", clock=FakeClock())
        again = await enrolled_identity(state, client, CODE, "x", clock=FakeClock())
        without = await enrolled_identity(state, client, None, "x", clock=FakeClock())
        with pytest.raises(StateError, match="already holds device device-1"):
            await enrolled_identity(state, client, "another", "x", clock=FakeClock())
    assert {i.device_id for i in (first, again, without)} == {"device-1"}
    assert server.requests == ["/v1/devices"]
    assert first.key.public_jwk() == without.key.public_jwk()


async def test_state_that_an_agent_uses_can_be_read_for_the_devices_own_token(tmp_path: Path) -> None:
    held = StateDirectory(tmp_path / "device")
    async with SeramServer([]) as server, http_client(server.url) as client:
        enrolled = await enrolled_identity(held, client, CODE, "x", clock=FakeClock())
        found = read_identity(tmp_path / "device")
        assert found.device_id == enrolled.device_id
        link = ServerLink(client, found, clock=FakeClock())
        tokens = {await link.device_token() for _ in range(3)}
    assert len(tokens) == 1
    assert server.requests == ["/v1/devices", "/v1/device-tokens"]


def test_state_that_holds_no_device_is_not_read_and_not_made(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "none"):
        with pytest.raises(NotEnrolledError):
            read_identity(directory)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "device.json").write_text("{")
    with pytest.raises(StateError, match=r"device\.json"):
        read_identity(tmp_path)


async def test_state_refused_code_leaves_a_directory_that_can_enrol(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    async with SeramServer([]) as server, http_client(server.url) as client:
        with pytest.raises(ServerRefusedError):
            await enrolled_identity(state, client, "guess", "x", clock=FakeClock())
        assert (await enrolled_identity(state, client, CODE, "x", clock=FakeClock())).device_id == "device-1"


def test_state_without_device_asks_for_a_code(tmp_path: Path) -> None:
    with pytest.raises(NotEnrolledError, match="--enrol"):
        StateDirectory(tmp_path).identity()


def test_state_files_are_the_owners_only(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "device")
    state.key()
    state.enrolled("device-1", CODE)
    for path in (tmp_path / "device").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert CODE not in (tmp_path / "device" / "device.json").read_text()


def test_state_is_for_one_agent_at_a_time(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    with pytest.raises(StateInUseError):
        StateDirectory(tmp_path)
    state.close()
    StateDirectory(tmp_path).close()


def test_state_directory_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="cannot use"):
        StateDirectory(tmp_path / "file")


async def test_journal_on_disk_survives_and_is_named_without_the_identifier(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    store = state.journal_store("../8900 / ünïcode")
    await (await Journal.open(store)).begin(1)
    assert (await Journal.open(state.journal_store("../8900 / ünïcode"))).recorded(1) is not None
    assert (await Journal.open(state.journal_store("another"))).recorded(1) is None
    (path,) = (tmp_path / "journal").iterdir()
    assert path == journal_path(tmp_path / "journal", "../8900 / ünïcode")
    assert re.fullmatch(r"[0-9a-f]{32}\.json", path.name)


def test_key_others_may_read_is_refused(tmp_path: Path) -> None:
    DeviceKey.generate().save(tmp_path / "key.json")
    (tmp_path / "key.json").chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        DeviceKey.load(tmp_path / "key.json")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        json.dumps(DeviceKey.generate().public_jwk()),
        json.dumps(ECKey.generate_key("P-384").as_dict(private=True)),
    ],
)
def test_key_file_without_a_p256_private_key_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "key.json"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="no P-256 private key"):
        DeviceKey.load(path)


def test_key_assertion_says_who_when_and_once() -> None:
    key = DeviceKey.generate()
    token = jwt.decode(
        key.assertion("device-1", now=1_800_000_000.9, nonce=bytes(16)),
        ECKey.import_key(dict(key.public_jwk())),
        algorithms=["ES256"],
    )
    assert token.header["kid"] == "device-1"
    assert token.claims == {
        "sub": "device-1",
        "aud": "opentsm",
        "iat": 1_800_000_000,
        "exp": 1_800_000_060,
        "jti": "00" * 16,
    }
    assert "d" not in key.public_jwk()
    assert repr(key) == "<DeviceKey P-256>"


def test_protocol_page_draws_the_agents_own_table() -> None:
    assert state_diagram() in PAGE.read_text("utf-8")


def test_protocol_page_example_is_read_and_stops_where_it_says() -> None:
    blocks = re.findall(r"```json\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    order = read_order(msgspec.json.decode(blocks[0], type=WireOrder), extended=True)
    report = msgspec.json.decode(blocks[1], type=Report)
    (transmit,) = (i for i in order.instructions if isinstance(i, Transmit))
    assert report.ram_responses is not None
    answers = map(bytes.fromhex, report.ram_responses[0].list_of_rapdu)
    fits = [step.expectation.accepts(answer) for step, answer in zip(transmit.steps, answers, strict=True)]
    assert fits == [True, False]
    assert report.order_sequence == order.sequence == 12
    assert report.stopped is not None
    assert report.stopped.index == 1
