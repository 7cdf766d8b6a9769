"""Short, seeded runs of every fuzzing target, and proof that a campaign finds what is planted."""

from pathlib import Path
from random import Random

import msgspec
import pytest
from typer.testing import CliRunner

from opentsm.card.scp.channel import SecurityLevel
from opentsm.cli.fuzz import fuzz_app
from opentsm.cli.output import CliError
from opentsm.fuzz import desk
from opentsm.fuzz.campaign import run_seeded
from opentsm.fuzz.card_promises import WatchedCard
from opentsm.fuzz.catalogue import TARGETS
from opentsm.fuzz.mutation import framed, frames, mutate_bytes, mutate_commands
from opentsm.fuzz.target import BrokenPromiseError, Run, Target
from opentsm.vse.nvm import MemoryNvm
from opentsm.vse.state import decode_image, encode_image

_CARDS = {"card", "card-session", "card-envelope", "card-ota", "vpcd"}
REFUSED, DONE = bytes.fromhex("6A80"), bytes.fromhex("9000")


@pytest.mark.parametrize("name", TARGETS)
def test_target_when_fed_seeded_mutations_keeps_its_promises(name: str) -> None:
    result = run_seeded(TARGETS[name], inputs=400 if name in _CARDS else 1500, seed=7)
    assert [(one.place, one.data.hex()) for one in result.findings] == []


def planted(run: Run) -> Target:
    return Target("planted", "a fault", lambda: run, lambda: (b"\x01\x02\x03",))


def fail_above_3(data: bytes) -> None:
    if len(data) > 3:
        raise KeyError(data[3])


def hang_at_the_letter_a(data: bytes) -> None:
    while data == b"a":
        pass


def test_campaign_when_a_target_raises_an_unnamed_error_keeps_one_input_of_the_place() -> None:
    (finding,) = run_seeded(planted(fail_above_3), inputs=200, seed=1).findings
    with pytest.raises(KeyError):
        fail_above_3(finding.data)


def test_campaign_when_an_input_hangs_finds_it_and_goes_on() -> None:
    target = Target("planted", "a hang", lambda: hang_at_the_letter_a, lambda: (b"a", b"b"))
    result = run_seeded(target, inputs=5, seed=1, hang_s=0.05)
    assert [one.data for one in result.findings] == [b"a"]
    assert result.inputs == 5


def test_campaign_with_the_same_seed_feeds_the_same_inputs() -> None:
    fed: list[list[bytes]] = [[], []]
    for inputs in fed:
        run_seeded(planted(inputs.append), inputs=100, seed=5)
    assert fed[0] == fed[1]
    assert len(set(fed[0])) > 50


class LyingCard:
    """Answers as told, and changes its memory as told."""

    def __init__(self, nvm: MemoryNvm, answer: bytes, image: bytes) -> None:
        self.nvm, self.answer, self.image = nvm, answer, image

    def transmit(self, raw: bytes) -> bytes:
        self.nvm.save(self.image)
        return self.answer


def changed(*, counters_only: bool) -> bytes:
    image = decode_image(desk.stocked_image("scp03-i70"))
    domain = image.isd.domain_data()
    domain.failures[0x30] = 3
    domain.sequence[0x30] = 99
    if not counters_only:
        image.isd.state = 0x7F
    return encode_image(image)


def watched(answer: bytes, image: bytes) -> WatchedCard:
    nvm = MemoryNvm(desk.stocked_image("scp03-i70"))
    return WatchedCard(LyingCard(nvm, answer, image), nvm)


@pytest.mark.parametrize(
    ("answer", "why"),
    [("6F00", "internal fault"), ("AA6A80", "data with a refusal"), ("6A80", "with a change")],
)
def test_watched_card_when_a_promise_is_broken_says_which(answer: str, why: str) -> None:
    with pytest.raises(BrokenPromiseError, match=why):
        watched(bytes.fromhex(answer), changed(counters_only=False)).transmit(b"\x80\xca\x00\x00")


@pytest.mark.parametrize(("answer", "counters_only"), [(REFUSED, True), (DONE, False), (b"\x63\xc2", False)])
def test_watched_card_when_only_counters_moved_or_it_accepted_is_content(
    answer: bytes, counters_only: bool
) -> None:
    image = changed(counters_only=counters_only)
    assert watched(answer, image).transmit(b"\x80\xca\x00\x00") == answer


def test_watched_card_when_the_saved_image_is_damaged_cannot_be_reopened() -> None:
    card = watched(DONE, b"\xc1")
    card.transmit(b"\x80\xca\x00\x00")
    with pytest.raises(msgspec.DecodeError):
        card.reopen()


@pytest.mark.parametrize("name", desk.profiles())
def test_stocked_card_of_every_profile_has_a_session_for_its_target(name: str) -> None:
    opened = desk.Desk.open(desk.stocked_image(name))
    assert opened.authenticate(SecurityLevel.C_MAC)


def test_frames_when_put_together_come_apart_again() -> None:
    parts = [b"", b"\x01" * 300, b"\x02"]
    assert frames(framed(parts)) == parts
    assert frames(framed([b"abc"])[:-1]) == [b"ab"]


def test_command_mutator_keeps_frames_and_reaches_every_seed() -> None:
    random, start = Random(3), b"\x05" + framed([bytes.fromhex("80CA006600")])
    seen = {mutate_commands(1)(random, start, (start,)) for _ in range(200)}
    assert len(seen) > 100
    assert all(frames(one[1:]) for one in seen)


def test_byte_mutator_when_there_is_nothing_still_makes_something() -> None:
    random = Random(1)
    assert any(mutate_bytes(random, b"", ()) for _ in range(20))


def test_fuzz_command_tells_figures_and_succeeds(tmp_path: Path) -> None:
    arguments = ["tlv", "--inputs", "50", "--no-guided", "--json", "--keep", str(tmp_path / "kept")]
    done = CliRunner().invoke(fuzz_app, arguments)
    assert done.exit_code == 0, done.output
    assert '"inputs": 50' in done.stdout
    assert not (tmp_path / "kept").exists()


def test_fuzz_command_when_a_target_breaks_keeps_the_input_to_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TARGETS, "planted", planted(fail_above_3))
    arguments = ["planted", "--inputs", "200", "--no-guided", "--keep", str(tmp_path)]
    assert isinstance(CliRunner().invoke(fuzz_app, arguments).exception, CliError)
    (kept,) = (tmp_path / "planted").glob("*.bin")
    assert "KeyError" in kept.with_suffix(".txt").read_text("utf-8")
    again = CliRunner().invoke(fuzz_app, ["planted", "--replay", str(kept)])
    assert isinstance(again.exception, KeyError)


def test_fuzz_command_with_an_unknown_target_is_refused() -> None:
    refused = CliRunner().invoke(fuzz_app, ["nothing", "--inputs", "1"])
    assert isinstance(refused.exception, CliError)
