"""How often an address may fail to prove who it is: some times in a short window, then 429 until its end.

What it bounds is work and noise, since tokens and codes are too long to be guessed. An address can be that of
thousands of phones behind one router, of which one is an attacker's: windows are short, every kind of proof
has its own, and whoever has proved itself from an address is not held up by the failures of others there.
All is kept in the memory of one process, and bounded: a flood from very many addresses makes it forget.
"""

import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from time import monotonic
from typing import Any, TypeVar, cast

from opentsm.api.container import container_of
from opentsm.tsm.config.limits import LimitSettings
from opentsm.tsm.kernel.errors import ExpiredTokenError, TooManyError, UnauthenticatedError
from opentsm.tsm.roles.hub.devices import EnrolmentCodeError

T = TypeVar("T")

MAX_WINDOWS = 10_000
MAX_PROVEN = 50_000
_NETWORK_BITS = 64  # what one subscriber of IPv6 has for itself


class Door(StrEnum):
    """What is proved, and counted apart."""

    TOKEN = "token"  # noqa: S105 - the name of a door
    ENROLMENT = "enrolment"
    ASSERTION = "assertion"
    SPTSM = "sptsm"
    APP = "app"
    PEER = "peer"


class TooManyAttemptsError(TooManyError):
    """This address has failed too often to prove who it is."""

    code = "too_many_attempts"

    def __init__(self, retry_after_s: int) -> None:
        """Say when it may try again."""
        super().__init__(
            advice=f"Check the token, code or key, and try again in {retry_after_s} s.",
            retry_after_s=retry_after_s,
        )


@dataclass(slots=True)
class _Window:
    begun: float
    failures: int = 0


class FailedProofs:
    """Counts failures by address and door."""

    def __init__(
        self,
        clock: Callable[[], float] = monotonic,
        *,
        max_windows: int = MAX_WINDOWS,
        max_proven: int = MAX_PROVEN,
    ) -> None:
        """Begin without any.

        Args:
            clock: seconds that never go back.
            max_windows: addresses with failures that are remembered.
            max_proven: successful proofs that are remembered.
        """
        self._clock = clock
        self._max_windows = max_windows
        self._max_proven = max_proven
        self._windows: OrderedDict[bytes, _Window] = OrderedDict()
        self._proven: OrderedDict[bytes, None] = OrderedDict()

    @contextmanager
    def proving(
        self,
        address: str,
        door: Door,
        limits: LimitSettings,
        *,
        subject: str | None = None,
        failed: Callable[[Exception], bool] | None = None,
    ) -> Iterator[None]:
        """Surround the check of a proof.

        Args:
            address: where the request came from.
            door: what is proved.
            limits: failures and seconds of a window.
            subject: the token or the name of who is to be proved; one that was proved here before has a
                window of its own.
            failed: whether an error is a failed proof; None for the hub's errors.

        Raises:
            TooManyAttemptsError: the window has no failure left; nothing was checked.
        """
        own = None if subject is None else _place(address, door, subject)
        place = own if own in self._proven and own is not None else _place(address, door)
        self._admit(place, limits)
        try:
            yield
        except Exception as error:
            if (failed or is_failed_proof)(error):
                self._count(place, limits)
            raise
        if own is not None:
            _remember(self._proven, own, None, self._max_proven)

    def _admit(self, place: bytes, limits: LimitSettings) -> None:
        window = self._windows.get(place)
        if window is None or window.failures < limits.failed_proofs:
            return
        left = window.begun + limits.failed_proofs_window_s - self._clock()
        if left > 0:
            raise TooManyAttemptsError(math.ceil(left))

    def _count(self, place: bytes, limits: LimitSettings) -> None:
        now = self._clock()
        window = self._windows.get(place)
        if window is None or now - window.begun >= limits.failed_proofs_window_s:
            window = _Window(now)
            _remember(self._windows, place, window, self._max_windows)
        window.failures += 1


def is_failed_proof(error: Exception) -> bool:
    """Say whether somebody failed to prove who they are; a token that was good once is no guess."""
    failures = UnauthenticatedError, EnrolmentCodeError
    return isinstance(error, failures) and not isinstance(error, ExpiredTokenError)


@contextmanager
def proving(
    scope: Any,
    door: Door,
    subject: str | None = None,
    *,
    failed: Callable[[Exception], bool] | None = None,
) -> Iterator[None]:
    """Surround the check of a proof that came with a request; `FailedProofs.proving` has the rest."""
    proofs = cast("FailedProofs", scope["app"].state["proofs"])
    limits = container_of(scope).settings.limits
    with proofs.proving(address_of(scope.get("client")), door, limits, subject=subject, failed=failed):
        yield


def address_of(client: tuple[str, int] | None) -> str:
    """Name where a request came from: an IPv4 address, or the network of an IPv6 address."""
    text = "" if client is None else client[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return text
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{int(address) >> _NETWORK_BITS:x}/{_NETWORK_BITS}"


def _place(*parts: str) -> bytes:
    """Name a window without keeping what names it: a token among others."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).digest()


def _remember(store: OrderedDict[bytes, T], place: bytes, value: T, limit: int) -> None:
    """Keep the newest ones."""
    store[place] = value
    store.move_to_end(place)
    if len(store) > limit:
        store.popitem(last=False)
