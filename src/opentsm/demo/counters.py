"""The demo's shops, gates and kiosks: each holds a card to its terminal and checks what comes of it."""

import secrets
from datetime import UTC, datetime
from typing import Final

from opentsm.card import purse
from opentsm.card.codec.aid import Aid
from opentsm.card.purse import PurseMacError
from opentsm.demo.cards import DemoCard
from opentsm.demo.errors import VerificationError
from opentsm.demo.http_api import Json
from opentsm.demo.parties import ApplicationKeys, BadgeMasters
from opentsm.demo.services import BADGE, BANK, TRANSIT
from opentsm.demo.terminals import door, gate, kiosk, pos
from opentsm.demo.terminals.issuer import Issuer
from opentsm.demo.terminals.link import CardRefusedError, NoApplicationError, TerminalError

GATE_TERMINAL: Final = bytes.fromhex("4F5453474154")
_NO_MONEY: Final = 0x9401
_BADGE: Final = Aid.from_hex(BADGE.instance)
_PURSE: Final = Aid.from_hex(TRANSIT.instance)


class Shop:
    """A point of sale with the bank behind it.

    Args:
        keys: of the provider, which is the bank.
    """

    def __init__(self, keys: ApplicationKeys) -> None:
        self._bank = Issuer(keys.cryptogram)

    async def sell(self, card: DemoCard, cents: int) -> str:
        """Take a payment through the PPSE; the bank checks the cryptogram.

        Raises:
            VerificationError: no payment application, or the bank declines.
        """
        try:
            result = await self._pay(card, cents)
        except TerminalError as error:
            raise VerificationError(f"the POS cannot read card {card.name}: {error}") from error
        if not result.approved or str(result.aid) != BANK.instance:
            raise VerificationError(f"the bank declined the cryptogram of card {card.name}")
        return (
            f"{result.label} {result.card}, {money(cents)}, cryptogram right, "
            f"counter {result.counter}, {result.apdus} APDUs"
        )

    async def is_turned_away(self, card: DemoCard) -> str:
        """Try a payment with a card that must not work.

        Raises:
            VerificationError: it works.
        """
        try:
            await self._pay(card, 100)
        except NoApplicationError as error:
            return str(error)
        except TerminalError as error:
            raise VerificationError(f"the POS fails otherwise than it should: {error}") from error
        raise VerificationError(f"the POS still takes the bank card on {card.name}")

    async def _pay(self, card: DemoCard, cents: int) -> pos.PaymentResult:
        payment = pos.Payment(cents, secrets.token_bytes(4), datetime.now(UTC).strftime("%y%m%d"))
        return await card.tap(lambda transmit: pos.pay(transmit, payment, self._bank.authorize))


class Station:
    """A gate and a kiosk.

    Args:
        keys: of the provider, which is the transit operator.
    """

    def __init__(self, keys: ApplicationKeys) -> None:
        self._keys = keys
        self._passages = 0
        self._pending: gate.Journal = {}

    async def stays_shut(self, card: DemoCard, fare: int) -> str:
        """Try to pass without money.

        Raises:
            VerificationError: the gate opens, or refuses for another reason.
        """
        try:
            await self._debit(card, fare)
        except CardRefusedError as error:
            if error.sw == _NO_MONEY:
                return str(error)
            raise VerificationError(f"the gate fails otherwise than it should: {error}") from error
        raise VerificationError("the gate opened for an empty purse")

    async def passes(self, card: DemoCard, fare: int) -> str:
        """Debit one fare.

        Raises:
            VerificationError: the purse refuses or does not prove the debit.
        """
        try:
            result = await self._debit(card, fare)
        except TerminalError as error:
            raise VerificationError(f"the gate stays shut for card {card.name}: {error}") from error
        return f"fare {money(fare)}, balance {money(result.balance)}, {result.apdus} APDUs"

    async def shows(self, card: DemoCard, balance: int) -> str:
        """Read balance and logs, whose records must be the purse's own.

        Raises:
            VerificationError: the balance is another one, or a record is not authentic.
        """
        statement = await self._statement(card)
        key = self._keys.tac_key(statement.identity.purse_id)
        try:
            for record in (*statement.loads, *statement.purchases):
                purse.verify_record(key, record)
        except PurseMacError as error:
            raise VerificationError("a record of the purse's log is not authentic") from error
        if statement.balance != balance:
            raise VerificationError(
                f"the purse on {card.name} holds {statement.balance}, it should hold {balance}"
            )
        return (
            f"{statement.identity.label}: {money(statement.balance)}, "
            f"{len(statement.loads)} top-up and {len(statement.purchases)} journey in its log, MACs right"
        )

    async def credited_once(self, card: DemoCard, operation: Json) -> str:
        """Find a top-up in the purse's log, by its transaction id, exactly once.

        Raises:
            VerificationError: it is not there once.
        """
        statement = await self._statement(card)
        wanted = str(operation["transaction"])
        found = [one for one in statement.loads if one.reference == bytes.fromhex(wanted)]
        if len(found) != 1 or found[0].amount != operation["amount"]:
            raise VerificationError(f"top-up {wanted} is {len(found)} times in the purse's log")
        return f"transaction {wanted} in the purse's log"

    async def _statement(self, card: DemoCard) -> kiosk.Statement:
        try:
            return await card.tap(lambda transmit: kiosk.read_statement(transmit, _PURSE))
        except TerminalError as error:
            raise VerificationError(f"the kiosk cannot read card {card.name}: {error}") from error

    async def _debit(self, card: DemoCard, fare: int) -> gate.PassageResult:
        self._passages += 1
        request = purse.PurchaseRequest(fare, GATE_TERMINAL, self._passages)
        moment = bytes.fromhex(datetime.now(UTC).strftime("%Y%m%d%H%M%S"))
        return await card.tap(
            lambda transmit: gate.debit(
                transmit, _PURSE, request, moment, self._keys.purchase_key, journal=self._pending
            )
        )


class Door:
    """A badge reader at a door.

    Args:
        masters: of the provider whose badges open it.
    """

    def __init__(self, masters: BadgeMasters) -> None:
        self._masters = masters

    async def opens(self, card: DemoCard, rights: str) -> str:
        """Let badge and reader prove themselves to each other.

        Raises:
            VerificationError: one of them fails, or the badge carries other rights.
        """
        challenge = secrets.token_bytes(door.CHALLENGE_LENGTH)
        keys_of = self._masters.keys_of
        try:
            found = await card.tap(lambda transmit: door.open_door(transmit, _BADGE, challenge, keys_of))
        except TerminalError as error:
            raise VerificationError(f"the door stays shut for card {card.name}: {error}") from error
        if found.rights != rights.encode():
            raise VerificationError(f"the badge on {card.name} carries other rights than {rights}")
        return f"rights «{rights}», use {found.uses}, both proofs right, {found.apdus} APDUs"


def money(cents: int) -> str:
    """Show an amount."""
    return f"{cents // 100}.{cents % 100:02} EUR"
