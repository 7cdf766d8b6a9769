"""Targets of secure channels on the host's side: what a card, or who sits in between, answers."""

from collections.abc import Callable
from functools import cache, partial

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.codec.tlv import encode_tlv
from opentsm.card.crypto.cipher import DES_BLOCK
from opentsm.card.crypto.key_agreement import KeyAgreementKey, random_length
from opentsm.card.crypto.mac import cmac, retail_mac
from opentsm.card.crypto.padding import pad80
from opentsm.card.crypto.secret import Secret
from opentsm.card.crypto.signature import Curve
from opentsm.card.errors import ApduError, ResponseFormatError, SecureChannelError
from opentsm.card.gp import commands
from opentsm.card.scp import scp02, scp11
from opentsm.card.scp.channel import (
    InitializeUpdateResponse,
    ResponseLink,
    SecureChannel,
    SecurityLevel,
    SessionKeys,
    StaticKeys,
    carries_response_mac,
    parse_initialize_update,
)
from opentsm.card.scp.scp03 import Scp03Channel
from opentsm.card.scp.session import derive_session_keys, open_channel
from opentsm.fuzz import desk
from opentsm.fuzz.target import BrokenPromiseError, Run, Target, all_of, refusing

_COMMAND = commands.get_status(0x80)
_SEALED = 0x80


class _Answered:
    """A session with one command sent; answers to it are tried, as they are or with a right R-MAC."""

    def __init__(self, channel: SecureChannel, macs: Callable[[bytes, ResponseLink], bytes]) -> None:
        self._channel = channel
        self._link = channel.wrap(_COMMAND).link
        self._mac = macs

    def try_answer(self, data: bytes) -> None:
        """Open one answer: a byte that tells whether it is sealed, then the answer.

        Raises:
            BrokenPromiseError: an answer without a right R-MAC was taken.
        """
        sealed = bool(data[:1] >= bytes((_SEALED,)))
        response = ResponseApdu.parse(data[1:])
        valid = self._mac(response.data + response.sw.to_bytes(2, "big"), self._link)
        if sealed:
            response = ResponseApdu(response.data + valid, response.sw)
        opened = self._channel.unwrap(response, self._link)
        if sealed or not carries_response_mac(opened.sw):
            return
        size = len(valid)
        plain, mac = response.data[:-size], response.data[-size:]
        if mac != self._mac(plain + response.sw.to_bytes(2, "big"), self._link):
            raise BrokenPromiseError("an answer without a right R-MAC was taken")


def _scp03_mac(data: bytes, link: ResponseLink, *, length: int) -> bytes:
    return cmac(desk.KEY, link.chain + data)[:length]


def _scp03(mac_length: int) -> Run:
    keys, level = SessionKeys(*(Secret(desk.KEY) for _ in range(4))), SecurityLevel.FULL
    channel = Scp03Channel.established(keys, level=level, chain=b"\1" * 16, s16=mac_length == 16)
    return _Answered(channel, partial(_scp03_mac, length=mac_length)).try_answer


def _scp03_both() -> Run:
    named = (SecureChannelError, ResponseFormatError, ApduError)
    return all_of(*[refusing(_scp03(length), *named) for length in (8, 16)])


def _initialize_update(data: bytes) -> None:
    """Read an answer to INITIALIZE UPDATE and open the session that it offers."""
    init = parse_initialize_update(data)
    static = StaticKeys(Secret(desk.KEY), Secret(desk.KEY), Secret(desk.KEY))
    challenge = bytes(len(init.card_challenge) if init.scp == 3 else 8)
    open_channel(derive_session_keys(static, init, challenge), init, challenge)


def _scp02() -> Run:
    """A chain of R-MACs moves with each answer, so every input has its own session."""
    static = StaticKeys(Secret(desk.KEY), Secret(desk.KEY), Secret(desk.KEY))
    keys = scp02.derive_session_keys(static, 1)
    challenge = bytes(6)
    cryptogram = scp02.card_cryptogram(keys, 1, bytes(8), challenge)
    init = InitializeUpdateResponse(bytes(10), 1, 2, 0x55, challenge, cryptogram, 1)

    def run(data: bytes) -> None:
        channel = scp02.Scp02Channel(keys, init, bytes(8), i=0x55)
        opening = channel.external_authenticate(SecurityLevel.C_MAC_R_MAC)
        link = channel.wrap(_COMMAND).link
        response = ResponseApdu.parse(data[1:])
        message = link.command + bytes((len(response.data) & 0xFF,)) + response.to_bytes()
        valid = retail_mac(keys.rmac.reveal(), pad80(message, DES_BLOCK), opening.data[-DES_BLOCK:])
        if data[0] >= _SEALED:
            response = ResponseApdu(response.data + valid, response.sw)
        opened = channel.unwrap(response, link)
        if (
            data[0] < _SEALED
            and carries_response_mac(opened.sw)
            and not _signed(keys, link, opening, response)
        ):
            raise BrokenPromiseError("an answer without a right R-MAC was taken")

    return refusing(run, SecureChannelError, ResponseFormatError, ApduError)


def _signed(keys: SessionKeys, link: ResponseLink, opening: CommandApdu, response: ResponseApdu) -> bool:
    plain = ResponseApdu(response.data[:-DES_BLOCK], response.sw)
    message = link.command + bytes((len(plain.data) & 0xFF,)) + plain.to_bytes()
    expected = retail_mac(keys.rmac.reveal(), pad80(message, DES_BLOCK), opening.data[-DES_BLOCK:])
    return response.data[-DES_BLOCK:] == expected


def _scp11() -> Run:
    """Answers to key agreement; a right receipt cannot be guessed, so none may open a session."""
    keys = [
        KeyAgreementKey.from_random(Curve.P_256, bytes((n,)) * random_length(Curve.P_256)) for n in (3, 4, 5)
    ]
    own, card, ephemeral = keys
    parameters = scp11.SessionParameters(scp11.Variant.B, 1)
    command = scp11.authenticate(parameters, ephemeral.point)
    host = scp11.HostKeys(ephemeral=ephemeral, static=own)

    def run(data: bytes) -> None:
        scp11.open_session(parameters, command, data, host, card.point)
        raise BrokenPromiseError("a session was opened without the card's key")

    return refusing(run, SecureChannelError, ResponseFormatError)


@cache
def _answers() -> tuple[bytes, ...]:
    endings = (b"\x90\0", b"\x63\x10", b"\x6a\x80", b"\x62\0")
    bodies = (b"", bytes(16), bytes(15) + b"\x80", b"\xe3\x10" + bytes(30), bytes(24), b"\x80" + bytes(31))
    return tuple(bytes((mode,)) + body + end for mode in (0, _SEALED) for body in bodies for end in endings)


@cache
def _openings() -> tuple[bytes, ...]:
    found = []
    for name in desk.profiles():
        opened = desk.Desk.open(desk.stocked_image(name))
        for length in (8, 16):
            answer = opened.card.transmit(commands.initialize_update(0, bytes(length)).to_bytes())
            found.append(answer[:-2])
    return tuple(found)


@cache
def _agreements() -> tuple[bytes, ...]:
    point = KeyAgreementKey.from_random(Curve.P_256, b"\5" * random_length(Curve.P_256)).point
    return tuple(encode_tlv(0x5F49, key) + encode_tlv(0x86, bytes(16)) for key in (point, b"\4" + bytes(64)))


CHANNEL_TARGETS = (
    Target(
        "initialize-update",
        "answers to INITIALIZE UPDATE",
        lambda: refusing(_initialize_update, SecureChannelError, ResponseFormatError),
        _openings,
    ),
    Target("scp02-unwrap", "answers in an SCP02 session", _scp02, _answers),
    Target("scp03-unwrap", "answers in SCP03 sessions, S8 and S16", _scp03_both, _answers),
    Target("scp11-agreement", "answers to the key agreement of SCP11", _scp11, _agreements),
)
