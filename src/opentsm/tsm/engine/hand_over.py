"""Planning the confidential hand-over of a new domain: its owner and the certified card agree on its keys.

Pure. The creator of the domain carries the commands in its own session and learns nothing from them; what is
not possible in this grade is refused, never done in a weaker one. Amendment A, scenario 3.
"""

from collections.abc import Iterable, Sequence

import msgspec

from opentsm.card import profiles
from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.arrangement import HandOverGrade
from opentsm.tsm.domain.card_content import CardObject, KeyProvisioningMode
from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.sessions import PlannedSession, SessionKind, Topology, managed
from opentsm.tsm.engine.view import View
from opentsm.tsm.kernel.errors import PlanRefusedError
from opentsm.tsm.kernel.ids import TenantId

replace = msgspec.structs.replace


class HandOver:
    """The hand-over of one instance's domain to its provider."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._topology = view.topology
        self._domain = view.description.sd_aid

    @property
    def confidential(self) -> bool:
        """Say whether the domain gets keys that its creator never knows.

        A provider that makes its own domain hands nothing over.
        """
        topology = self._topology
        handed_over = topology.manager_id != topology.provider_id
        return handed_over and topology.handover is HandOverGrade.CONFIDENTIAL

    @property
    def first_kvn(self) -> int:
        """Return the version of the domain's first keys: agreed ones are its owner's own at once.

        Unless the owner wants keys of its choice: those follow in a session under the agreed ones.
        """
        chosen = self._view.description.key_provisioning.mode is not KeyProvisioningMode.NONE
        at_once = self.confidential and not chosen
        return self._view.desired.key_version if at_once else self._topology.temporary_kvn

    def needs_certificate(self, domain: CardObject | None) -> bool:
        """Say whether the card's certificate must be read before keys can be agreed on."""
        view = self._view
        held = () if domain is None else view.observed.keys.get(_hex(self._domain))
        wanted = view.description.dedicated_sd and self.confidential and not view.desired.keys_elsewhere
        return wanted and held == () and not view.observed.certificate

    def reading(self) -> tuple[Aid, s.Step]:
        """Return the question for the card's certificate, and whom it is put to.

        Raises:
            PlanRefusedError: the card has no way of a confidential hand-over.
        """
        casd = controlling_authority(self._topology)
        return casd, s.ReadCardCertificate(casd=casd)

    def sessions(self, before: Iterable[s.Step]) -> list[PlannedSession]:
        """Return the manager's sessions in which the domain gets its keys, after other steps.

        Raises:
            PlanRefusedError: the card has no way of a confidential hand-over.
        """
        controlling_authority(self._topology)
        return agreement(
            managed(self._topology, before),
            self._domain,
            self.first_kvn,
            self._topology.provider_id,
            self._view.observed.certificate,
        )

    def refuse_known(self, kvns: Sequence[int]) -> None:
        """Refuse to go on with keys that the domain's creator knows.

        Raises:
            PlanRefusedError: the domain has such keys.
        """
        grade = self._view.observed.grades.get(_hex(self._domain))
        known = grade is not HandOverGrade.CONFIDENTIAL and self._topology.temporary_kvn in kvns
        if self.confidential and known:
            raise PlanRefusedError(
                f"The security domain {self._domain} has temporary keys that its creator knows, and by the"
                " arrangement it changes hands confidentially.",
                advice="Terminate the instance, which removes the domain, and deploy it again.",
            )


def controlling_authority(topology: Topology) -> Aid:
    """Return the CASD of a card with which keys are agreed on.

    Raises:
        PlanRefusedError: by its profile the card has none.
    """
    if topology.handover_way is not profiles.HandOver.SCENARIO_3 or topology.casd is None:
        raise PlanRefusedError(
            "By the arrangement security domains change hands confidentially, and cards of this profile"
            " have no way to do that.",
            advice="Nothing was changed. Use cards with a CASD, or an arrangement whose handover is"
            " relay-trusted.",
        )
    return topology.casd


def agreement(
    session: PlannedSession, domain: Aid, kvn: int, owner_id: TenantId, certificate: bytes
) -> list[PlannedSession]:
    """Return a session with the agreement at its end, and the one that goes on with it.

    The card's answer to the first part is needed for the second: between them lies a round trip.
    """
    offer = s.OfferKeys(domain=domain, owner_id=owner_id)
    agree = s.AgreeKeys(domain=domain, kvn=kvn, owner_id=owner_id, certificate=certificate)
    first = replace(session, steps=(*session.steps, offer))
    return [first, replace(session, kind=SessionKind.CONTINUED, steps=(agree,))]


def carried(step: s.AgreeKeys) -> PlannedSession:
    """Return the owner's own session, which travels in those of another party."""
    return PlannedSession(
        kind=SessionKind.CARRIED,
        owner_id=step.owner_id,
        selected=step.domain,
        key_sd=step.domain,
        kvn=step.kvn,
        steps=(step,),
    )


def agreement_after(sessions: Sequence[PlannedSession], index: int) -> s.AgreeKeys | None:
    """Return the agreement that a session begins and the next one goes on with; None: it begins none."""
    if index + 1 >= len(sessions) or sessions[index + 1].kind is not SessionKind.CONTINUED:
        return None
    steps = sessions[index + 1].steps
    return next((step for step in steps if isinstance(step, s.AgreeKeys)), None)


def _hex(aid: Aid) -> str:
    return aid.hex().upper()
