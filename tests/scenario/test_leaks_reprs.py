"""What holds a secret shows none of it as text: not in a log, not in a traceback, not in a debugger.

Refusals of the keystore, which may be logged with their causes, are tried too.
"""

import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from tests.scenario.leak_search import Canary, Place, search, text_canary

from opentsm.agent import messages as agent
from opentsm.agent.device_key import DeviceKey
from opentsm.agent.errors import KeyFileError
from opentsm.agent.http_exchange import Reply, Request
from opentsm.agent.server_link import SessionId, _HeldToken
from opentsm.api.idempotency import StoredAnswer
from opentsm.api.v1 import messages as api
from opentsm.api.v1.application_keys import ApplicationKey
from opentsm.api.v1.master_keys import MasterKey
from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.crypto.secret import Secret
from opentsm.card.gp.keys import StaticKeys
from opentsm.card.scp.channel import SessionKeys
from opentsm.tsm.adapters.keystores.sealed_file import KeyFile, Passphrase, SealedFile
from opentsm.tsm.adapters.keystores.software import SoftwareKeystore, _Content
from opentsm.tsm.config import load_settings
from opentsm.tsm.custody.sessions import CheckedAnswer
from opentsm.tsm.custody.work import SentCommand
from opentsm.tsm.domain.exchange import Expected
from opentsm.tsm.domain.secure_element import BoundKeys, DiversifiedKeys, SealedKeys, WrappedKeys
from opentsm.tsm.engine.compile import Fills, Grouping, PlainCommand
from opentsm.tsm.kernel.errors import KeystoreError
from opentsm.tsm.kernel.ids import KeyHandle, TenantId
from opentsm.tsm.ports.keystore import ChannelContext
from opentsm.tsm.roles.hub.devices import IssuedToken, OpenedSession

KEY = bytes.fromhex("D3A1F00D7E57C0DE5EC2E7B10BFACADE")
TEXT = "otsm_Quillfeather0123456789abcdef"
PAN = "4929123456789017"
CANARIES = (Canary("key", KEY), text_canary("text", TEXT), text_canary("PAN", PAN))
SECRET = Secret(KEY)
NOW = msgspec.convert("2026-01-01T00:00:00Z", type=api.Party.__annotations__["created_at"])

HOLDERS: tuple[object, ...] = (
    SECRET,
    StaticKeys(SECRET, SECRET, SECRET),
    SessionKeys(SECRET, SECRET, SECRET, SECRET),
    KeyFile(Secret(KEY * 2)),
    Passphrase(Secret(TEXT.encode())),
    _Content(root=KEY, keys={"master": KEY}),
    Grouping(0x0101, KEY, encrypted=False),
    Fills(put_key_fields=(KEY,), key_data=KEY, groupings=(Grouping(1, KEY, encrypted=True),)),
    PlainCommand(CommandApdu(0x80, 0xE2, 0, 0, KEY), Expected(), "store data"),
    CheckedAnswer(SentCommand(step=0, link="", expected=Expected(), meaning=""), KEY, 0x9000),
    IssuedToken(TEXT, 300),
    OpenedSession(TEXT, 900),
    MasterKey(key=KEY.hex()),
    ApplicationKey(key=KEY.hex()),
    api.NewInstance(service_id="s", se_id="e", data={"pan": PAN}),
    api.RegisteredParty(id="i", kind="k", name="n", sandbox=False, created_at=NOW, token=TEXT),
    api.Enrolment(code=TEXT, expires_at=NOW),
    api.NewDevice(code=TEXT, public_key={}, name="n"),
    api.AssertionBody(assertion=TEXT),
    api.DeviceToken(token=TEXT, expires_in=300),
    api.OpenedDeviceSession(session_id=TEXT, expires_in=900),
    StoredAnswer(headers=[], body=TEXT.encode()),
    agent.Enrolment(TEXT, {}, "n"),
    agent.Assertion(TEXT),
    agent.Token(TEXT, 300),
    agent.Session(TEXT, 900),
    SessionId(TEXT),
    _HeldToken(TEXT, 0),
    Reply(200, TEXT.encode(), None),
    Request("/", agent.Assertion(TEXT), query={"sessionId": TEXT}, token=TEXT),
    load_settings({"keystore.passphrase": TEXT}, environment={"OPENTSM_CLIENT_TOKEN": TEXT}),
)


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda holder: type(holder).__name__)
def test_holder_when_shown_as_text_hides_its_secret(holder: object) -> None:
    for shown in (repr(holder), str(holder), repr([holder]), f"{holder}", repr({"x": holder})):
        assert search([Place(type(holder).__name__, shown.encode())], CANARIES) == []


@pytest.fixture
async def keystore(tmp_path: Path) -> SoftwareKeystore:
    made = await SoftwareKeystore.create(
        tmp_path / "party.sealed", TenantId("party"), KeyFile(Secret(KEY * 2))
    )
    await made.import_key(KeyHandle("master"), SECRET)
    return made


MASTER = KeyHandle("master")
CONTEXT = ChannelContext(scp=3, i=0x70, host_challenge=KEY[:8], initialize_update=KEY)
DERIVED = DiversifiedKeys(master=MASTER, method="KDF3", kdd=bytes(10))
REFUSALS: dict[str, Callable[[SoftwareKeystore], Awaitable[object]]] = {
    "another key": lambda k: k.import_key(MASTER, Secret(KEY[::-1])),
    "a short key": lambda k: k.import_key(KeyHandle("new"), Secret(KEY[:9])),
    "no handle": lambda k: k.derive_application_key(KeyHandle("none"), KEY),
    "a blob of another": lambda k: k.key_check_values(
        WrappedKeys(transport=MASTER, blob=KEY + KEY[:8]), scp=3
    ),
    "a sealed blob": lambda k: k.key_check_values(
        BoundKeys(source=SealedKeys(blob=KEY * 2), context=PAN), scp=3
    ),
    "no such method": lambda k: k.key_check_values(
        DiversifiedKeys(master=MASTER, method="NONE", kdd=bytes(10)), scp=3
    ),
    "wrong derivation data": lambda k: k.key_check_values(
        DiversifiedKeys(master=MASTER, method="EMV", kdd=KEY), scp=2
    ),
    "an answer that is none": lambda k: k.derive_session(DERIVED, CONTEXT),
    "a value that is no block": lambda k: k.encrypt_under_dek(DERIVED, CONTEXT, Secret(KEY[:15])),
    "no prediction": lambda k: k.predict_challenge(DERIVED, scp=3, i=0x60, counter=1, aid=Aid(KEY)),
    "a wrong account": lambda k: k.derive_emv_card_key(MASTER, KEY),
    "what was not sealed": lambda k: k.open(KEY, context=PAN),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_keystore_when_it_refuses_tells_no_key(keystore: SoftwareKeystore, name: str) -> None:
    with pytest.raises(Exception) as refusal:  # some are the card library's
        await REFUSALS[name](keystore)
    shown = "".join(traceback.format_exception(refusal.value)) + repr(refusal.value)
    assert search([Place(name, shown.encode())], CANARIES) == []


async def test_sealed_data_when_opened_for_something_else_stay_closed(keystore: SoftwareKeystore) -> None:
    sealed = await keystore.seal(KEY, context="instance:1")
    assert await keystore.open(sealed, context="instance:1") == KEY
    for other in ("instance:2", "segment:1", "operation:1", "instance:", ""):
        with pytest.raises(KeystoreError):
            await keystore.open(sealed, context=other)


def test_files_when_damaged_tell_nothing_of_what_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.write_text(f'{{"kty": "EC", "d": "{KEY.hex()}"')
    path.chmod(0o600)
    with pytest.raises(KeyFileError) as damaged:
        DeviceKey.load(path)
    shown = "".join(traceback.format_exception(damaged.value))
    assert search([Place("key file", shown.encode())], CANARIES) == []
    with pytest.raises(KeystoreError) as unreadable:
        SealedFile.open(path, "party", KeyFile(Secret(KEY * 2)))
    assert search([Place("keystore", str(unreadable.value).encode())], CANARIES) == []
