"""How fast one SCP03 command is protected (C-MAC and C-ENC, 200 bytes of data), against peers and the floor.

The floor is OpenSSL in C doing the same cryptography and nothing else: one AES block for the chaining value,
CBC over the padded data, CMAC over the message.
"""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from statistics import median

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB
from cryptography.hazmat.primitives.cmac import CMAC

from opentsm.bench.rates import Work, measure_in_turns, median_ratio
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.crypto.secret import Secret
from opentsm.card.scp import scp02, scp03
from opentsm.card.scp.channel import SecurityLevel, StaticKeys

DATA_BYTES = 200
_PADDED, _MAC_INPUT = 208, 240
_BLOCK = 16
# Published test values: a measurement needs no secret.
_KEY = bytes.fromhex("404142434445464748494A4B4C4D4E4F")
_HOST_CHALLENGE = bytes.fromhex("0001020304050607")
_ISD = bytes.fromhex("A000000151000000")


@dataclass(frozen=True, slots=True)
class WrapFigures:
    """Rates a second; a peer that is not installed, or a floor without the openssl command, is None."""

    wraps_per_s: float
    scp02_wraps_per_s: float
    yubikit_per_s: float | None
    naive_per_s: float
    openssl_floor_per_s: float | None
    ratio_yubikit: float | None
    ratio_naive: float
    ratio_floor: float | None


def measure(*, rounds: int, turn_s: float) -> WrapFigures:
    """Measure everything in one run.

    Args:
        rounds: turns of every contestant.
        turn_s: processor seconds a turn.
    """
    contestants: dict[str, Work] = {"opentsm": _opentsm(), "scp02": _opentsm_scp02(), "naive": _naive()}
    peer = _yubikit()
    if peer is not None:
        contestants["yubikit"] = peer
    rates = measure_in_turns(contestants, rounds=rounds, turn_s=turn_s)
    floor, ours = openssl_floor(), rates["opentsm"]
    return WrapFigures(
        wraps_per_s=median(ours),
        scp02_wraps_per_s=median(rates["scp02"]),
        yubikit_per_s=median(rates["yubikit"]) if peer else None,
        naive_per_s=median(rates["naive"]),
        openssl_floor_per_s=floor,
        ratio_yubikit=median_ratio(ours, rates["yubikit"]) if peer else None,
        ratio_naive=median_ratio(ours, rates["naive"]),
        ratio_floor=median(ours) / floor if floor else None,
    )


def _static_keys() -> StaticKeys:
    return StaticKeys(Secret(_KEY), Secret(_KEY), Secret(_KEY))


def _command() -> CommandApdu:
    return CommandApdu(0x80, 0xE2, 0x00, 0x00, bytes(range(DATA_BYTES)))


def _opentsm() -> Work:
    static = _static_keys()
    init = scp03.predict_initialize_update(
        static, kdd=bytes(10), kvn=0x30, i=0x70, counter=1, aid=_ISD, host_challenge=_HOST_CHALLENGE
    )
    keys = scp03.derive_session_keys(static, _HOST_CHALLENGE, init.card_challenge)
    channel = scp03.Scp03Channel(keys, init, _HOST_CHALLENGE)
    channel.external_authenticate(SecurityLevel.C_MAC_C_DECRYPTION)
    command = _command()
    return lambda: channel.wrap(command)


def _opentsm_scp02() -> Work:
    static = _static_keys()
    init = scp02.predict_initialize_update(
        static, kdd=bytes(10), kvn=0x20, i=0x55, counter=0, aid=_ISD, host_challenge=_HOST_CHALLENGE
    )
    keys = scp02.derive_session_keys(static, 0)
    channel = scp02.Scp02Channel(keys, init, _HOST_CHALLENGE, i=0x55)
    channel.external_authenticate(SecurityLevel.C_MAC_C_DECRYPTION)
    command = _command()
    return lambda: channel.wrap(command)


def _yubikit() -> Work | None:
    """Return yubikit's own protection of a command, without its transport."""
    try:
        scp = import_module("yubikit.core.smartcard.scp")
    except ModuleNotFoundError:
        return None
    state = scp.ScpState(scp.SessionKeys(_KEY, _KEY, _KEY, None), bytes(_BLOCK))
    encrypt: Callable[[bytes], bytes] = state.encrypt
    mac: Callable[[bytes], bytes] = state.mac
    data = bytes(range(DATA_BYTES))

    def wrap() -> bytes:
        encrypted = encrypt(data)
        message = b"\x84\xe2\x00\x00\xd8" + encrypted
        return message + mac(message)

    return wrap


def _naive() -> Work:
    """Return the protection as it is written first: a new context for every step."""
    data, counter, chain = bytes(range(DATA_BYTES)), 0, bytes(_BLOCK)

    def wrap() -> bytes:
        nonlocal counter, chain
        counter += 1
        icv = _run(Cipher(AES(_KEY), ECB()), counter.to_bytes(_BLOCK, "big"))  # noqa: S305
        encrypted = _run(Cipher(AES(_KEY), CBC(icv)), data + b"\x80" + bytes(_PADDED - DATA_BYTES - 1))
        message = b"\x84\xe2\x00\x00\xd8" + encrypted
        mac = CMAC(AES(_KEY))
        mac.update(chain + message)
        chain = mac.finalize()
        return message + chain[:8]

    return wrap


def _run(cipher: Cipher[ECB] | Cipher[CBC], data: bytes) -> bytes:
    context = cipher.encryptor()
    return context.update(data) + context.finalize()


def openssl_floor() -> float | None:
    """Return the wraps a second of `openssl speed`, None where there is no openssl command."""
    program = shutil.which("openssl")
    if program is None:
        return None
    block = _openssl_rate(program, _BLOCK, "-evp", "aes-128-ecb")
    cipher = _openssl_rate(program, _PADDED, "-evp", "aes-128-cbc")
    mac = _openssl_rate(program, _MAC_INPUT, "-cmac", "aes-128-cbc")
    return 1 / (1 / block + 1 / cipher + 1 / mac)


def _openssl_rate(program: str, size: int, *algorithm: str) -> float:
    """Return the operations a second on messages of this size; the last field of `+F` is bytes a second."""
    command = [program, "speed", "-mr", "-seconds", "1", "-bytes", str(size), *algorithm]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    line = next(line for line in done.stdout.splitlines() if line.startswith("+F:"))
    return float(line.rsplit(":", 1)[1]) / size
