"""Keys that a party agrees on with the card itself, past everybody who carries the commands.

Nothing is sent before the new key set is written down, and none is used before the card has proved that it
holds it: by its receipt, or by opening a session. Amendment A, scenario 3.
"""

from hmac import compare_digest

import msgspec

from opentsm.card.crypto.signature import Curve
from opentsm.card.errors import CardError, CertificateError
from opentsm.card.gp import confidential_setup as setup
from opentsm.card.gp.certificates import Certificate, PublicKey, read_certificates, verify_chain
from opentsm.card.profiles import SeProfile
from opentsm.tsm.custody.card_trust import Trust
from opentsm.tsm.custody.holder import Custody
from opentsm.tsm.custody.sessions import read_answer, to_hex
from opentsm.tsm.custody.work import SegmentWork
from opentsm.tsm.domain.card_trust import SIGNING_KEY
from opentsm.tsm.domain.exchange import Command, Expected
from opentsm.tsm.domain.secure_element import KeySet, key_set_context
from opentsm.tsm.engine import steps as s
from opentsm.tsm.kernel.errors import (
    ApplicationFaultError,
    InvariantError,
    NotFoundError,
    WrongCardError,
)
from opentsm.tsm.ports.keystore import CardAgreement
from opentsm.tsm.ports.peer import SegmentReport, SegmentRequest, StepReport

replace = msgspec.structs.replace

_OK = Expected(status_words=("9000",))


class Agreements:
    """The agreements of one party."""

    def __init__(self, custody: Custody) -> None:
        self._c = custody

    # --- phase 1 ---------------------------------------------------------------------------------------

    async def begin(self, request: SegmentRequest, profile: SeProfile) -> SegmentWork:
        """Return the work with the party's certificate, for a card that has proved to be one.

        Raises:
            NotFoundError: the party trusts no authority for such cards.
            WrongCardError: the card's certificate is not of that authority, or another card's.
        """
        step = _agreement(request)
        trust = await self._trust(request.profile)
        try:
            card = self._verified(step.certificate, trust, request, profile)
        except CardError as error:
            await self._refused(request, str(error))
            raise WrongCardError(
                f"The card's certificate proves nothing to the owner of {step.domain}: {error}.",
                advice="Nothing was sent to the card. Somebody on the way may have put in another"
                " certificate, or the owner trusts another authority for these cards.",
            ) from error
        opening = Command(
            apdu=to_hex(setup.send_certificate(trust.certificate)), expected=_OK, meaning=step.describe()
        )
        notes = {"curve": card.public_key.curve.name, "point": card.public_key.point.hex()}
        return SegmentWork(request=request, opening=(opening,), notes=notes)

    async def _trust(self, profile: str) -> Trust:
        found = None if self._c.trust is None else await self._c.trust.in_cards_of(profile)
        if found is None:
            raise NotFoundError(
                "The owner of the security domain trusts no authority for cards of this profile.",
                advice="It names one by PUT /v1/card-authorities/{profile}.",
            )
        return found

    def _verified(
        self, certificate: bytes, trust: Trust, request: SegmentRequest, profile: SeProfile
    ) -> Certificate:
        chain = read_certificates(certificate)
        card = verify_chain(chain, trust.authority, today=self._c.world.now().date())
        _require_this_card(card, request, profile)
        return card

    async def _refused(self, request: SegmentRequest, reason: str) -> None:
        async with self._c.storage.transaction() as tx:
            await tx.audit.append(
                self._c.tenant_id,
                actor="tsm",
                action="card-certificate.refused",
                subject=str(request.se_id),
                details={"security_domain": str(request.session.selected), "reason": reason},
            )
            await tx.commit()

    # --- phase 2 ---------------------------------------------------------------------------------------

    async def go_on(
        self, work: SegmentWork, opening: tuple[str, ...], profile: SeProfile
    ) -> tuple[SegmentWork, KeySet]:
        """Return the work with the command that makes the keys, and the keys, to be written down first.

        Raises:
            ApplicationFaultError: the card's challenge cannot be read.
        """
        request, step = work.request, _agreement(work.request)
        try:
            challenge = setup.parse_challenge(read_answer(opening[-1] if opening else "").data)
        except CardError as error:
            raise ApplicationFaultError(f"The card's challenge cannot be read: {error}.") from error
        agreed = await self._c.keystore.agree_card_keys(
            CardAgreement(
                casd=PublicKey(Curve[work.notes["curve"]], bytes.fromhex(work.notes["point"])),
                signer=SIGNING_KEY,
                challenge=challenge,
                kvn=step.kvn,
                key_length=profile.key_size,
                context=key_set_context(request.se_id, step.domain, step.kvn),
            )
        )
        keys = KeySet(
            owner_id=self._c.tenant_id,
            se_id=request.se_id,
            sd_aid=step.domain,
            kvn=step.kvn,
            scp=profile.scp,
            key_length=profile.key_size,
            source=agreed.keys.source,
            kcvs=agreed.keys.kcvs,
        )
        command = Command(apdu=agreed.command.hex().upper(), expected=_OK, meaning=step.describe())
        notes = {**work.notes, "receipt": agreed.receipt.hex()}
        return replace(work, commands=(command,), notes=notes), keys

    # --- phase 3 ---------------------------------------------------------------------------------------

    async def check(self, work: SegmentWork, answers: tuple[str, ...]) -> SegmentReport:
        """Return what the card's receipt proves.

        Raises:
            WrongCardError: the receipt is not that of the card whose certificate was verified.
        """
        step = _agreement(work.request)
        unknown = SegmentReport(steps=(StepReport(done=False, meaning=step.describe()),))
        if not answers or not work.commands:
            return unknown
        try:
            answer = read_answer(answers[0])
        except CardError:
            return unknown
        if answer.sw != 0x9000:
            refused = StepReport(done=False, status_word=f"{answer.sw:04X}", meaning=step.describe())
            return SegmentReport(steps=(refused,))
        if not _is_receipt(answer.data, bytes.fromhex(work.notes["receipt"])):
            await self._refused(work.request, "the receipt is not this card's")
            raise WrongCardError(
                f"The receipt for the keys of {step.domain} is not that of the card with the certificate.",
                advice="Nothing is sent under these keys. Somebody on the way answered for the card.",
            )
        return SegmentReport(steps=(StepReport(done=True, meaning=step.describe()),))


def _agreement(request: SegmentRequest) -> s.AgreeKeys:
    steps = request.session.steps
    if len(steps) != 1 or not isinstance(steps[0], s.AgreeKeys):
        raise InvariantError("A carried session agrees on keys, and does nothing else.")
    return steps[0]


def _require_this_card(card: Certificate, request: SegmentRequest, profile: SeProfile) -> None:
    """Compare the certificate's subject with the secure element's name, where the profile tells which."""
    kind = profile.certificate_subject
    if not kind:
        return
    names = [one.value.upper() for one in request.identifiers if one.type.value == kind]
    if card.subject.hex().upper() not in names:
        raise CertificateError(f"it is another card's: no {kind} of this secure element is its subject")


def _is_receipt(data: bytes, expected: bytes) -> bool:
    try:
        _, receipt = setup.parse_receipt(setup.KeySetPlan(1, with_random=False), data)
    except CardError:
        return False
    return compare_digest(receipt, expected)
