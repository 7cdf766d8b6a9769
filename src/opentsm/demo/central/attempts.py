"""What a party tries on a card with keys that are not meant for it; the card's answer decides.

Source: GPCS 2.3.1 §11.5.2.3.7 (restrictions); Amendment D §7.1.1, §7.1.2.
"""

import secrets
from collections.abc import Awaitable, Callable, Set
from dataclasses import replace
from typing import Final

from opentsm.card.codec.aid import Aid
from opentsm.card.errors import CardError
from opentsm.card.gp import commands as gp
from opentsm.card.scp import scp03
from opentsm.card.scp.channel import StaticKeys, parse_initialize_update
from opentsm.card.scp.session import derive_session_keys, open_channel
from opentsm.demo.cards import DemoCard
from opentsm.demo.errors import VerificationError
from opentsm.demo.issuer_session import issuer_session, open_session
from opentsm.demo.terminals.link import CardLink, CardRefusedError, TerminalError, Transmit

# a wrong command MAC, or where that is not looked at first, a wrong cryptogram
NOT_AUTHENTICATED: Final = frozenset({0x6982, 0x6300})
NO_SUCH_KEYS: Final = frozenset({0x6A88})
NOT_ALLOWED: Final = frozenset({0x6985})
Attempt = Callable[[Transmit], Awaitable[None]]
_STRANGE_LOAD_FILE: Final = Aid.from_hex("F04F5453FF00")


async def session_opens(card: DemoCard, domain: Aid, kvn: int, keys: StaticKeys) -> None:
    """Require that keys open a session with a domain.

    Raises:
        VerificationError: they do not.
    """

    async def attempt(transmit: Transmit) -> None:
        await open_session(CardLink(transmit), card.profile, domain, kvn, keys)

    try:
        await card.tap(attempt)
    except (CardError, TerminalError) as error:
        raise VerificationError(f"{domain} on {card.name} does not take these keys: {error}") from error


async def keys_are_unknown(card: DemoCard, domain: Aid, kvn: int) -> str:
    """Require that a domain has no keys of this version."""

    async def attempt(transmit: Transmit) -> None:
        link = CardLink(transmit)
        await link.select(domain)
        challenge = secrets.token_bytes(card.profile.challenge_length)
        await link.require(f"a session under version {kvn}", gp.initialize_update(kvn, challenge))

    return await _refused(card, attempt, NO_SUCH_KEYS)


async def keys_are_wrong(card: DemoCard, domain: Aid, kvn: int, keys: StaticKeys) -> str:
    """Require that a domain's own version is not opened by other keys, even by who ignores its cryptogram."""

    async def attempt(transmit: Transmit) -> None:
        link = CardLink(transmit)
        await link.select(domain)
        challenge = secrets.token_bytes(card.profile.challenge_length)
        answer = await link.require("INITIALIZE UPDATE", gp.initialize_update(kvn, challenge))
        init = parse_initialize_update(answer)
        session = derive_session_keys(keys, init, challenge)
        believed = scp03.card_cryptogram(session, challenge, init.card_challenge)
        channel = open_channel(session, replace(init, card_cryptogram=believed), challenge)
        await link.require("EXTERNAL AUTHENTICATE", channel.external_authenticate(card.profile.level))

    return await _refused(card, attempt, NOT_AUTHENTICATED)


async def issuer_cannot_load(card: DemoCard) -> str:
    """Require that the issuer's domain loads nothing, although it has Authorized Management."""

    async def attempt(transmit: Transmit) -> None:
        session = await issuer_session(CardLink(transmit), card)
        answer = await session.send(gp.install_for_load(_STRANGE_LOAD_FILE, None))
        if answer.sw != 0x9000:
            raise CardRefusedError("INSTALL [for load]", answer.sw)

    return await _refused(card, attempt, NOT_ALLOWED)


async def _refused(card: DemoCard, attempt: Attempt, status_words: Set[int]) -> str:
    """Return the card's refusal in words.

    Raises:
        VerificationError: the card does it, or fails otherwise.
    """
    try:
        await card.tap(attempt)
    except CardRefusedError as error:
        if error.sw in status_words:
            return str(error)
        raise VerificationError(f"{card.name} fails otherwise than it should: {error}") from error
    except (CardError, TerminalError) as error:
        raise VerificationError(f"{card.name} fails otherwise than it should: {error}") from error
    raise VerificationError(f"{card.name} lets a party do what is not its own")
