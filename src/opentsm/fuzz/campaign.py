"""A campaign: many inputs to one target, with a watchdog, and what was found.

Without coverage guidance inputs are seeded mutations, the same in every run with the same seed.
"""

import signal
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from time import process_time
from types import FrameType

from opentsm.fuzz.target import BrokenPromiseError, HangError, Run, Target

HANG_S = 10.0
_FRESH = 0.02
_KEPT = 512
_OURS = "opentsm"


@dataclass(frozen=True, slots=True)
class Finding:
    """An input that broke a promise.

    Args:
        place: error and place of the code, by which findings are told apart.
        data: the input.
        trace: the traceback as text.
    """

    place: str
    data: bytes
    trace: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Result:
    """What a campaign came to; `findings` holds the first input of each place."""

    target: str
    inputs: int
    seconds: float
    guided: bool
    findings: tuple[Finding, ...]
    coverage: int | None = None

    @property
    def inputs_per_s(self) -> float:
        """Inputs a second of processor time."""
        return self.inputs / self.seconds if self.seconds else 0.0


@contextmanager
def watchdog() -> Iterator[None]:
    """Turn the end of processor time into `HangError`; `Probe` winds it up for each input."""
    before = signal.signal(signal.SIGVTALRM, _hang)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _hang(number: int, frame: FrameType | None) -> None:
    raise HangError("an input took too much processor time")


@dataclass(slots=True)
class Probe:
    """Runs inputs under the watchdog and keeps what they find."""

    run: Run
    hang_s: float = HANG_S
    findings: dict[str, Finding] = field(default_factory=dict)
    inputs: int = 0

    def try_input(self, data: bytes) -> bool:
        """Run one input; tell whether it passed."""
        self.inputs += 1
        signal.setitimer(signal.ITIMER_VIRTUAL, self.hang_s)
        try:
            self.run(data)
        except (Exception, HangError) as error:
            place = _place(error)
            trace = "".join(traceback.format_exception(error))
            self.findings.setdefault(place, Finding(place, data, trace))
            return False
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        return True


def _place(error: BaseException) -> str:
    """Name the innermost place of our code; a broken promise is told apart by its words."""
    if isinstance(error, BrokenPromiseError):
        return str(error)
    name = type(error).__name__
    for entry in reversed(traceback.extract_tb(error.__traceback__)):
        if f"/{_OURS}/" in entry.filename and "/fuzz/" not in entry.filename:
            return f"{name} at {entry.filename.rpartition(f'/{_OURS}/')[2]}:{entry.lineno}"
    return name


def mutations(target: Target, random: Random, seeds: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the seeds, then without end: changes of them, changes of changes, and fresh bytes."""
    yield from seeds
    pool = list(seeds) or [b""]
    while True:
        if random.random() < _FRESH:
            yield random.randbytes(random.randrange(300))
            continue
        at = random.randrange(len(pool))
        data = target.mutate(random, pool[at], seeds)
        if len(pool) < _KEPT:
            pool.append(data)
        elif at >= len(seeds) and random.random() < 0.1:
            pool[at] = data
        yield data


def run_seeded(target: Target, *, inputs: int, seed: int, hang_s: float = HANG_S) -> Result:
    """Run seeded mutations.

    Args:
        target: what to feed.
        inputs: how many.
        seed: the same seed yields the same inputs.
        hang_s: seconds of processor time that one input may take.
    """
    probe = Probe(target.prepare(), hang_s)
    start = process_time()
    with watchdog():
        for data in mutations(target, Random(seed), target.seeds()):  # noqa: S311 - repeatable on purpose
            if probe.inputs >= inputs:
                break
            probe.try_input(data)
    seconds = process_time() - start
    return Result(target.name, probe.inputs, seconds, False, tuple(probe.findings.values()))
