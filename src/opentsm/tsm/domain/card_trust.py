"""Whom a party believes that a card is a card: the authority for the cards of one profile, and its own place.

Both sides of a confidential hand-over have a certificate of that authority (CA-KLCC): the card for the key
that keys are agreed with, the future owner of a domain for the key that it signs with.
"""

from opentsm.card.crypto.signature import Curve
from opentsm.card.gp.certificates import PublicKey
from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.ids import KeyHandle, TenantId

SIGNING_KEY = KeyHandle("hand-over")


class CardAuthority(Record, frozen=True, kw_only=True):
    """An authority that a party trusts for cards of a profile.

    `point` is its public key (04, X, Y), `certificate` the party's own, which the authority issued for the
    party's signing key. With `required` the party takes over no domain of such a card in a weaker grade.
    """

    party_id: TenantId
    profile: str
    curve: str
    point: bytes
    certificate: bytes
    required: bool = False

    @property
    def public_key(self) -> PublicKey:
        """Return the authority's public key.

        Raises:
            KeyFormatError: the point is not on the curve.
        """
        return PublicKey(Curve[self.curve], self.point)
