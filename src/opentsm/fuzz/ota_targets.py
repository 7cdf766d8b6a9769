"""Targets over the air: packets of both directions, short messages, scripts and administration sessions."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import ApduError, OtaError
from opentsm.card.gp import commands
from opentsm.card.ota import remote_apdu, scp81, scp81_trigger, sms
from opentsm.card.ota.key_reference import PacketKeys
from opentsm.card.ota.scp80 import (
    CommandPacket,
    Policy,
    ResponsePacket,
    decode_command,
    decode_response,
    encode_command,
    encode_response,
    peek_command,
    peek_response_tar,
)
from opentsm.card.ota.spi import Integrity, Spi
from opentsm.fuzz import card_seeds, desk
from opentsm.fuzz.mutation import frames
from opentsm.fuzz.target import BrokenPromiseError, Run, Target, all_of, refusing
from opentsm.vse.ota.messages import NotForUsError, read_envelope
from opentsm.vse.ota.packet import MalformedPacketError, PacketRefusedError, read_header
from opentsm.vse.status import StatusError

_KEYS = PacketKeys(Secret(desk.KEY), Secret(desk.KEY))
_LOOSE = Policy(weak_des=True, aes_without_counter=True)
_SPIS = (Spi(), Spi(ciphered=False), Spi(integrity=Integrity.RC), Spi(por_submit=True, por_ciphered=False))
_SETS = (0x12, 0x15)
_RESPONSES = (ResponsePacket(bytes(3), 1, 0, bytes.fromhex("039000E300")), ResponsePacket(bytes(3), 1, 9))
_COMMANDS = tuple(CommandPacket(spi, kind, kind, bytes(3), 1) for spi in _SPIS[:1] for kind in _SETS)


def _command(data: bytes) -> None:
    packet = decode_command(data, _KEYS, policy=_LOOSE)
    again = encode_command(packet, _KEYS, policy=_LOOSE)
    if decode_command(again, _KEYS, policy=_LOOSE) != packet:
        raise BrokenPromiseError("a command packet that is written and read again differs")


def _response(command: CommandPacket, data: bytes) -> None:
    """Open a response; one that passes as authentic was made with the keys."""
    response = decode_response(data, command, _KEYS, policy=_LOOSE)
    if response.authentic and replace(response, authentic=False) not in _RESPONSES:
        raise BrokenPromiseError("a response that the card did not make is authentic")


def _messages(data: bytes) -> None:
    sms.join_packet(frames(data))


@cache
def _scripts() -> tuple[bytes, ...]:
    apdus = [commands.get_status(0x80), CommandApdu(0x80, 0xE2, 0x80, 0, bytes(9)), commands.select()]
    answers = remote_apdu.CompactResponse(3, 0x9000, b"\xe3\0").to_bytes()
    script = remote_apdu.ExpandedScript(tuple(apdus)).to_bytes()
    indefinite = b"\xae\x80" + script[2:] + bytes(2)
    response = bytes.fromhex("AB0D 8001 02 2302 9000 2304 01029000".replace(" ", ""))
    return (remote_apdu.encode_compact(apdus), answers, script, indefinite, response)


@cache
def _command_seeds() -> tuple[bytes, ...]:
    return tuple(
        encode_command(CommandPacket(spi, kind, kind, bytes(3), 1, _scripts()[0]), _KEYS, policy=_LOOSE)
        for spi in (Spi(), Spi(ciphered=False))
        for kind in _SETS
    )


@cache
def _response_seeds() -> tuple[bytes, ...]:
    return tuple(
        encode_response(answer, command, _KEYS, policy=_LOOSE)
        for answer in _RESPONSES
        for command in _COMMANDS
    )


@cache
def _sms_seeds() -> tuple[bytes, ...]:
    tpdus = [part for seed in card_seeds.envelope_inputs() for part in frames(seed[1:])]
    return (*tpdus, *(sms.envelope(tpdu).data for tpdu in tpdus[:4]))


def _admin_request(data: bytes) -> None:
    """The first line is the URI, further ones are header fields; the body follows an empty line."""
    uri, headers, body = _http(data)
    scp81.AdminRequest.parse(uri, headers, body)


def _admin_response(data: bytes) -> None:
    status, headers, body = _http(data)
    scp81.AdminResponse.parse(int(status) if status.isdecimal() else 0, headers, body)


def _http(data: bytes) -> tuple[str, dict[str, str], bytes]:
    head, _, body = data.partition(b"\n\n")
    first, *lines = head.decode("latin-1").split("\n")
    fields = [line.partition(":") for line in lines]
    return first[:9], {name: value.strip() for name, _, value in fields}, body


@cache
def _http_seeds() -> tuple[bytes, ...]:
    script = remote_apdu.ExpandedScript((commands.get_status(0x80),))
    target = Aid.from_hex("A000000151000000")
    offers = (
        scp81.AdminResponse(script, "/next", target),
        scp81.AdminResponse(None, "/next"),
        scp81.AdminResponse(),
    )
    texts = []
    for offer in offers:
        lines = [str(offer.status_code), *(f"{name}: {value}" for name, value in offer.headers().items())]
        texts.append("\n".join(lines).encode() + b"\n\n" + offer.body())
    request = (
        b"/first\nX-Admin-Protocol: globalplatform-remote-admin/1.0\nHost: a\nX-Admin-From: //se-id/CIN/1\n\n"
    )
    chunks = scp81.encode_chunks(script.to_bytes(), 7)
    return (*texts, request, chunks, b"//aid/A000000151/000000")


def _each(*reads: Callable[[bytes], object]) -> Run:
    return all_of(*[refusing(read, OtaError, ApduError) for read in reads])


def _decoded_uri(data: bytes) -> object:
    return scp81.parse_aid_uri(data.decode("latin-1"))


OTA_TARGETS = (
    Target(
        "scp80-command",
        "command packets, opened by the host's and the card's readers",
        lambda: all_of(
            _each(_command, peek_command), refusing(read_header, MalformedPacketError, PacketRefusedError)
        ),
        _command_seeds,
    ),
    Target(
        "scp80-response",
        "response packets",
        lambda: _each(peek_response_tar, *[partial(_response, command) for command in _COMMANDS]),
        _response_seeds,
    ),
    Target(
        "sms",
        "short messages, their user data and ENVELOPE, by both readers",
        lambda: all_of(
            _each(sms.SmsTpdu.parse, sms.parse_user_data, sms.open_proactive_message, _messages),
            refusing(read_envelope, NotForUsError, StatusError),
        ),
        _sms_seeds,
    ),
    Target(
        "remote-apdu",
        "compact and expanded scripts and their answers",
        lambda: _each(
            remote_apdu.decode_compact,
            remote_apdu.CompactResponse.parse,
            remote_apdu.ExpandedScript.parse,
            remote_apdu.ExpandedResponse.parse,
        ),
        _scripts,
    ),
    Target(
        "scp81",
        "administration requests, responses, chunks, triggers",
        lambda: _each(
            _admin_request,
            _admin_response,
            scp81.decode_chunks,
            _decoded_uri,
            scp81_trigger.SessionParameters.parse,
            scp81_trigger.RetryPolicy.parse,
            scp81_trigger.PskReference.parse,
        ),
        _http_seeds,
    ),
)
