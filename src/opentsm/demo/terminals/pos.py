"""A point of sale: finds the best payment application through the PPSE, asks the bank about its cryptogram.

Source: EMV Contactless Book B §3.3 (PPSE), Book C-3 §2 (one tap); EMV Book 3 §6.5, §10.2.
"""

from collections.abc import Callable
from dataclasses import dataclass

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.tlv import Tlv, encode_tlv, find, find_all, parse_tlv, parse_tlvs, require
from opentsm.card.errors import CardError
from opentsm.demo.terminals.issuer import Authorization
from opentsm.demo.terminals.link import CardLink, NoApplicationError, TerminalError, Transmit

PPSE_AID = Aid(b"2PAY.SYS.DDF01")
_NO_PRIORITY = 0x10
# Amount, other amount, country, TVR, currency, date, type, unpredictable number (EMV Book 2 Table 26)
_CRYPTOGRAM_TAGS = (0x9F02, 0x9F03, 0x9F1A, 0x95, 0x5F2A, 0x9A, 0x9C, 0x9F37)


@dataclass(frozen=True, slots=True)
class Payment:
    """One sale: `amount` in cents; `country` and `currency` are ISO numbers, `date` is YYMMDD.

    `unpredictable` are 4 random bytes of the terminal.
    """

    amount: int
    unpredictable: bytes
    date: str
    country: int = 276
    currency: int = 978

    def values(self) -> dict[int, bytes]:
        """Return the terminal's data objects by tag."""
        return {
            0x9F66: bytes.fromhex("26000000"),  # contactless, online capable
            0x9F02: bytes.fromhex(f"{self.amount:012d}"),
            0x9F03: bytes(6),
            0x9F1A: bytes.fromhex(f"{self.country:04d}"),
            0x95: bytes(5),
            0x5F2A: bytes.fromhex(f"{self.currency:04d}"),
            0x9A: bytes.fromhex(self.date),
            0x9C: bytes(1),
            0x9F37: self.unpredictable,
        }


@dataclass(frozen=True, slots=True)
class Candidate:
    """One entry of the PPSE; priority 1 is the best, 16 stands for none."""

    aid: Aid
    label: str
    priority: int


@dataclass(frozen=True, slots=True)
class PaymentResult:
    """What the terminal shows; the card number only by its last four digits."""

    aid: Aid
    label: str
    card: str
    counter: int
    approved: bool
    apdus: int


async def pay(
    transmit: Transmit, payment: Payment, authorize: Callable[[Authorization], bool]
) -> PaymentResult:
    """Take one payment.

    Args:
        transmit: the card in the field.
        payment: the sale.
        authorize: the bank: whether cryptogram and counter are right.

    Raises:
        NoApplicationError: the card lists no payment application.
        CardRefusedError: the card refuses a step.
        TerminalError: the card's data are not those of a payment application.
    """
    link = CardLink(transmit)
    candidate = best(await candidates(link))
    try:
        request = await _transact(link, candidate.aid, payment)
    except CardError as error:
        raise TerminalError(f"{candidate.label} answers no payment data: {error}") from error
    return PaymentResult(
        aid=candidate.aid,
        label=candidate.label,
        card=f"**** {request.pan[-4:]}",
        counter=int.from_bytes(request.atc, "big"),
        approved=authorize(request),
        apdus=link.apdus,
    )


async def list_applications(transmit: Transmit) -> tuple[Candidate, ...]:
    """Return the payment applications that the PPSE lists, in its order."""
    return await candidates(CardLink(transmit))


async def candidates(link: CardLink) -> tuple[Candidate, ...]:
    """Select the PPSE and read its directory.

    Raises:
        CardRefusedError: there is no PPSE.
        TerminalError: its answer is no directory.
    """
    fci = await link.select(PPSE_AID)
    try:
        proprietary = parse_tlvs(require(parse_tlvs(parse_tlv(fci).value), 0xA5))
        return tuple(_candidate(entry) for entry in find_all(parse_tlvs(require(proprietary, 0xBF0C)), 0x61))
    except CardError as error:
        raise TerminalError(f"the PPSE answers no directory: {error}") from error


def best(found: tuple[Candidate, ...]) -> Candidate:
    """Return the candidate with the best priority; the first one of equals.

    Raises:
        NoApplicationError: there is none.
    """
    if not found:
        raise NoApplicationError("the PPSE lists no payment application")
    return min(found, key=lambda candidate: candidate.priority)


def _candidate(entry: bytes) -> Candidate:
    tlvs = parse_tlvs(entry)
    indicator = find(tlvs, 0x87) or b"\x00"
    label = (find(tlvs, 0x50) or b"").decode("ascii", "replace")
    return Candidate(Aid(require(tlvs, 0x4F)), label, indicator[0] & 0x0F or _NO_PRIORITY)


async def _transact(link: CardLink, aid: Aid, payment: Payment) -> Authorization:
    fci = await link.select(aid)
    proprietary = parse_tlvs(require(parse_tlvs(parse_tlv(fci).value), 0xA5))
    values = payment.values()
    asked = _fill(require(proprietary, 0x9F38), values)
    command = CommandApdu(0x80, 0xA8, 0x00, 0x00, encode_tlv(0x83, asked), ne=256)
    options = parse_tlvs(parse_tlv(await link.require("GET PROCESSING OPTIONS", command)).value)
    known = (*options, *await _records(link, require(options, 0x94)))
    return Authorization(
        pan=require(known, 0x5A).hex().rstrip("f"),
        psn=(find(known, 0x5F34) or b"\x00").hex(),
        terminal_data=b"".join(values[tag] for tag in _CRYPTOGRAM_TAGS),
        aip=require(options, 0x82),
        atc=require(options, 0x9F36),
        issuer_data=require(options, 0x9F10),
        cryptogram=require(options, 0x9F26),
    )


def _fill(pdol: bytes, values: dict[int, bytes]) -> bytes:
    """Give the card what its PDOL asks for: unknown objects as zeros, others cut or filled."""
    filled, offset = b"", 0
    while offset < len(pdol):
        end = offset + (2 if pdol[offset] & 0x1F == 0x1F else 1)
        if end >= len(pdol):
            raise TerminalError("the card's PDOL is cut off")
        length = pdol[end]
        value = values.get(int.from_bytes(pdol[offset:end], "big"), b"")
        filled += value[:length].ljust(length, b"\x00")
        offset = end + 1
    return filled


async def _records(link: CardLink, locator: bytes) -> list[Tlv]:
    """Read the records that the file locator names: file, first, last, number of signed ones."""
    found: list[Tlv] = []
    for place in range(0, len(locator) - 3, 4):
        file, first, last = locator[place] & 0xF8, locator[place + 1], locator[place + 2]
        for number in range(first, last + 1):
            record = await link.require("READ RECORD", CommandApdu(0x00, 0xB2, number, file | 4, ne=256))
            found.extend(parse_tlvs(parse_tlv(record).value))
    return found
