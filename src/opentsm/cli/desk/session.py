"""A secure channel with a card on the desk: find out what the card speaks, check it, then prove oneself.

Source: GPCS 2.3.1 §10, Appendix E; Amendment D 1.1.1. The order matters: EXTERNAL AUTHENTICATE with a wrong
cryptogram counts against the card's retry limit, so it is sent
only after the card has proved that it holds the keys.
"""

from __future__ import annotations

from dataclasses import dataclass

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.errors import CardCryptogramError, CardError, ResponseMacError
from opentsm.card.gp import commands
from opentsm.card.gp.instructions import Ins
from opentsm.card.gp.keys import Dek, KeyType, StaticKeys
from opentsm.card.gp.responses import KeyInformation, parse_card_data, parse_key_information, parse_select
from opentsm.card.gp.status_words import SUCCESS
from opentsm.card.profiles import SeProfile
from opentsm.card.scp.channel import (
    InitializeUpdateResponse,
    SecureChannel,
    SecurityLevel,
    parse_initialize_update,
)
from opentsm.card.scp.session import derive_session_keys, open_channel, session_dek
from opentsm.cli.desk.keys import KeyChoice
from opentsm.cli.desk.link import CardLink, require_success
from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError

_SHORT_DATA = 255
_S16 = 0x01
_SCP03_R_MAC, _SCP03_R_ENC, _SCP02_R_MAC = 0x20, 0x60, 0x20
_DEFAULT_SCP02_I = 0x15
_FACTORY_KVN = 0xFF
_MIN_COMMAND_DATA = 64


@dataclass(frozen=True, slots=True)
class DomainFacts:
    """What a security domain tells without keys.

    Attributes:
        aid: its AID as SELECT answered it.
        max_command_data: most data bytes in a command.
        channels: pairs of protocol and `i` of the card data; empty when it tells none.
        keys: key information, empty when it tells none.
    """

    aid: Aid | None
    max_command_data: int
    channels: tuple[tuple[int, int], ...]
    keys: tuple[KeyInformation, ...]

    def option(self, scp: int) -> int | None:
        """Return `i` of a protocol."""
        return next((i for protocol, i in self.channels if protocol == scp), None)

    def channel_key(self, kvn: int) -> tuple[int, int] | None:
        """Return type and length of the first key of a set, when the card tells them."""
        for key in self.keys:
            if key.kid == 1 and key.components and kvn in (0, key.kvn):
                return key.components[0].key_type, key.components[0].length
        return None


async def read_facts(link: CardLink, sd: Aid | None) -> DomainFacts:
    """Select a security domain and read what it tells everybody.

    Raises:
        CliError: REFUSED, it cannot be selected.
    """
    name = "the issuer security domain" if sd is None else f"the security domain {sd}"
    answer = await link.send(commands.select(sd))
    if answer.sw != 0x6283:  # CARD_LOCKED still lets the issuer in
        require_success(answer, Ins.SELECT, f"SELECT of {name}")
    aid, limit, management = sd, _SHORT_DATA, b""
    try:
        fci = parse_select(answer.data)
        aid = fci.aid or sd
        limit = fci.max_command_data or _SHORT_DATA
        management = fci.management_data or b""
    except CardError:
        pass  # cards without a well-formed FCI exist; all of it has defaults
    card_data = await link.send(commands.get_data(0x66))
    raw = card_data.data if card_data.sw == SUCCESS else management
    keys = await link.send(commands.get_data(0xE0))
    return DomainFacts(aid, max(_MIN_COMMAND_DATA, min(limit, _SHORT_DATA)), _channels(raw), _keys(keys))


def _channels(data: bytes) -> tuple[tuple[int, int], ...]:
    try:
        return parse_card_data(data).secure_channels if data else ()
    except CardError:
        return ()


def _keys(answer: ResponseApdu) -> tuple[KeyInformation, ...]:
    try:
        return parse_key_information(answer.data) if answer.sw == SUCCESS else ()
    except CardError:
        return ()


class Session:
    """An open secure channel.

    Attributes:
        facts: the security domain at the other end.
        init: its answer to INITIALIZE UPDATE.
        level: the level of protection.
        dek: the key under which keys travel in this session.
        block_size: most plain data bytes in one command.
    """

    def __init__(
        self,
        link: CardLink,
        channel: SecureChannel,
        dek: Dek,
        *,
        facts: DomainFacts,
        init: InitializeUpdateResponse,
        level: SecurityLevel,
    ) -> None:
        self._link = link
        self._channel = channel
        self.facts = facts
        self.init = init
        self.level = level
        self.dek = dek
        self.block_size = block_size(init.scp, init.i or 0, level, facts.max_command_data)

    async def send(self, command: CommandApdu) -> ResponseApdu:
        """Send one command under protection and return its verified answer.

        Raises:
            CliError: no answer, or one that is not authentic.
        """
        wrapped = self._channel.wrap(command)
        answer = await self._link.send(wrapped.apdu)
        try:
            return self._channel.unwrap(answer, wrapped.link)
        except ResponseMacError as error:
            raise CliError(
                str(error),
                why="the answer was changed on its way, or the card left the session",
                advice="look with `opentsm card list` in a new session before you go on",
                code=ExitCode.WRONG_CRYPTOGRAM,
            ) from error

    async def require(self, command: CommandApdu, meaning: str) -> bytes:
        """Send one command and return the data of an answer 9000.

        Raises:
            CliError: the card refused it, or gave no answer.
        """
        return require_success(await self.send(command), command.ins, meaning).data


async def open_session(
    link: CardLink,
    choice: KeyChoice,
    host_challenge: bytes,
    *,
    sd: Aid | None = None,
    kvn: int | None = None,
    level: SecurityLevel | None = None,
) -> Session:
    """Open a secure channel with a security domain.

    Args:
        link: the card.
        choice: the keys.
        host_challenge: 16 random bytes, of which SCP02 and S8 use 8.
        sd: the security domain, None for the issuer's.
        kvn: key version number; None for what the keys say, else the card's first set.
        level: None for the best that the card can do.

    Raises:
        CliError: WRONG_CRYPTOGRAM before EXTERNAL AUTHENTICATE was sent; REFUSED; UNAVAILABLE.
    """
    facts = await read_facts(link, sd)
    number = kvn if kvn is not None else choice.kvn or 0
    _require_length(facts, number, choice)
    s16 = bool((facts.option(3) or 0) & _S16)
    challenge = host_challenge[: 16 if s16 else 8]
    answer = await link.send(commands.initialize_update(number, challenge))
    data = require_success(answer, Ins.INITIALIZE_UPDATE, "INITIALIZE UPDATE").data
    init = _parsed(data, facts)
    keys = choice.for_card(init.kdd)
    channel, dek = _checked(keys, init, challenge, choice)
    chosen = _best_level(init) if level is None else level
    try:
        authenticate = channel.external_authenticate(chosen)
    except CardError as error:
        raise CliError(
            str(error), advice=f"use --level {_best_level(init):02X}", code=ExitCode.USAGE
        ) from error
    require_success(await link.send(authenticate), Ins.EXTERNAL_AUTHENTICATE, "EXTERNAL AUTHENTICATE")
    return Session(link, channel, dek, facts=facts, init=init, level=chosen)


def _require_length(facts: DomainFacts, kvn: int, choice: KeyChoice) -> None:
    """Say before anything is tried that the keys cannot be the card's."""
    told = facts.channel_key(kvn)
    if told is None or choice.method is not None:
        return
    kind, length = told
    if kind == KeyType.AES and length in (16, 24, 32) and length != len(choice.given.enc):
        raise CliError(
            f"the card's keys are AES-{8 * length}, the given ones have {8 * len(choice.given.enc)} bits",
            why="nothing was tried: this cost 0 of the card's tries",
            advice="give the card's own keys, or choose the set with --kvn",
            code=ExitCode.BAD_INPUT,
        )


def _parsed(data: bytes, facts: DomainFacts) -> InitializeUpdateResponse:
    try:
        i = facts.option(2)
        return parse_initialize_update(data, scp02_i=_DEFAULT_SCP02_I if i is None else i)
    except CardError as error:
        raise CliError(
            f"the card's secure channel is not known here: {error}",
            why="SCP02 and SCP03 are spoken here",
            advice="choose a key set of one of them with --kvn (`opentsm card info` lists the sets)",
            code=ExitCode.REFUSED,
        ) from error


def _checked(
    keys: StaticKeys, init: InitializeUpdateResponse, challenge: bytes, choice: KeyChoice
) -> tuple[SecureChannel, Dek]:
    try:
        session = derive_session_keys(keys, init, challenge)
        return open_channel(session, init, challenge), session_dek(session, init)
    except CardCryptogramError as error:
        raise _wrong_cryptogram(init, challenge, choice) from error
    except CardError as error:
        raise CliError(
            f"these keys do not fit SCP{init.scp:02X}: {error}",
            why="EXTERNAL AUTHENTICATE was not sent: this cost 0 of the card's tries",
            code=ExitCode.BAD_INPUT,
        ) from error


def _wrong_cryptogram(init: InitializeUpdateResponse, challenge: bytes, choice: KeyChoice) -> CliError:
    right = [name for name, keys in choice.other_methods(init.kdd) if _fits(keys, init, challenge)]
    if right:
        advice = f"with --diversification {right[0]} the cryptogram would be right: use that"
    elif choice.method is not None:
        advice = f"the master key is another one, or the method is not {choice.method.value}"
    else:
        advice = (
            "other keys, another set (--kvn), or a master key: then give --diversification emv|visa2|kdf3"
        )
    return CliError(
        f"the card cryptogram is wrong: the card does not hold these keys "
        f"(set {init.kvn:02X}, SCP{init.scp:02X})",
        why="EXTERNAL AUTHENTICATE was not sent: this cost 0 of the card's tries. "
        f"Key diversification data: {init.kdd.hex().upper()}",
        advice=advice,
        code=ExitCode.WRONG_CRYPTOGRAM,
    )


def _fits(keys: StaticKeys, init: InitializeUpdateResponse, challenge: bytes) -> bool:
    """Tell whether the card's answer comes from these keys; computed here, no card is asked."""
    try:
        open_channel(derive_session_keys(keys, init, challenge), init, challenge)
    except CardError:
        return False
    return True


def _best_level(init: InitializeUpdateResponse) -> SecurityLevel:
    i = init.i or 0
    if init.scp == 2:
        # R-MAC of SCP02 is optional and seldom right in the field: it is used only when asked for.
        return SecurityLevel.C_MAC_C_DECRYPTION
    if i & _SCP03_R_ENC == _SCP03_R_ENC:
        return SecurityLevel.FULL
    return SecurityLevel.C_MAC_C_DECRYPTION_R_MAC if i & _SCP03_R_MAC else SecurityLevel.C_MAC_C_DECRYPTION


def block_size(scp: int, i: int, level: SecurityLevel, max_command_data: int) -> int:
    """Return how many plain bytes one command takes under this protection."""
    profile = SeProfile(name="desk", scp=scp, i=i, level=level, max_command_data=max_command_data)
    return profile.max_plain_data
