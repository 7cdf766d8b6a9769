"""`opentsm vse export`, `import` and `trace`: what leaves a card, and what never does."""

import json
import stat
from collections.abc import Coroutine
from pathlib import Path

import pytest
from tests.unit.vse.card_host import FACTORY_KEYS, SSD, CardHost, make_card, make_keys
from typer.testing import CliRunner

from opentsm.agent.readers import read_recording
from opentsm.card.gp import commands
from opentsm.cli.card import card_app
from opentsm.cli.card_document import ExportedCard
from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError
from opentsm.cli.trace import Trace, trace_lines
from opentsm.cli.traced_card import TracedCard
from opentsm.cli.vse import vse_app
from opentsm.vse.cards_on_disk import CardDirectory
from opentsm.vse.faults import FaultPlan, TornError

RUNNER = CliRunner()


def run(store: Path, *words: str) -> tuple[dict[str, object], str]:
    result = RUNNER.invoke(vse_app, [*words, "--store", str(store), "--json"])
    if isinstance(result.exception, CliError):
        raise result.exception
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert isinstance(document, dict)
    return document, result.stderr


@pytest.fixture
def passphrase(tmp_path: Path) -> str:
    path = tmp_path / "passphrase"
    path.write_text("correct horse battery\n")
    return str(path)


@pytest.mark.parametrize("profile", ["scp03-i70", "se-800"])
def test_import_when_exported_then_the_same_card(tmp_path: Path, profile: str) -> None:
    run(tmp_path, "new", "one", "--profile", profile)
    out = tmp_path / "one.json"
    _, said = run(tmp_path, "export", "one", str(out))
    assert "keys of one in clear" in said and stat.S_IMODE(out.stat().st_mode) == 0o600
    document = json.loads(out.read_text())
    assert document["format"] == "opentsm-card/1" and "in clear" in document["warning"]
    run(tmp_path, "import", "two", str(out))
    one, two = CardDirectory(tmp_path / "one"), CardDirectory(tmp_path / "two")
    assert two.open().image() == one.open().image() and two.keys() == one.keys()
    assert two.identity()["name"] == "two" and stat.S_IMODE(two.keys_file.stat().st_mode) == 0o600
    words = ["list", "--reader", f"vse:{two.path}", "--keys", str(two.keys_file)]
    assert RUNNER.invoke(card_app, words).exit_code == 0


def test_export_when_sealed_then_no_key_inside_and_opens_with_the_passphrase_only(
    tmp_path: Path, passphrase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, "new", "one")
    out = tmp_path / "one.json"
    _, said = run(tmp_path, "export", "one", str(out), "--passphrase", passphrase)
    text, keys = out.read_text(), CardDirectory(tmp_path / "one").keys()
    assert "warning" not in said and str(keys["enc"]) not in text and "image" not in json.loads(text)
    with pytest.raises(CliError) as missing:
        run(tmp_path, "import", "two", str(out))
    assert missing.value.code == ExitCode.BAD_INPUT and "sealed" in missing.value.why
    monkeypatch.setenv("OTHER", "another passphrase")
    with pytest.raises(CliError) as wrong:
        run(tmp_path, "import", "two", str(out), "--passphrase", "env:OTHER")
    assert wrong.value.code == ExitCode.BAD_INPUT and not CardDirectory(tmp_path / "two").exists
    run(tmp_path, "import", "two", str(out), "--passphrase", passphrase)
    assert CardDirectory(tmp_path / "two").keys() == keys


@pytest.mark.parametrize(
    ("member", "value", "said"),
    [
        ("enc", None, "the members are"),
        ("note", "AA", "the members are"),
        ("kvn", "00", "kvn is one byte"),
        ("kvn", "3030", "kvn is one byte"),
        ("kvn", 48, "kvn is no hexadecimal string"),
        ("mac", "4142", "16, 24 or 32 bytes"),
        ("mac", "5A" * 24, "all the same"),
        ("mac", "5A" * 15 + "ZZ", "mac is no hexadecimal string"),
        ("mac", "5A " * 16, "mac is no hexadecimal string"),
        ("dek", ["5A"], "dek is no hexadecimal string"),
        ("domains", [], "domains is no object"),
        ("domains", {"A000": {}}, "5 to 16 bytes"),
        ("domains", {"A000000151": 1}, "no object"),
        ("domains", {"A000000151": {"kvn": "30"}}, "the members are"),
    ],
)
def test_import_when_the_keys_are_malformed_then_no_card_and_none_is_shown(
    tmp_path: Path, member: str, value: object, said: str
) -> None:
    run(tmp_path, "new", "one")
    out = tmp_path / "one.json"
    run(tmp_path, "export", "one", str(out))
    document = json.loads(out.read_text())
    document["keys"][member] = value
    if value is None:
        del document["keys"][member]
    out.write_text(json.dumps(document))
    with pytest.raises(CliError) as refused:
        run(tmp_path, "import", "two", str(out))
    assert refused.value.code == ExitCode.BAD_INPUT and said in refused.value.why
    assert "5A5A" not in refused.value.why and not CardDirectory(tmp_path / "two").exists


@pytest.mark.parametrize(
    "change",
    [
        {"format": "opentsm-card/2"},
        {"image": {}},
        {"image": {"instances": []}},
        {"keys": []},
        {"sealed": True},
        {"sealed": True, "salt": "AA==", "nonce": "!", "content": "AA=="},
    ],
)
def test_import_when_document_is_wrong_then_no_card(
    tmp_path: Path, passphrase: str, change: dict[str, object]
) -> None:
    run(tmp_path, "new", "one")
    out = tmp_path / "one.json"
    run(tmp_path, "export", "one", str(out))
    out.write_text(json.dumps(json.loads(out.read_text()) | change))
    with pytest.raises(CliError) as refused:
        run(tmp_path, "import", "two", str(out), "--passphrase", passphrase)
    assert refused.value.code == ExitCode.BAD_INPUT and not CardDirectory(tmp_path / "two").exists


NO_CARD: tuple[tuple[str, object], ...] = (
    ("instances.0.domain", None),
    ("instances.0.sd", "QUFBQUE="),
    ("instances.0.state", 2),
    ("instances.1.state", 0),
    ("instances.1.sd", "QUFBQUE="),
    ("instances.1.aid", "QQ=="),
    ("instances.1.aid", "oAAAAVEAAAA="),
    ("instances.1.privileges", -1),
    ("instances.1.reserved", -1),
    ("instances.1.implicit", [999]),
    ("instances.0.domain.keys.0.components", []),
    ("instances.0.domain.keys.0.components.0.value", "QUFBQUE="),
    ("instances.0.domain.keys.0.kvn", 300),
    ("instances.0.domain.keys.0.kid", 2),
    ("instances.0.domain.sequence", {"48": -5}),
    ("instances.0.domain.sequence", {"48": 1 << 24}),
    ("instances.0.domain.confirmations", 1 << 16),
    ("instances.0.domain.objects", {"65536": "AAAA"}),
    ("load_files.0.size", -1),
    ("identity.kdd", ""),
    ("profile.memory", -1),
    ("profile.status_chunk", 0),
)


@pytest.mark.parametrize(("path", "value"), NO_CARD)
def test_import_when_no_card_could_have_written_the_image_then_refused(
    tmp_path: Path, path: str, value: object
) -> None:
    run(tmp_path, "new", "one")
    out = tmp_path / "one.json"
    run(tmp_path, "export", "one", str(out))
    document = json.loads(out.read_text())
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    place = document["image"]
    for step in steps:
        place = place[step]
    place[last] = value
    out.write_text(json.dumps(document))
    with pytest.raises(CliError):
        run(tmp_path, "import", "two", str(out))
    assert not CardDirectory(tmp_path / "two").exists


def test_import_when_the_document_is_nested_without_end_then_refused(tmp_path: Path) -> None:
    deep = tmp_path / "deep.json"
    deep.write_text("[" * 100_000)
    with pytest.raises(CliError) as refused:
        run(tmp_path, "import", "two", str(deep))
    assert refused.value.code == ExitCode.BAD_INPUT


def test_import_when_the_name_is_taken_then_refused(tmp_path: Path) -> None:
    run(tmp_path, "new", "one")
    out = tmp_path / "one.json"
    run(tmp_path, "export", "one", str(out))
    before = CardDirectory(tmp_path / "one").open().image()
    with pytest.raises(CliError):
        run(tmp_path, "import", "one", str(out))
    with pytest.raises(CliError):
        run(tmp_path, "export", "one", str(out))
    assert CardDirectory(tmp_path / "one").open().image() == before


def test_exported_card_when_shown_then_without_keys() -> None:
    card = ExportedCard({"name": "one"}, {"enc": "AB" * 16}, make_card().image())
    assert "AB" * 16 not in repr(card) and "one" in repr(card)


@pytest.mark.parametrize("text", ["", "short", "env:NO_SUCH_PASSPHRASE"])
def test_export_when_passphrase_is_useless_then_refused(tmp_path: Path, text: str) -> None:
    run(tmp_path, "new", "one")
    (tmp_path / "p").write_text(text)
    source = text if text.startswith("env:") else str(tmp_path / "p")
    with pytest.raises(CliError) as refused:
        run(tmp_path, "export", "one", str(tmp_path / "out"), "--passphrase", source)
    assert refused.value.code == ExitCode.USAGE and not (tmp_path / "out").exists()


# --- trace -------------------------------------------------------------------------------------


class Listener:
    """Drives a traced card and keeps what it tells."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.card = make_card()
        self.host = CardHost(self.card)
        self.traced = TracedCard(self.card, self.lines.append)
        self.traced.power_on()

    def send(self, raw: bytes) -> bytes:
        return self.traced.transmit(raw)


@pytest.mark.parametrize("level", [0x01, 0x33])
def test_trace_when_keys_and_pins_travel_then_they_are_not_shown(level: int) -> None:
    listener, new = Listener(), make_keys(0x71)
    host = listener.host
    host.select()
    host.authenticate(FACTORY_KEYS, level=level)
    assert host.channel is not None and host.dek is not None
    blocks = [
        commands.put_key(0x31, [b"\x88\x10" + new.enc.reveal() + b"\x03KCV"]),
        commands.store_data(new.mac.reveal(), 0, last=True),
    ]
    for block in blocks:
        wrapped = host.channel.wrap(block)
        listener.send(wrapped.apdu.to_bytes())
    listener.send(bytes.fromhex("0020008108241234FFFFFFFFFF"))
    listener.send(bytes.fromhex("80C2000005D10311223344"))
    text = "\n".join(listener.lines).upper()
    assert new.enc.reveal().hex().upper() not in text and new.mac.reveal().hex().upper() not in text
    assert "241234FF" not in text and "11223344" not in text
    assert "PUT KEY, UNDER SECURE MESSAGING" in text and "VERIFY" in text and "NOT SHOWN" in text


def test_trace_when_read_again_then_it_is_a_recording() -> None:
    listener = Listener()
    for text in ("00A4040000", "80CA006600", "80CA9F7F00", "0020000001", "00"):
        listener.send(bytes.fromhex(text))
    _, pairs = read_recording(listener.lines)
    assert [command.hex().upper() for command, _ in pairs] == ["00A4040000", "80CA006600", "80CA9F7F00"]
    assert any("SELECT" in line for line in listener.lines)
    assert any("6985" in line or "6D00" in line or "6700" in line for line in listener.lines)


def test_trace_when_the_power_goes_then_told_and_raised() -> None:
    listener = Listener()
    listener.card.arm(FaultPlan(cut_after_apdu=1))
    with pytest.raises(TornError):
        listener.send(bytes.fromhex("00A4040000"))
    assert any("no answer" in line for line in listener.lines)
    assert read_recording(listener.lines)[1] == ()


@pytest.mark.parametrize("words", [[], ["--trace"]], ids=["bare", "with trace"])
def test_serve_when_it_says_where_it_listens_then_a_trace_stays_a_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    async def at_once(work: Coroutine[object, object, None]) -> None:
        work.close()

    monkeypatch.setattr("opentsm.cli.vse._until_stopped", at_once)
    store = ["--store", str(tmp_path)]
    assert RUNNER.invoke(vse_app, ["new", "one", *store]).exit_code == 0
    served = RUNNER.invoke(vse_app, ["serve", "one", *store, "--listen", "127.0.0.1:0", *words])
    assert served.exit_code == 0
    (line,) = served.stderr.splitlines()
    assert "one listens on 127.0.0.1:" in line
    assert line.startswith("#") is bool(words)


@pytest.mark.parametrize("text", ["FF", "8050", "80E60C00", "80FA000000", "0C20000001FF", "00A40400FF00"])
def test_trace_when_command_is_strange_then_still_one_entry(text: str) -> None:
    entry = Trace().pair(bytes.fromhex(text), bytes.fromhex("6D00"))
    assert entry["number"] == 1 and list(trace_lines(entry))


def test_trace_command_when_file_is_a_recording_then_explained(tmp_path: Path) -> None:
    recording = tmp_path / "recording"
    recording.write_text(f"ATR 3B00\n> 80F24002024F00\n< 6A88\n> 80E40000094F07{SSD.hex()[:14]}\n< 6985\n")
    result = RUNNER.invoke(vse_app, ["trace", str(recording)])
    assert result.exit_code == 0
    assert "nothing matches" in result.stdout and "DELETE" in result.stdout and "in use" in result.stdout
    assert len(json.loads(RUNNER.invoke(vse_app, ["trace", str(recording), "--json"]).stdout)["trace"]) == 2
    recording.write_text("> zz\n")
    refused = RUNNER.invoke(vse_app, ["trace", str(recording)]).exception
    assert isinstance(refused, CliError) and refused.code == ExitCode.BAD_INPUT
