"""A transit gate: debits the fare from a purse with the purchase key of its security module.

Source: docs/reference/applets.md (transit purse).
"""

from collections.abc import Callable
from dataclasses import dataclass
from hmac import compare_digest

from opentsm.card import purse
from opentsm.card.codec.aid import Aid
from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import CardError
from opentsm.demo.terminals.link import CardLink, NotAuthenticError, TerminalError, Transmit

PurchaseKey = Callable[[bytes], Secret]


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
    transmit: Transmit, aid: Aid, request: purse.PurchaseRequest, moment: bytes, key_of: PurchaseKey
) -> PassageResult:
    """Debit one fare.

    Args:
        transmit: the card in the field.
        aid: the purse's instance.
        request: fare, terminal and the terminal's transaction number.
        moment: date and time, 7 bytes BCD.
        key_of: gives the purchase key of a purse id, as a security module would.

    Raises:
        CardRefusedError: the purse refuses (9401: too little money).
        NotAuthenticError: MAC2 is wrong: the gate stays shut.
        TerminalError: the card's data are not those of a purse.
    """
    link = CardLink(transmit)
    try:
        identity = purse.parse_fci(await link.select(aid))
        return await _debit(link, identity, request, moment, key_of(identity.purse_id))
    except CardError as error:
        raise TerminalError(str(error)) from error


async def _debit(
    link: CardLink, identity: purse.PurseIdentity, request: purse.PurchaseRequest, moment: bytes, key: Secret
) -> PassageResult:
    form = identity.form
    answer = await link.require("INITIALIZE FOR PURCHASE", purse.initialize_for_purchase(request))
    offer = purse.parse_purchase_offer(form, answer)
    session = purse.purchase_session_key(form, key, request, offer)
    mac1 = purse.purchase_mac1(form, session, request, moment)
    answer = await link.require("DEBIT FOR PURCHASE", purse.debit_for_purchase(request, moment, mac1))
    tac, mac2 = answer[: form.tag_length], answer[form.tag_length :]
    if not compare_digest(mac2, purse.purchase_mac2(form, session, request, offer)):
        raise NotAuthenticError("the purse did not prove that it was debited")
    return PassageResult(
        purse_id=identity.purse_id,
        fare=request.amount,
        balance=offer.balance - request.amount,
        counter=offer.counter,
        tac=tac,
        apdus=link.apdus,
    )
