"""Many virtual secure elements in one process: what each costs in memory, and how many commands they answer.

Memory is the growth of the process's resident set divided by the number of cards, so it holds all that a card
needs, allocator and all; rates are in processor time of one core, every card in turn.
"""

import gc
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import TypeVar

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.crypto.secret import Secret
from opentsm.card.gp import commands
from opentsm.card.gp.instructions import StatusScope
from opentsm.card.scp.channel import SecureChannel, SecurityLevel, StaticKeys, parse_initialize_update
from opentsm.card.scp.session import derive_session_keys, open_channel
from opentsm.vse.card import CardIdentity, KeyMaterial, VirtualCard
from opentsm.vse.nvm import MemoryNvm
from opentsm.vse.profiles import VseProfile, load_profile

_CHALLENGE = bytes(range(8))
# Published test values: a measurement needs no secret.
_KEY = Secret(bytes.fromhex("404142434445464748494A4B4C4D4E4F"))
_LEVEL = SecurityLevel.FULL
_STATM = Path("/proc/self/statm")
_PAGE_BYTES = 4096

_T = TypeVar("_T")


class FleetError(RuntimeError):
    """A card refused a command that the measurement sends."""


@dataclass(frozen=True, slots=True)
class FleetFigures:
    """What a fleet costs.

    Attributes:
        cards: how many.
        profile: of which kind.
        image_bytes: size of one card's saved memory.
        bytes_off: memory each, without power; None where the machine does not tell its resident set.
        bytes_powered: with power, before the first command.
        bytes_selected: after a SELECT.
        bytes_session: with an open secure channel, the host's side of it included.
        issued_per_s: cards made a second.
        selects_per_s: SELECT, each the first command of its card after power-on.
        sessions_per_s: secure channels opened a second, both sides.
        apdus_per_s: GET STATUS under C-MAC, C-ENC, R-MAC and R-ENC, both sides, cards in turn.
    """

    cards: int
    profile: str
    image_bytes: int
    bytes_off: int | None
    bytes_powered: int | None
    bytes_selected: int | None
    bytes_session: int | None
    issued_per_s: float
    selects_per_s: float
    sessions_per_s: float
    apdus_per_s: float


def measure(*, cards: int, profile: str = "scp03-i70", rounds: int = 1) -> FleetFigures:
    """Make a fleet, use it, and forget it.

    Args:
        cards: how many, 1 or more.
        profile: name of a packaged SCP03 profile with challenges of 8 bytes.
        rounds: secured commands to each card.

    Raises:
        FleetError: a card refused a command.
    """
    kind = load_profile(profile)
    _warm_up(kind)
    before = _resident()
    fleet, issued = _timed(lambda: [_issue(kind, number) for number in range(cards)])
    off = _each(before, cards)
    for card in fleet:
        card.power_on()
    powered = _each(before, cards)
    _, selected = _timed(lambda: [_ok(card, commands.select()) for card in fleet])
    in_use = _each(before, cards)
    channels, opened = _timed(lambda: [_open(card) for card in fleet])
    session = _each(before, cards)
    pairs = list(zip(fleet, channels, strict=True))
    _, spent = _timed(lambda: _read(pairs * rounds))
    return FleetFigures(
        cards=cards,
        profile=profile,
        image_bytes=_image_bytes(kind),
        bytes_off=off,
        bytes_powered=powered,
        bytes_selected=in_use,
        bytes_session=session,
        issued_per_s=cards / issued,
        selects_per_s=cards / selected,
        sessions_per_s=cards / opened,
        apdus_per_s=rounds * cards / spent,
    )


def _warm_up(kind: VseProfile) -> None:
    """Import and cache what the first card would pay for."""
    card = _issue(kind, 0)
    card.power_on()
    _read([(card, _open(card))])


def _timed(work: Callable[[], _T]) -> tuple[_T, float]:
    start = process_time()
    result = work()
    return result, max(process_time() - start, 1e-9)


def _resident() -> int | None:
    """Return the resident set of this process in bytes, None where it is not told."""
    gc.collect()
    try:
        return int(_STATM.read_text("ascii").split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return None


def _each(before: int | None, cards: int) -> int | None:
    now = _resident()
    return None if before is None or now is None else (now - before) // cards


def _issue(kind: VseProfile, serial: int, nvm: MemoryNvm | None = None) -> VirtualCard:
    keys = KeyMaterial(_KEY, _KEY, _KEY)
    return VirtualCard.issue(kind, CardIdentity.from_serial(serial), keys, nvm or MemoryNvm())


def _image_bytes(kind: VseProfile) -> int:
    nvm = MemoryNvm()
    _issue(kind, 0, nvm)
    return len(nvm.load() or b"")


def _open(card: VirtualCard) -> SecureChannel:
    init = parse_initialize_update(_ok(card, commands.initialize_update(0, _CHALLENGE)).data)
    static = StaticKeys(_KEY, _KEY, _KEY)
    channel = open_channel(derive_session_keys(static, init, _CHALLENGE), init, _CHALLENGE)
    _ok(card, channel.external_authenticate(_LEVEL))
    return channel


def _read(pairs: Iterable[tuple[VirtualCard, SecureChannel]]) -> None:
    command = commands.get_status(StatusScope.ISD)
    for card, channel in pairs:
        wrapped = channel.wrap(command)
        channel.unwrap(_ok(card, wrapped.apdu), wrapped.link)


def _ok(card: VirtualCard, command: CommandApdu) -> ResponseApdu:
    answer = ResponseApdu.parse(card.transmit(command.to_bytes()))
    if answer.sw != 0x9000:
        raise FleetError(f"a card answered {answer.sw:04X} to instruction {command.ins:02X}")
    return answer
