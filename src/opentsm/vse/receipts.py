"""Receipts: the confirmation of a delegated operation, signed by the card.

Source: GPCS 2.3.1 §9.1.3.6, §11.1.6 (Tables 11-13, 11-14), Appendix C.1.1.2, C.5.
"""

from dataclasses import dataclass
from typing import Final

from opentsm.card.codec.lv import ber_lv, lv
from opentsm.card.crypto.digest import Digest
from opentsm.card.crypto.signature import Signer
from opentsm.vse.authority import Authority
from opentsm.vse.environment import Environment
from opentsm.vse.lifecycle import is_locked
from opentsm.vse.privileges import Privilege
from opentsm.vse.signing_keys import Role, role_key, signer
from opentsm.vse.state import Instance
from opentsm.vse.status import StatusError
from opentsm.vse.tokens import holder_for, remember_number

NO_CONFIRMATION: Final = b"\x00"
_PROVIDER: Final = 0x42
_IMAGE_NUMBER: Final = 0x45
_MOST: Final = 0xFFFF


@dataclass(frozen=True, slots=True)
class Confirmer:
    """Makes the answer of one operation; everything that could fail was checked before."""

    environment: Environment
    authority: Authority
    generator: Instance | None = None
    key: Signer | None = None

    def confirm(self, *context: bytes) -> bytes:
        """Return the response data of an operation that has succeeded.

        Args:
            context: what the receipt signs behind the confirmation data, each already with its length.
        """
        remember_number(self.environment, self.authority)
        if self.generator is None or self.key is None:
            return NO_CONFIRMATION
        data = self._data(self._count(self.generator), self.generator)
        receipt = self.key.sign(data + b"".join(context))
        return ber_lv(ber_lv(receipt) + data)

    def _count(self, generator: Instance) -> int:
        domain = generator.domain_data()
        before = domain.confirmations
        domain.confirmations = before + 1
        self.environment.touch()
        moves_after = self.environment.profile.confirmation_counter_moves == "after"
        return before if moves_after else before + 1

    def _data(self, counter: int, generator: Instance) -> bytes:
        objects = generator.domain_data().objects
        unique = objects.get(_PROVIDER, b"") + objects.get(_IMAGE_NUMBER, b"")
        data = lv(counter.to_bytes(2, "big")) + lv(unique)
        digest = self.environment.profile.receipt_digest
        if self.authority.number is not None or digest:
            data += lv(self.authority.number or b"")
        return data + lv(Digest[digest].of(self.authority.signed)) if digest else data


def prepare(environment: Environment, domain: Instance, authority: Authority) -> Confirmer:
    """Find who makes the receipt of an operation, before it changes anything.

    Raises:
        StatusError: 6985 (or as the profile has it): a receipt is due and cannot be made (§C.1.1.2).
    """
    profile = environment.profile
    nothing = Confirmer(environment, authority)
    due = authority.delegated or (authority.token and profile.receipts_for_authorized)
    if not due or profile.receipts == "never":
        return nothing
    image = environment.image
    generator = holder_for(image, domain, Privilege.RECEIPT_GENERATION)
    key = role_key(environment, generator, Role.RECEIPT) if generator is not None else None
    usable = generator is not None and (generator is image.isd or not is_locked(generator.state))
    if generator is None or key is None or not usable:
        if profile.receipts == "required":
            raise StatusError(profile.proof_missing)
        return nothing
    if generator.domain_data().confirmations >= _MOST:
        raise StatusError(profile.proof_missing)
    return Confirmer(environment, authority, generator, signer(key))
