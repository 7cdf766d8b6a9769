"""The demo's phone: decides by the access rules on the card which of its apps may use which application.

Source: Secure Element Access Control 1.1 section 4.2 (what an access control enforcer does).
"""

from typing import Final

from opentsm.card.codec.aid import Aid
from opentsm.card.errors import CardError
from opentsm.card.gp import access_rules as rules
from opentsm.demo.cards import DemoCard
from opentsm.demo.errors import VerificationError
from opentsm.demo.services import BANK
from opentsm.demo.terminals.link import CardLink, TerminalError, Transmit

_BANK: Final = Aid.from_hex(BANK.instance)
_STRANGER: Final = bytes(32)


async def lets_only_its_app_in(card: DemoCard) -> str:
    """Require that the bank's app may use the bank card, and another app may not.

    Raises:
        VerificationError: the phone would decide otherwise.
    """
    found = await _rules(card)
    own, other = (rules.decide(found, _BANK, [app]).apdu for app in (bytes.fromhex(BANK.app), _STRANGER))
    if not own or other:
        raise VerificationError(f"the access rules on {card.name} let the wrong apps in")
    return f"{len(found)} rule, certificate {BANK.app[:8]}…"


async def lets_nobody_in(card: DemoCard) -> str:
    """Require that not even the bank's app may use the bank card.

    Raises:
        VerificationError: it may.
    """
    found = await _rules(card)
    if rules.decide(found, _BANK, [bytes.fromhex(BANK.app)]).apdu:
        raise VerificationError(f"the access rules on {card.name} still let the bank's app in")
    return f"{len(found)} rules"


async def _rules(card: DemoCard) -> tuple[rules.AccessRule, ...]:
    async def read(transmit: Transmit) -> bytes:
        link = CardLink(transmit)
        await link.select(rules.ARA_M_AID)
        data = await link.require("GET DATA", rules.get_rules(rules.TAG_ALL))
        while rules.missing_bytes(data):
            data += await link.require("GET DATA", rules.get_rules(rules.TAG_NEXT))
        return data

    try:
        return rules.parse_rules(await card.tap(read))
    except (CardError, TerminalError) as error:
        raise VerificationError(f"the phone cannot read the access rules of {card.name}: {error}") from error
