"""Sessions past the TSM; with the issuer's own keys one reads a card's registry: what the demo believes.

Source: GPCS 2.3.1 §11.4 (GET STATUS), §11.3 and Amendment C (GET DATA FF21).
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.errors import CardError
from opentsm.card.gp import commands as gp
from opentsm.card.gp.instructions import StatusScope
from opentsm.card.gp.registry import RegistryEntry
from opentsm.card.gp.responses import parse_extended_resources, parse_status
from opentsm.card.profiles import SeProfile
from opentsm.card.scp.channel import SecureChannel, StaticKeys, parse_initialize_update
from opentsm.card.scp.session import derive_session_keys, open_channel
from opentsm.demo.cards import DemoCard
from opentsm.demo.errors import VerificationError
from opentsm.demo.terminals.link import CardLink, TerminalError, Transmit

_MORE = 0x6310
_NOTHING = 0x6A88
_SCOPES = (
    StatusScope.ISD,
    StatusScope.APPLICATIONS,
    StatusScope.LOAD_FILES_AND_MODULES,
)


@dataclass(frozen=True, slots=True)
class CardReading:
    """A card's registry and free memory in bytes, as the card itself says."""

    entries: tuple[RegistryEntry, ...]
    free_memory: int

    def rows(self) -> list[dict[str, object]]:
        """Return the registry as JSON values."""
        return [_row(entry) for entry in self.entries]


def _row(entry: RegistryEntry) -> dict[str, object]:
    return {
        "aid": str(entry.aid),
        "kind": entry.kind.value,
        "state": entry.state,
        "state_name": entry.state_name,
        "privileges": list(entry.privileges.names),
        "load_file": _text(entry.load_file),
        "security_domain": _text(entry.associated_sd),
        "modules": [str(module) for module in entry.modules],
    }


def _text(aid: object) -> str | None:
    return None if aid is None else str(aid)


async def read_card(card: DemoCard) -> CardReading:
    """Open a session with the issuer's keys and read everything.

    Raises:
        VerificationError: the card does not hold the keys, or refuses.
    """

    async def read(transmit: Transmit) -> CardReading:
        session = await issuer_session(CardLink(transmit), card)
        entries = [entry for scope in _SCOPES for entry in await session.status(scope)]
        resources = parse_extended_resources((await session.send(gp.get_data(0xFF21))).data)
        return CardReading(sorted_entries(entries), resources.free_nonvolatile)

    try:
        return await card.tap(read)
    except (CardError, TerminalError) as error:
        raise VerificationError(f"the issuer cannot read card {card.name}: {error}") from error


def require_same(card: DemoCard, before: CardReading, after: CardReading, when: str) -> None:
    """Require that a card's registry and memory are as they were.

    Args:
        when: when that was, in words.

    Raises:
        VerificationError: they are not.
    """
    if after.entries != before.entries:
        raise VerificationError(f"the registry of {card.name} is not as it was {when}")
    if after.free_memory != before.free_memory:
        raise VerificationError(
            f"{before.free_memory - after.free_memory} bytes of {card.name} did not come back"
        )


def sorted_entries(entries: Iterable[RegistryEntry]) -> tuple[RegistryEntry, ...]:
    """Return entries by kind and AID."""
    return tuple(sorted(entries, key=lambda entry: (entry.kind.value, bytes(entry.aid))))


async def issuer_session(link: CardLink, card: DemoCard) -> "CardSession":
    """Open a session with the issuer security domain under the issuer's keys."""
    profile = card.profile
    return await open_session(link, profile, profile.isd_aid, profile.initial_kvn, card.keys)


async def open_session(
    link: CardLink, profile: SeProfile, domain: Aid, kvn: int, keys: StaticKeys
) -> "CardSession":
    """Open a session with a security domain.

    Raises:
        CardRefusedError: the card refuses.
        CardCryptogramError: the card does not have these keys.
    """
    await link.select(domain)
    challenge = secrets.token_bytes(profile.challenge_length)
    answer = await link.require("INITIALIZE UPDATE", gp.initialize_update(kvn, challenge))
    init = parse_initialize_update(answer, scp02_i=profile.i)
    channel = open_channel(derive_session_keys(keys, init, challenge), init, challenge)
    await link.require("EXTERNAL AUTHENTICATE", channel.external_authenticate(profile.level))
    return CardSession(link, channel)


@dataclass(frozen=True, slots=True)
class CardSession:
    """An open session with a security domain."""

    link: CardLink
    channel: SecureChannel

    async def send(self, command: CommandApdu) -> ResponseApdu:
        """Send a command under the session's security level."""
        wrapped = self.channel.wrap(command)
        return self.channel.unwrap(await self.link.send(wrapped.apdu), wrapped.link)

    async def status(self, scope: StatusScope) -> tuple[RegistryEntry, ...]:
        """Read the registry entries of one scope that the domain shows."""
        data, answer = b"", await self.send(gp.get_status(scope))
        while answer.sw == _MORE:
            data += answer.data
            answer = await self.send(gp.get_status(scope, next=True))
        if answer.sw not in (0x9000, _NOTHING):
            raise VerificationError(f"GET STATUS was refused with {answer.sw:04X}")
        return parse_status(data + answer.data, scope)
