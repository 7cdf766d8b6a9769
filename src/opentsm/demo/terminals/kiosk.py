"""A kiosk: shows a purse's balance and journeys, and tops it up.

A top-up whose answer was lost is settled by asking the purse whether it has the transaction id in its log.
Source: docs/reference/applets.md (transit purse).
"""

from collections.abc import Callable
from dataclasses import dataclass

from opentsm.card import purse
from opentsm.card.codec.aid import Aid
from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import CardError
from opentsm.demo.terminals.link import (
    CardLink,
    CardRefusedError,
    NotAuthenticError,
    TerminalError,
    Transmit,
)

_LOG_LENGTH = 10


@dataclass(frozen=True, slots=True)
class PurseKeys:
    """The host's keys of one purse, 16 bytes each."""

    load: Secret
    tac: Secret


KeysOf = Callable[[bytes], PurseKeys]


@dataclass(frozen=True, slots=True)
class Statement:
    """What the kiosk shows; newest records first."""

    identity: purse.PurseIdentity
    balance: int
    loads: tuple[purse.LogRecord, ...]
    purchases: tuple[purse.LogRecord, ...]
    apdus: int


@dataclass(frozen=True, slots=True)
class TopUpResult:
    """One finished top-up; amounts in the smallest unit."""

    purse_id: bytes
    amount: int
    balance: int
    counter: int
    tac: bytes
    apdus: int


async def read_statement(transmit: Transmit, aid: Aid) -> Statement:
    """Read balance and both logs; no key is needed.

    Raises:
        CardRefusedError: the purse refuses a step.
        TerminalError: the card's data are not those of a purse.
    """
    link = CardLink(transmit)
    try:
        identity = purse.parse_fci(await link.select(aid))
        balance = int.from_bytes(await link.require("GET BALANCE", purse.get_balance()), "big")
        loads = await _log(link, identity.form, purse.TransactionType.LOAD)
        purchases = await _log(link, identity.form, purse.TransactionType.PURCHASE)
    except CardError as error:
        raise TerminalError(str(error)) from error
    return Statement(identity, balance, loads, purchases, link.apdus)


async def top_up(
    transmit: Transmit, aid: Aid, request: purse.LoadRequest, moment: bytes, keys_of: KeysOf
) -> TopUpResult:
    """Top a purse up.

    Args:
        transmit: the card in the field.
        aid: the purse's instance.
        request: amount, terminal, and a transaction id that was never used.
        moment: date and time, 7 bytes BCD.
        keys_of: gives the keys of a purse id.

    Raises:
        CardRefusedError: the purse refuses (6A89: it has this transaction in its log).
        NotAuthenticError: MAC1 or TAC is wrong.
        TerminalError: the card's data are not those of a purse.
    """
    link = CardLink(transmit)
    try:
        identity = purse.parse_fci(await link.select(aid))
        return await _top_up(link, identity, request, moment, keys_of(identity.purse_id))
    except purse.PurseMacError as error:
        raise NotAuthenticError(str(error)) from error
    except CardError as error:
        raise TerminalError(str(error)) from error


async def find_top_up(
    transmit: Transmit, aid: Aid, transaction_id: bytes, keys_of: KeysOf
) -> purse.LogRecord | None:
    """Tell whether a top-up happened, after its answer was lost (AES form).

    Returns:
        The purse's own, authenticated record, or None when the top-up did not happen.

    Raises:
        CardRefusedError: the purse refuses for another reason.
        NotAuthenticError: the record's TAC is wrong.
    """
    link = CardLink(transmit)
    try:
        identity = purse.parse_fci(await link.select(aid))
        answer = await link.send(purse.prove_load(transaction_id))
        if answer.sw == purse.SW_NO_PROOF:
            return None
        if answer.sw != 0x9000:
            raise CardRefusedError("GET TRANSACTION PROVE", answer.sw)
        record = purse.parse_log_record(identity.form, answer.data)
        purse.verify_record(keys_of(identity.purse_id).tac, record)
    except purse.PurseMacError as error:
        raise NotAuthenticError(str(error)) from error
    except CardError as error:
        raise TerminalError(str(error)) from error
    return record


async def _top_up(
    link: CardLink, identity: purse.PurseIdentity, request: purse.LoadRequest, moment: bytes, keys: PurseKeys
) -> TopUpResult:
    form = identity.form
    answer = await link.require("INITIALIZE FOR LOAD", purse.initialize_for_load(form, request))
    offer = purse.parse_load_offer(form, answer)
    mac2 = purse.authorize_load(form, keys.load, request, offer, moment)
    tac = await link.require("CREDIT FOR LOAD", purse.credit_for_load(moment, mac2))
    purse.verify_load_tac(tac, form=form, key=keys.tac, request=request, offer=offer, moment=moment)
    return TopUpResult(
        purse_id=identity.purse_id,
        amount=request.amount,
        balance=offer.balance + request.amount,
        counter=offer.counter,
        tac=tac,
        apdus=link.apdus,
    )


async def _log(
    link: CardLink, form: purse.PurseForm, type_: purse.TransactionType
) -> tuple[purse.LogRecord, ...]:
    records: list[purse.LogRecord] = []
    for number in range(1, _LOG_LENGTH + 1):
        answer = await link.send(purse.read_log(type_, number))
        if answer.sw == purse.SW_RECORD_NOT_FOUND:
            break
        if answer.sw != 0x9000:
            raise CardRefusedError("READ RECORD", answer.sw)
        records.append(purse.parse_log_record(form, answer.data))
    return tuple(records)
