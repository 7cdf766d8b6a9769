"""Mobile subscriptions (MSI): the names by which a subscriber's secure element is found.

A subscription's name is personal data. It is stored sealed, and as a keyed digest by which it is found; the
digest's key never leaves the hub's keystore, so that the few billion possible numbers cannot be tried out.

Source: GlobalPlatform Messaging, MSId (MSISDN, alias, extendable); ITU-T E.164 and E.212 for the numbers.
"""

import re
from base64 import urlsafe_b64encode
from enum import Enum

from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.errors import InvalidInputError
from opentsm.tsm.kernel.ids import NetworkOperatorId, SeId, SubscriptionId, TenantId
from opentsm.tsm.kernel.transitions import TransitionTable

DIGEST_CONTEXT = "subscription-identifier"
DIGEST_MARK = "#"  # no name of a secure element has this character
_DIGEST_BYTES = 16
_SEPARATORS = re.compile(r"[ ()./-]")
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_IMSI = re.compile(r"[0-9]{6,15}")
_MAX_NAME = 64


class MsIdentifierType(Enum):
    """Kinds of names of a subscription. MSISDN is the phone number, also called MDN."""

    MSISDN = "MSISDN"
    IMSI = "IMSI"
    ALIAS = "ALIAS"
    GENERIC = "MS_GENERIC"


class SubscriptionState(Enum):
    """ENDED is the end: its name is free again."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    ENDED = "ENDED"


class SubscriptionEvent(Enum):
    """What a network operator does with a subscription."""

    SUSPEND = "SUSPEND"
    RESTORE = "RESTORE"
    END = "END"


SUBSCRIPTION_STATES: TransitionTable[SubscriptionState, SubscriptionEvent] = TransitionTable(
    "subscription",
    {
        (SubscriptionState.ACTIVE, SubscriptionEvent.SUSPEND): SubscriptionState.SUSPENDED,
        (SubscriptionState.SUSPENDED, SubscriptionEvent.RESTORE): SubscriptionState.ACTIVE,
        (SubscriptionState.ACTIVE, SubscriptionEvent.END): SubscriptionState.ENDED,
        (SubscriptionState.SUSPENDED, SubscriptionEvent.END): SubscriptionState.ENDED,
    },
)


class MsIdentifier(Record, frozen=True, kw_only=True):
    """A subscription's name in clear; only ever in memory."""

    type: MsIdentifierType
    value: str

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.type.value}>"


class Subscription(Record, frozen=True, kw_only=True):
    """A mobile subscription, registered by `owner_id`: an issuer, or the hub's operator.

    `name` is the digest of the identifier (empty once it ended), `sealed` the identifier itself. `readers`
    are the only parties that find it; None: every provider on its side of the sandbox border.
    """

    id: SubscriptionId
    owner_id: TenantId
    sandbox: bool = False
    type: MsIdentifierType
    name: str
    sealed: bytes
    se_id: SeId | None = None
    network_operator_id: NetworkOperatorId | None = None
    readers: tuple[TenantId, ...] | None = None
    state: SubscriptionState = SubscriptionState.ACTIVE
    version: int = 0


def subscription_context(subscription_id: SubscriptionId) -> str:
    """Return what a subscription's identifier is sealed for."""
    return f"subscription:{subscription_id}"


def normalised(type_: MsIdentifierType, value: str) -> MsIdentifier:
    """Return an identifier in the one form in which it is digested.

    Args:
        type_: its kind.
        value: as somebody wrote it; blanks, hyphens, dots, slashes and brackets of a phone number are
            dropped, and a leading 00 is the international prefix.

    Raises:
        InvalidInputError: it is none of this kind; its words never repeat the value.

    Source: ITU-T E.164 §6.1 (at most 15 digits), E.212 (IMSI, at most 15 digits).
    """
    value = value.strip()
    if type_ is MsIdentifierType.MSISDN:
        value = re.sub(r"^00", "+", _SEPARATORS.sub("", value))
        if not _E164.fullmatch(value):
            raise _refused("An MSISDN is + and 7 to 15 digits with the country code (E.164).")
    elif type_ is MsIdentifierType.IMSI:
        if not _IMSI.fullmatch(value):
            raise _refused("An IMSI has 6 to 15 digits (E.212).")
    elif not 1 <= len(value) <= _MAX_NAME or not value.isprintable():
        raise _refused(f"An identifier has 1 to {_MAX_NAME} printable characters.")
    return MsIdentifier(type=type_, value=value)


def name_of(digest: bytes) -> str:
    """Return the name under which an identifier is looked up, from its keyed digest (32 bytes)."""
    return DIGEST_MARK + urlsafe_b64encode(digest[:_DIGEST_BYTES]).rstrip(b"=").decode()


def digested(identifier: MsIdentifier) -> bytes:
    """Return what of an identifier goes under the keyed digest."""
    return f"{identifier.type.value}:{identifier.value}".encode()


def _refused(text: str) -> InvalidInputError:
    return InvalidInputError(text, field="/identifier/value")
