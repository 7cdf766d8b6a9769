"""`opentsm card list|info|load|…` on a virtual card, in this process and over TCP (vpcd, reversed mode)."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import pytest
from typer.testing import CliRunner

from opentsm.card.crypto.secret import Secret
from opentsm.card.gp.diversification import DiversificationMethod, diversify
from opentsm.cli.card import card_app
from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError
from opentsm.vse.card import CardIdentity, KeyMaterial, VirtualCard
from opentsm.vse.cards_on_disk import CardDirectory
from opentsm.vse.faults import FaultPlan
from opentsm.vse.nvm import MemoryNvm
from opentsm.vse.profiles import load_profile
from opentsm.vse.vpcd import VpcdEndpoint

RUNNER = CliRunner()
BADGE = Path(str(resources.files("opentsm.demo").joinpath("caps", "badge.cap")))
BADGE_PACKAGE, BADGE_MODULE = "F04F54534D03", "F04F54534D0301"
SSD = "A0000001510000AA01"
SD_WORDS = ("A000000151535041", "--package", "A0000001515350", "--instance", SSD)
KEY = bytes(range(0x51, 0x61))


class RefusedError(Exception):
    """The command ended with an error; `error` is what it says."""

    def __init__(self, error: CliError) -> None:
        super().__init__(error.what)
        self.error = error


def run(*words: str) -> dict[str, object]:
    result = RUNNER.invoke(card_app, [*words, "--json"])
    if isinstance(result.exception, CliError):
        raise RefusedError(result.exception)
    assert result.exit_code == 0, result.output + str(result.exception)
    document = json.loads(result.stdout)
    assert isinstance(document, dict)
    return document


def refusal(*words: str) -> CliError:
    with pytest.raises(RefusedError) as caught:
        run(*words)
    return caught.value.error


def issue(tmp_path: Path, profile: str = "scp03-i70", key: bytes = KEY) -> tuple[CardDirectory, list[str]]:
    directory = CardDirectory(tmp_path / "card")
    secret = Secret(key)
    directory.issue(profile, 7, KeyMaterial(secret, secret, secret))
    return directory, ["--reader", f"vse:{directory.path}", "--keys", str(directory.keys_file)]


def private(path: Path, text: str) -> str:
    path.touch(0o600)
    path.write_text(text)
    return str(path)


def failures(directory: CardDirectory) -> dict[int, int]:
    return directory.open().image().isd.domain_data().failures


# --- the whole story ---------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["scp03-i70", "scp03-i00", "scp03-s16-i71", "scp02-i15", "scp02-i55"])
def test_desk_when_card_is_prepared_then_each_verb_shows_in_the_list(tmp_path: Path, profile: str) -> None:
    _, card = issue(tmp_path, profile)
    run("install", *SD_WORDS, "--privileges", "security-domain,trusted-path", *card)
    loaded = run("load", str(BADGE), *card)
    assert loaded["loaded"] == BADGE_PACKAGE
    assert run("install", BADGE_MODULE, "--package", BADGE_PACKAGE, *card)["installed"] == BADGE_MODULE
    run("lock", BADGE_MODULE, *card)
    rows = {row["aid"]: row for row in run("list", *card)["registry"]}  # type: ignore[attr-defined]
    assert rows[BADGE_MODULE]["state"].startswith("LOCKED")
    assert rows[SSD]["privileges"] == ["Security Domain", "Trusted Path"]
    assert rows[BADGE_PACKAGE]["kind"] == "LOAD_FILE" and rows[BADGE_PACKAGE]["modules"] == [BADGE_MODULE]
    run("unlock", BADGE_MODULE, *card)
    run("delete", BADGE_PACKAGE, "--related", *card)
    rows = {row["aid"]: row for row in run("list", *card)["registry"]}  # type: ignore[attr-defined]
    assert BADGE_MODULE not in rows and BADGE_PACKAGE not in rows and rows[SSD]["sd"]


def test_list_when_for_people_then_a_tree_of_domains(tmp_path: Path) -> None:
    _, card = issue(tmp_path)
    run("install", *SD_WORDS, "--privileges", "80", *card)
    lines = RUNNER.invoke(card_app, ["list", *card]).stdout.splitlines()
    assert lines[0].startswith("ISD A000000151000000  SECURED")
    assert any(line.startswith(f"├─ SSD {SSD}") for line in lines)
    assert lines[-1].startswith("└─ Pkg")


def test_info_when_no_keys_then_all_but_the_life_cycle(tmp_path: Path) -> None:
    _, card = issue(tmp_path)
    document = run("info", *card[:2])
    assert document["life_cycle"] is None
    assert document["secure_channels"] == [{"scp": "03", "i": "70"}]
    assert (document["iin"], document["gp_version"]) == ("F04F5453", "2.3.1")
    assert document["memory"]["free_nonvolatile"] > 0  # type: ignore[index]
    assert document["cplc"]["ic_serial_number"] == "00000007"  # type: ignore[index]
    assert document["keys"][0]["components"] == [{"type": "AES", "bytes": 16}]  # type: ignore[index]
    assert run("info", *card)["life_cycle"] == "SECURED"


@pytest.mark.parametrize("level", ["01", "03", "13", "33"])
def test_level_when_asked_for_then_the_session_has_it(tmp_path: Path, level: str) -> None:
    _, card = issue(tmp_path)
    assert run("list", *card, "--level", level)["registry"]


def test_level_when_card_cannot_then_the_best_is_named(tmp_path: Path) -> None:
    directory, card = issue(tmp_path, "scp03-i00")
    error = refusal("list", *card, "--level", "33")
    assert error.code == ExitCode.USAGE and "03" in error.advice
    assert not any(failures(directory).values())


# --- keys --------------------------------------------------------------------------------------


def test_put_key_when_added_then_the_new_set_is_proved(tmp_path: Path) -> None:
    _, card = issue(tmp_path)
    new = private(tmp_path / "new", json.dumps({"kvn": "31", "key": "AB" * 32}))
    document = run("put-key", "--new-keys", new, *card)
    assert (document["kvn"], document["proved"]) == ("31", True)
    assert run("list", *card[:2], "--keys", new)["registry"]
    wrong_length = refusal("list", *card, "--kvn", "31")
    assert wrong_length.code == ExitCode.BAD_INPUT and "AES-256" in wrong_length.what


def test_put_key_when_replaced_then_the_old_set_is_gone(tmp_path: Path) -> None:
    _, card = issue(tmp_path)
    new = private(tmp_path / "new", "AB" * 16)
    assert run("put-key", "--new-keys", new, "--new-kvn", "31", "--replace", "30", *card)["proved"]
    assert run("list", *card[:2], "--keys", new)["registry"]
    error = refusal("list", *card, "--kvn", "30")
    assert error.code == ExitCode.REFUSED and "6A88" in error.what and "key set" in error.why


def test_put_key_when_version_is_there_then_refused_with_reason(tmp_path: Path) -> None:
    _, card = issue(tmp_path)
    new = private(tmp_path / "new", "AB" * 16)
    error = refusal("put-key", "--new-keys", new, "--new-kvn", "30", *card)
    assert error.code == ExitCode.REFUSED and "6A80" in error.what and "replace" in error.advice


def test_keys_when_wrong_then_stopped_before_external_authenticate(tmp_path: Path) -> None:
    directory, card = issue(tmp_path)
    wrong = private(tmp_path / "wrong", "AB" * 16)
    error = refusal("list", *card[:2], "--keys", wrong)
    assert error.code == ExitCode.WRONG_CRYPTOGRAM
    assert "cost 0" in error.why and "AB" * 16 not in error.why + error.what + error.advice
    assert not any(failures(directory).values())


@pytest.mark.parametrize(
    ("method", "profile"), [("kdf3", "scp03-i70"), ("emv", "scp02-i15"), ("visa2", "scp02-i15")]
)
def test_keys_when_diversified_then_the_method_is_found_without_a_try(
    tmp_path: Path, method: str, profile: str
) -> None:
    directory = CardDirectory(tmp_path / "card")
    identity = CardIdentity.from_serial(7)
    own = diversify(Secret(KEY), identity.kdd, DiversificationMethod(method))
    directory.issue(profile, 7, KeyMaterial(own.enc, own.mac, own.dek), identity=identity)
    words = ["list", "--reader", f"vse:{directory.path}", "--keys", private(tmp_path / "master", KEY.hex())]
    error = refusal(*words)
    assert error.code == ExitCode.WRONG_CRYPTOGRAM and f"--diversification {method}" in error.advice
    assert run(*words, "--diversification", method)["registry"]
    assert not any(failures(directory).values())


def test_test_keys_when_not_allowed_then_refused(tmp_path: Path) -> None:
    directory, card = issue(tmp_path, key=bytes(range(0x40, 0x50)))
    assert "--test-keys" in refusal("list", *card).advice
    assert run("list", *card, "--test-keys")["registry"]
    assert run("list", "--reader", f"vse:{directory.path}", "--test-keys")["registry"]


def test_key_file_when_others_can_read_then_refused(tmp_path: Path) -> None:
    directory, card = issue(tmp_path)
    directory.keys_file.chmod(0o640)
    error = refusal("list", *card)
    assert error.code == ExitCode.CONFIGURATION and "chmod 600" in error.advice


def test_keys_when_from_environment_then_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, card = issue(tmp_path)
    monkeypatch.setenv("DESK_KEYS", KEY.hex())
    assert run("list", *card[:2], "--keys", "env:DESK_KEYS")["registry"]
    assert refusal("list", *card[:2], "--keys", "env:NO_SUCH_KEYS").code == ExitCode.USAGE


def test_keys_when_in_arguments_then_a_warning(tmp_path: Path) -> None:
    _, card = issue(tmp_path)
    result = RUNNER.invoke(card_app, ["list", *card[:2], "--keys", KEY.hex()])
    assert result.exit_code == 0 and "warning: keys on the command line" in result.stderr


@pytest.mark.parametrize(
    "text", ["", "zz", "AB", "{", '{"enc": "AB"}', "AB" * 16 + " " + "AB" * 24, '{"kvn": 5, "key": 1}']
)
def test_keys_when_damaged_then_bad_input_without_repeating_them(tmp_path: Path, text: str) -> None:
    _, card = issue(tmp_path)
    error = refusal("list", *card[:2], "--keys", private(tmp_path / "keys", text))
    assert error.code == ExitCode.BAD_INPUT and (not text or text not in error.what + error.why)


# --- plans -------------------------------------------------------------------------------------


def test_dry_run_when_loading_then_plan_and_no_card() -> None:
    document = run("install", "--cap", str(BADGE), "--reader", "vpcd:127.0.0.1:1", "--dry-run")
    plan = document["plan"]
    assert isinstance(plan, list)
    assert plan[0]["apdu"].startswith("80E60200") and plan[-1]["apdu"].startswith("80E60C00")
    assert all(step["apdu"].startswith("80E8") for step in plan[1:-1])


def test_dry_run_when_put_key_then_no_key_is_shown(tmp_path: Path) -> None:
    new = private(tmp_path / "new", KEY.hex())
    words = ["put-key", "--new-keys", new, "--new-kvn", "31", "--reader", "vpcd:127.0.0.1:1", "--dry-run"]
    result = RUNNER.invoke(card_app, words)
    assert result.exit_code == 0 and "80D80081" in result.stdout
    assert KEY.hex() not in result.stdout.lower()


@pytest.mark.parametrize(
    "words",
    [
        ["delete"],
        ["delete", "F000000001", "--key-version", "30"],
        ["lock"],
        ["lock", "F000000001", "--card"],
        ["install", BADGE_MODULE],
        ["delete", "F0"],
        ["list", "--kvn", "1234"],
        ["install", BADGE_MODULE, "--package", BADGE_PACKAGE, "--privileges", "king"],
    ],
)
def test_words_when_wrong_then_usage(words: list[str]) -> None:
    assert refusal(*words, "--reader", "vpcd:127.0.0.1:1", "--test-keys").code == ExitCode.USAGE


def test_load_when_no_cap_then_bad_input(tmp_path: Path) -> None:
    (tmp_path / "x.cap").write_bytes(b"no cap")
    words = ["load", str(tmp_path / "x.cap"), "--reader", "vpcd:127.0.0.1:1", "--test-keys"]
    assert refusal(*words).code == ExitCode.BAD_INPUT


# --- over TCP ----------------------------------------------------------------------------------


@contextmanager
def served(card: VirtualCard) -> Iterator[str]:
    """Put a card on a loopback port in a thread of its own."""
    loop = asyncio.new_event_loop()
    endpoint = VpcdEndpoint(card)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        port = asyncio.run_coroutine_threadsafe(endpoint.listen("127.0.0.1", 0), loop).result(10)
        yield f"vpcd:127.0.0.1:{port}"
        asyncio.run_coroutine_threadsafe(endpoint.close(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def tcp_card(prepare: Callable[[VirtualCard], None] = lambda _: None) -> VirtualCard:
    key = Secret(bytes(range(0x40, 0x50)))
    material = KeyMaterial(key, key, key)
    card = VirtualCard.issue(load_profile("scp03-i70"), CardIdentity.from_serial(9), material, MemoryNvm())
    prepare(card)
    return card


def test_load_when_over_tcp_then_on_the_card() -> None:
    with served(tcp_card()) as reader:
        assert run("install", "--cap", str(BADGE), "--reader", reader, "--test-keys")["apdus"] > 2  # type: ignore[operator]
        rows = run("list", "--reader", reader, "--test-keys")["registry"]
    assert any(row["aid"] == BADGE_MODULE for row in rows)  # type: ignore[attr-defined]


def test_install_when_reader_is_torn_in_between_then_in_doubt() -> None:
    # SELECT, GET DATA 66 and E0, INITIALIZE UPDATE, EXTERNAL AUTHENTICATE, then INSTALL as the sixth.
    card = tcp_card(lambda one: one.arm(FaultPlan(cut_after_apdu=6)))
    with served(card) as reader:
        error = refusal("install", *SD_WORDS, "--privileges", "80", "--reader", reader, "--test-keys")
    assert error.code == ExitCode.IN_DOUBT and "card list" in error.advice


def test_list_when_reader_is_torn_while_reading_then_unavailable() -> None:
    card = tcp_card(lambda one: one.arm(FaultPlan(cut_after_apdu=6)))
    with served(card) as reader:
        assert refusal("list", "--reader", reader, "--test-keys").code == ExitCode.UNAVAILABLE


def test_list_when_nobody_listens_then_unavailable() -> None:
    with served(tcp_card()) as reader:
        pass
    assert refusal("list", "--reader", reader, "--test-keys").code == ExitCode.UNAVAILABLE


def test_list_when_no_domain_can_be_selected_then_the_status_word_is_explained(tmp_path: Path) -> None:
    recording = tmp_path / "recording"
    recording.write_text("ATR 3B80800101\n> 00A4040000\n< 6A82\n")
    error = refusal("list", "--reader", f"replay:{recording}", "--test-keys")
    assert error.code == ExitCode.REFUSED and "6A82" in error.what and error.why == "application not found"


# --- the matrix --------------------------------------------------------------------------------


def test_matrix_when_the_card_is_of_its_configuration_then_no_difference(tmp_path: Path) -> None:
    _, card = issue(tmp_path, "se-700")
    document = run("matrix", "--configuration", "700", *card)
    assert document["differences"] == []
    roles = {one["role"]: one["privileges"] for one in document["domains"]}  # type: ignore[attr-defined]
    # as Table 11-7 codes them; Mandated DAP Verification goes with DAP Verification
    assert roles == {"ISD": "9AFC80", "Central SD": "80C000", "MDPH SD": "C10000", "CA SD": "800100"}


def test_matrix_when_for_people_then_a_row_a_privilege(tmp_path: Path) -> None:
    _, card = issue(tmp_path, "se-700")
    lines = RUNNER.invoke(card_app, ["matrix", "--configuration", "700", *card]).stdout.splitlines()
    assert lines[0].split() == ["ISD", "Central", "SD", "MDPH", "SD", "CA", "SD"]
    rows = {line[:25].strip(): line[25:].split() for line in lines[1:]}
    assert (rows["Security Domain"], rows["Authorized Management"]) == (["x"] * 4, ["x"] * 2)
    assert rows["Mandated DAP Verification"] == ["x"] and "DAP Verification" not in rows


def test_matrix_when_a_domain_is_missing_or_has_too_much_then_told(tmp_path: Path) -> None:
    _, card = issue(tmp_path, "se-700")
    run("install", *SD_WORDS, "--privileges", "808100", *card)
    error = refusal("matrix", "--configuration", "700", *card)
    assert error.code is ExitCode.FAILED and error.why is not None
    assert f"{SSD} has no role of the configuration" in error.why
    other = refusal("matrix", "--configuration", "600", *card)
    assert other.why is not None and "there is no domain with the role MNO SD" in other.why
    assert "ISD has Token Verification" in other.why
    assert refusal("matrix", "--configuration", "900", *card).code is ExitCode.USAGE
