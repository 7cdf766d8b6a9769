"""How many secured commands the virtual card answers a second, on one core, without a reader in between.

Every command is protected anew (C-MAC and C-ENC, at the full level R-MAC and R-ENC too), so the rates hold
the host's wrapping; `wraps_per_s` tells how little it is.
"""

from dataclasses import dataclass
from statistics import median

from opentsm.bench.rates import Work, measure_in_turns, median_ratio
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.codec.tlv import encode_tlv
from opentsm.card.crypto.secret import Secret
from opentsm.card.gp import commands
from opentsm.card.scp.channel import SecureChannel, SecurityLevel, StaticKeys, parse_initialize_update
from opentsm.card.scp.session import derive_session_keys, open_channel
from opentsm.vse.card import CardIdentity, KeyMaterial, VirtualCard
from opentsm.vse.nvm import MemoryNvm
from opentsm.vse.profiles import load_profile

_HOST_CHALLENGE = bytes.fromhex("0001020304050607")
# Published test values: a measurement needs no secret.
_KEY = bytes.fromhex("404142434445464748494A4B4C4D4E4F")
_DATA_BYTES = 200


@dataclass(frozen=True, slots=True)
class CardFigures:
    """Commands a second; `ratio_*` compares with the same command outside a session in the same run.

    Reads are GET STATUS of the issuer security domain, writes are STORE DATA of 200 bytes with the card's
    memory saved after each.
    """

    reads_per_s: float
    full_reads_per_s: float
    writes_per_s: float
    plain_per_s: float
    wraps_per_s: float
    ratio_reads_plain: float


class BenchError(RuntimeError):
    """The card refused a command that the measurement sends."""


def measure(*, rounds: int, turn_s: float) -> CardFigures:
    """Measure everything in one run.

    Args:
        rounds: turns of every contestant.
        turn_s: processor seconds a turn.

    Raises:
        BenchError: the card refused a command.
    """
    read = commands.get_status(0x80)
    write = CommandApdu(0x80, 0xE2, 0x90, 0x00, encode_tlv(0x42, bytes(_DATA_BYTES - 3)))
    plain_card, (_, channel) = _card(), _session(SecurityLevel.C_MAC_C_DECRYPTION)
    contestants: dict[str, Work] = {
        "reads": _secured(SecurityLevel.C_MAC_C_DECRYPTION, read),
        "full": _secured(SecurityLevel.FULL, read),
        "writes": _secured(SecurityLevel.C_MAC_C_DECRYPTION, write),
        "plain": lambda: _require_success(plain_card.transmit(b"\x80\xca\x00\x66\x00")),
        "wraps": lambda: channel.wrap(write),
    }
    rates = measure_in_turns(contestants, rounds=rounds, turn_s=turn_s)
    return CardFigures(
        reads_per_s=median(rates["reads"]),
        full_reads_per_s=median(rates["full"]),
        writes_per_s=median(rates["writes"]),
        plain_per_s=median(rates["plain"]),
        wraps_per_s=median(rates["wraps"]),
        ratio_reads_plain=median_ratio(rates["reads"], rates["plain"]),
    )


def _card() -> VirtualCard:
    keys = KeyMaterial(Secret(_KEY), Secret(_KEY), Secret(_KEY))
    card = VirtualCard.issue(load_profile("scp03-i70"), CardIdentity.from_serial(1), keys, MemoryNvm())
    card.power_on()
    return card


def _session(level: SecurityLevel) -> tuple[VirtualCard, SecureChannel]:
    card, static = _card(), StaticKeys(Secret(_KEY), Secret(_KEY), Secret(_KEY))
    answer = ResponseApdu.parse(card.transmit(commands.initialize_update(0, _HOST_CHALLENGE).to_bytes()))
    init = parse_initialize_update(answer.data)
    channel = open_channel(derive_session_keys(static, init, _HOST_CHALLENGE), init, _HOST_CHALLENGE)
    _require_success(card.transmit(channel.external_authenticate(level).to_bytes()))
    return card, channel


def _secured(level: SecurityLevel, command: CommandApdu) -> Work:
    card, channel = _session(level)

    def exchange() -> None:
        _require_success(card.transmit(channel.wrap(command).raw))

    exchange()
    return exchange


def _require_success(answer: bytes) -> None:
    if answer[-2:] != b"\x90\x00":
        raise BenchError(f"the card answered {answer[-2:].hex().upper()}")
