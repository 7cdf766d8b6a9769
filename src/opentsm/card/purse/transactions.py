"""What passes between a stored-value purse and its host: requests, offers and log records.

Amounts are in the smallest unit of the currency. Source: docs/reference/applets.md (transit purse).
"""

from dataclasses import dataclass
from enum import Enum, IntEnum

from opentsm.card.errors import CardError, ResponseFormatError


class PurseMacError(CardError):
    """The purse's MAC is wrong: it does not hold this key, or the data was changed."""


class TransactionType(IntEnum):
    """What a transaction does; the values are part of every MAC."""

    LOAD = 0x02
    PURCHASE = 0x06


class PurseForm(Enum):
    """The two forms: code in DGI 5001 and FCI, lengths of counter, random and tags, in bytes."""

    AES = (0x01, 4, 8, 8)
    PBOC = (0x02, 2, 4, 4)

    def __init__(self, code: int, counter: int, random: int, tag: int) -> None:
        self.code = code
        self.counter_length = counter
        self.random_length = random
        self.tag_length = tag

    @classmethod
    def of(cls, code: int) -> "PurseForm":
        """Return the form with this code.

        Raises:
            ResponseFormatError: there is none.
        """
        for form in cls:
            if form.code == code:
                return form
        raise ResponseFormatError(f"purse form {code:02X} is not known")


@dataclass(frozen=True, slots=True)
class PurseIdentity:
    """What SELECT tells: `purse_id` (8 bytes) selects the card keys, `currency` is 2 bytes BCD (ISO 4217)."""

    label: str
    purse_id: bytes
    form: PurseForm
    key_version: int
    currency: bytes


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """One top-up that the host wants.

    `terminal` has 6 bytes, `transaction_id` 8: the host's own, never used twice for a purse. The PBOC form
    does not send it.
    """

    amount: int
    terminal: bytes
    transaction_id: bytes

    def __post_init__(self) -> None:
        check_amount(self.amount)
        check_length("terminal", self.terminal, 6)
        check_length("transaction id", self.transaction_id, 8)


@dataclass(frozen=True, slots=True)
class LoadOffer:
    """The purse's answer to INITIALIZE FOR LOAD; `counter` is the one that this load will use up."""

    balance: int
    counter: int
    key_version: int
    algorithm: int
    random: bytes
    mac1: bytes


@dataclass(frozen=True, slots=True)
class PurchaseOffer:
    """The purse's answer to INITIALIZE FOR PURCHASE."""

    balance: int
    counter: int
    overdraft: int
    key_version: int
    algorithm: int
    random: bytes


@dataclass(frozen=True, slots=True)
class PurchaseRequest:
    """One purchase: `terminal` has 6 bytes; `terminal_number` is the terminal's own count, up to 4 bytes."""

    amount: int
    terminal: bytes
    terminal_number: int

    def __post_init__(self) -> None:
        check_amount(self.amount)
        check_length("terminal", self.terminal, 6)
        check_number("terminal's transaction number", self.terminal_number)

    @property
    def number_bytes(self) -> bytes:
        """The terminal's transaction number, 4 bytes."""
        return self.terminal_number.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One record of the purse's log.

    `counter` is the transaction's own, `balance` what was left after it; `moment` is date and time, 7 bytes
    BCD. `reference` (8 bytes) holds the host's transaction id, or the terminal's number filled up on the
    left. `mac` is MAC2. The PBOC form records no balance, reference, MAC and TAC: they are None.
    """

    type: TransactionType
    counter: int
    amount: int
    terminal: bytes
    moment: bytes
    balance: int | None = None
    reference: bytes | None = None
    mac: bytes | None = None
    tac: bytes | None = None


def check_amount(amount: int) -> None:
    """Refuse an amount that is 0 or does not fit 4 bytes."""
    if not amount:
        raise CardError("an amount of 0 moves nothing")
    check_number("amount", amount)


def check_number(name: str, number: int) -> None:
    """Refuse a number that does not fit 4 bytes."""
    if not 0 <= number <= 0xFFFFFFFF:
        raise CardError(f"the {name} has 4 bytes, {number} does not fit")


def check_length(name: str, value: bytes, length: int) -> None:
    """Refuse a value of another length."""
    if len(value) != length:
        raise CardError(f"the {name} has {length} bytes, not {len(value)}")
