"""Whom a provider trusts for cards: the authority behind them, and its own certificate of that authority."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from opentsm.card.crypto.signature import Curve
from opentsm.card.errors import CardError, CertificateError
from opentsm.card.gp.certificates import Certificate, PublicKey, read_certificate
from opentsm.card.profiles import SeProfile
from opentsm.tsm.domain.card_trust import SIGNING_KEY, CardAuthority
from opentsm.tsm.domain.tenant import HUB, Principal, TenantKind
from opentsm.tsm.kernel.errors import ForbiddenError, InvalidInputError, NotFoundError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.kernel.wording import quoted
from opentsm.tsm.ports.keystore import Keystore
from opentsm.tsm.ports.unit_of_work import Storage, UnitOfWork

MAX_CERTIFICATE = 220
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class CardAuthorities:
    """Use cases of providers, and of the operator for the central TSM.

    Args:
        storage: where authorities are on record.
        keystore_of: finds a party's keystore.
        profiles: the card profiles, by name.
    """

    storage: Storage
    keystore_of: Callable[[TenantId], Keystore]
    profiles: Mapping[str, SeProfile]

    async def signing_key(self, principal: Principal) -> bytes:
        """Return the public key (04, X, Y of P-256) that an authority is to certify for the caller."""
        keystore = self.keystore_of(_party(principal))
        await keystore.generate(SIGNING_KEY, length_bytes=_SECRET_BYTES)
        return await keystore.verification_key(SIGNING_KEY)

    async def all(self, principal: Principal) -> tuple[CardAuthority, ...]:
        """Return all authorities that the caller has on record."""
        async with self.storage.transaction() as tx:
            return await tx.card_authorities.list(_party(principal))

    async def put(
        self,
        principal: Principal,
        profile: str,
        *,
        curve: str,
        point: bytes,
        certificate: bytes,
        required: bool,
    ) -> CardAuthority:
        """Trust an authority for the cards of a profile, in place of any other.

        Args:
            principal: the provider; the operator for the central TSM.
            profile: of the cards.
            curve: of the authority's key.
            point: its public key.
            certificate: the caller's own, by this authority, in GlobalPlatform's format.
            required: take over no domain of such a card in a weaker grade.

        Raises:
            NotFoundError: there is no such profile.
            InvalidInputError: key or certificate are malformed, or the certificate is not the caller's.
        """
        party = _party(principal)
        if profile not in self.profiles:
            raise NotFoundError(f"The card profile {quoted(profile)} is not known.")
        own = await self.signing_key(principal)
        authority = _authority(curve, point)
        try:
            _check_own(read_certificate(certificate), certificate, authority, own)
        except CardError as error:
            raise InvalidInputError(
                f"The certificate is of no use here: {error}.",
                advice="Let the authority certify the signing_key of GET /v1/card-authorities.",
                field="/certificate",
            ) from error
        made = CardAuthority(
            party_id=party,
            profile=profile,
            curve=curve,
            point=point,
            certificate=certificate,
            required=required,
        )
        async with self.storage.transaction() as tx:
            await tx.card_authorities.put(made)
            await _audit(tx, principal, party, "card-authority.trusted", profile)
            await tx.commit()
        return made

    async def remove(self, principal: Principal, profile: str) -> None:
        """Trust nobody any more for the cards of a profile.

        Raises:
            NotFoundError: nobody was trusted.
        """
        party = _party(principal)
        async with self.storage.transaction() as tx:
            if not await tx.card_authorities.remove(party, profile):
                raise NotFoundError("No authority is on record for cards of this profile.")
            await _audit(tx, principal, party, "card-authority.removed", profile)
            await tx.commit()


def _party(principal: Principal) -> TenantId:
    kinds = (TenantKind.SERVICE_PROVIDER, TenantKind.OPERATOR)
    if principal.kind not in kinds or principal.device_id is not None:
        raise ForbiddenError("This needs the token of a service provider or operator.")
    return HUB if principal.kind is TenantKind.OPERATOR else principal.tenant_id


def _authority(curve: str, point: bytes) -> PublicKey:
    try:
        return PublicKey(Curve[curve], point)
    except (KeyError, CardError) as error:
        raise InvalidInputError("This is no public key of the curve.", field="/public_key") from error


def _check_own(found: Certificate, encoded: bytes, authority: PublicKey, own: bytes) -> None:
    found.verify(authority)
    if not found.is_globalplatform or len(encoded) > MAX_CERTIFICATE:
        raise CertificateError(
            f"it is not in GlobalPlatform's format, or longer than {MAX_CERTIFICATE} bytes"
        )
    if found.public_key != PublicKey(Curve.P_256, own):
        raise CertificateError("it is for another key than this party's")
    if found.verifies_certificates or found.agrees_on_keys:
        raise CertificateError("its key is not one that verifies signatures")


async def _audit(tx: UnitOfWork, principal: Principal, party: TenantId, action: str, profile: str) -> None:
    actor = str(principal.tenant_id)
    await tx.audit.append(party, actor=actor, action=action, subject=profile, details={})
