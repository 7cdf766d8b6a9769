"""A transit gate: debits the fare from a purse with the purchase key of its security module.

A debit whose answer was lost is settled by asking the purse before any other: the gate keeps each debit from
before it is sent until it is answered. Source: docs/reference/applets.md (transit purse).
"""

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from hmac import compare_digest

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

PurchaseKey = Callable[[bytes], Secret]


@dataclass(frozen=True, slots=True)
class PendingDebit:
    """A debit that may have happened: what was ordered, and the offer of the purse that it used up."""

    request: purse.PurchaseRequest
    offer: purse.PurchaseOffer


Journal = MutableMapping[bytes, PendingDebit]


@dataclass(frozen=True, slots=True)
class PassageResult:
    """What the gate shows and what it hands in; amounts in the smallest unit."""

    purse_id: bytes
    fare: int
    balance: int
    counter: int
    tac: bytes
    apdus: int


async def debit(
    transmit: Transmit,
    aid: Aid,
    request: purse.PurchaseRequest,
    moment: bytes,
    key_of: PurchaseKey,
    *,
    journal: Journal,
) -> PassageResult:
    """Debit one fare, once: a debit of this purse that the gate knows no end of is read back first.

    Args:
        transmit: the card in the field.
        aid: the purse's instance.
        request: fare, terminal and the terminal's transaction number.
        moment: date and time, 7 bytes BCD.
        key_of: gives the purchase key of a purse id, as a security module would.
        journal: the gate's debits without a known end, by purse id; outlives the card in the field.

    Returns:
        The passage. If the purse proves a pending debit, that one: it is paid, and nothing more is debited.

    Raises:
        CardRefusedError: the purse refuses (9401: too little money).
        NotAuthenticError: MAC2 is wrong: the gate stays shut, and the debit stays pending.
        TerminalError: the card's data are not those of a purse, or a pending debit cannot be settled.
    """
    link = CardLink(transmit)
    try:
        identity = purse.parse_fci(await link.select(aid))
        key = key_of(identity.purse_id)
        pending = journal.get(identity.purse_id)
        if pending is not None:
            paid = await _settle(link, identity, pending, key)
            if paid is not None:
                del journal[identity.purse_id]
                return paid
        return await _debit(link, identity, request, moment, key=key, journal=journal)
    except CardError as error:
        raise TerminalError(str(error)) from error


async def _settle(
    link: CardLink, identity: purse.PurseIdentity, pending: PendingDebit, key: Secret
) -> PassageResult | None:
    """Ask the purse for the proof of a debit; None when it says that it did not happen."""
    form, kind = identity.form, purse.TransactionType.PURCHASE
    answer = await link.send(purse.prove_transaction(form, kind, pending.offer.counter))
    if answer.sw == purse.SW_NO_PROOF:
        return None
    if answer.sw != 0x9000:
        raise CardRefusedError("GET TRANSACTION PROVE", answer.sw)
    mac2, tac = answer.data[: form.tag_length], answer.data[form.tag_length :]
    return _passage(link, identity, pending, key, (mac2, tac))


async def _debit(
    link: CardLink,
    identity: purse.PurseIdentity,
    request: purse.PurchaseRequest,
    moment: bytes,
    *,
    key: Secret,
    journal: Journal,
) -> PassageResult:
    form, purse_id = identity.form, identity.purse_id
    answer = await link.require("INITIALIZE FOR PURCHASE", purse.initialize_for_purchase(request))
    offer = purse.parse_purchase_offer(form, answer)
    before = journal.get(purse_id)
    if before is not None and before.offer.counter != offer.counter:
        # More purchases than the purse's log holds came between: its silence proves nothing.
        raise TerminalError("the purse's log no longer says whether the debit before was made")
    mac1 = purse.purchase_mac1(form, purse.purchase_session_key(form, key, request, offer), request, moment)
    pending = journal[purse_id] = PendingDebit(request, offer)
    try:
        answer = await link.require("DEBIT FOR PURCHASE", purse.debit_for_purchase(request, moment, mac1))
    except CardRefusedError:
        del journal[purse_id]  # an answer, and it says that nothing was debited
        raise
    tac, mac2 = answer[: form.tag_length], answer[form.tag_length :]
    passage = _passage(link, identity, pending, key, (mac2, tac))
    del journal[purse_id]
    return passage


def _passage(
    link: CardLink,
    identity: purse.PurseIdentity,
    pending: PendingDebit,
    key: Secret,
    proof: tuple[bytes, bytes],
) -> PassageResult:
    request, offer, (mac2, tac) = pending.request, pending.offer, proof
    session = purse.purchase_session_key(identity.form, key, request, offer)
    if not compare_digest(mac2, purse.purchase_mac2(identity.form, session, request, offer)):
        raise NotAuthenticError("the purse did not prove that it was debited")
    return PassageResult(
        purse_id=identity.purse_id,
        fare=request.amount,
        balance=offer.balance - request.amount,
        counter=offer.counter,
        tac=tac,
        apdus=link.apdus,
    )
