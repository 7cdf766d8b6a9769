"""Failed proofs of one address: counted in short windows, by door, in bounded memory."""

from dataclasses import dataclass, field

import pytest

from opentsm.api.attempts import Door, FailedProofs, TooManyAttemptsError, address_of
from opentsm.tsm.config.limits import LimitSettings
from opentsm.tsm.kernel.errors import ExpiredTokenError, NotFoundError, UnauthenticatedError
from opentsm.tsm.roles.hub.devices import EnrolmentCodeError

LIMITS = LimitSettings(import_bytes=1, failed_proofs=3, failed_proofs_window_s=10.0)
HOME, AWAY = "192.0.2.1", "192.0.2.2"


@dataclass
class Bench:
    """A limiter whose clock a test sets."""

    now: float = 1000.0
    proofs: FailedProofs = field(init=False)

    def __post_init__(self) -> None:
        self.proofs = FailedProofs(lambda: self.now, max_windows=4, max_proven=2)

    def tries(
        self,
        error: Exception | None = None,
        address: str = HOME,
        door: Door = Door.TOKEN,
        subject: str | None = None,
    ) -> str:
        """Make one attempt, which ends in an error or in success; return what became of it."""
        try:
            with self.proofs.proving(address, door, LIMITS, subject=subject):
                if error is not None:
                    raise error
        except TooManyAttemptsError as refused:
            return f"wait {refused.retry_after_s}"
        except Exception as raised:
            assert raised is error
            return "failed"
        return "proved"

    def exhaust(self, address: str = HOME, door: Door = Door.TOKEN, subject: str | None = None) -> None:
        """Use up a window."""
        for _ in range(LIMITS.failed_proofs):
            assert self.tries(UnauthenticatedError(), address, door, subject) == "failed"


def test_address_when_it_failed_too_often_then_it_waits_until_the_window_ends() -> None:
    bench = Bench()
    bench.exhaust()
    assert bench.tries() == "wait 10"
    bench.now += 9.5
    assert bench.tries() == "wait 1"
    bench.now += 0.5
    assert bench.tries() == "proved"


def test_address_when_it_goes_on_while_it_waits_then_the_window_is_not_prolonged() -> None:
    bench = Bench()
    bench.exhaust()
    for _ in range(100):
        bench.now += 0.09
        assert bench.tries(UnauthenticatedError()).startswith("wait")
    bench.now += 1
    bench.exhaust()


def test_window_when_one_address_and_door_used_it_up_then_the_others_have_their_own() -> None:
    bench = Bench()
    bench.exhaust()
    assert bench.tries(address=AWAY) == "proved"
    assert bench.tries(door=Door.ENROLMENT) == "proved"


def test_subject_when_it_was_proved_there_before_then_others_failures_do_not_hold_it_up() -> None:
    bench = Bench()
    assert bench.tries(subject="good") == "proved"
    bench.exhaust()
    assert bench.tries(subject="new") == "wait 10"
    assert bench.tries(subject="good") == "proved"
    bench.now += 1
    assert bench.tries(subject="good", address=HOME, door=Door.ASSERTION) == "proved"


def test_subject_when_it_fails_after_it_was_proved_then_it_waits_too() -> None:
    bench = Bench()
    assert bench.tries(subject="good") == "proved"
    bench.exhaust(subject="good")
    assert bench.tries(subject="good") == "wait 10"
    assert bench.tries(subject="another") == "proved"


@pytest.mark.parametrize("error", [ExpiredTokenError(), NotFoundError(), ValueError()])
def test_error_when_it_is_no_failed_proof_then_it_does_not_count(error: Exception) -> None:
    bench = Bench()
    assert [bench.tries(error) for _ in range(10)] == ["failed"] * 10


def test_error_when_it_is_a_bad_code_then_it_counts() -> None:
    bench = Bench()
    found = [bench.tries(EnrolmentCodeError(), door=Door.ENROLMENT) for _ in range(4)]
    assert found == ["failed"] * 3 + ["wait 10"]


def test_memory_when_very_many_addresses_fail_then_the_oldest_are_forgotten() -> None:
    bench = Bench()
    bench.exhaust()
    for number in range(4):
        bench.tries(UnauthenticatedError(), f"198.51.100.{number}")
    assert len(bench.proofs._windows) == 4
    assert bench.tries() == "proved"
    for number in range(4):
        bench.tries(subject=f"token {number}")
    assert len(bench.proofs._proven) == 2


def test_memory_when_tokens_were_tried_then_holds_none_of_them() -> None:
    bench = Bench()
    bench.tries(subject="otsm_secret")
    bench.tries(UnauthenticatedError(), subject="otsm_secret")
    kept = [*bench.proofs._windows, *bench.proofs._proven]
    assert kept
    assert all(b"otsm_secret" not in place and len(place) == 32 for place in kept)


@pytest.mark.parametrize(
    ("client", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "20010db800010002/64"),
        ("2001:db8:1:2::1", "20010db800010002/64"),
        ("2001:db8:1:3::1", "20010db800010003/64"),
        ("fe80::1%eth0", "fe80000000000000/64"),
        ("unix", "unix"),
    ],
)
def test_address_when_read_then_names_one_subscriber(client: str, address: str) -> None:
    assert address_of((client, 1)) == address


def test_address_when_there_is_none_then_all_of_these_are_one() -> None:
    assert address_of(None) == ""
