"""What a plan is made from, and the questions that every part of the planning asks of it. Pure."""

from opentsm.card.codec.aid import Aid
from opentsm.card.gp.lifecycle import ApplicationState
from opentsm.card.gp.privileges import Privilege
from opentsm.tsm.domain.arrangement import ContentMode
from opentsm.tsm.domain.card_content import (
    UNKNOWN,
    ApplicationSpecification,
    Claim,
    DesiredContent,
    LoadFileReference,
    ObservedContent,
    Stage,
)
from opentsm.tsm.engine.sessions import Topology

LOCKED = 0x80


class View:
    """Desired and observed content, claims and topology for the planning of one instance."""

    def __init__(
        self,
        desired: DesiredContent,
        observed: ObservedContent,
        topology: Topology,
        claims: tuple[Claim, ...],
    ) -> None:
        self.desired = desired
        self.description = desired.description
        self.observed = observed
        self.topology = topology
        self.claims = {claim.aid: claim for claim in claims}

    def wants(self, stage: Stage) -> bool:
        """Say whether a stage of the description should be on the card."""
        return stage in self.desired.stages

    def ours(self, aid: Aid) -> bool:
        """Say whether the instance claims an object."""
        claim = self.claims.get(aid)
        return claim is not None and self.desired.instance_id in claim.instance_ids

    def only_ours(self, aid: Aid) -> bool:
        """Say whether nobody but the instance claims an object."""
        claim = self.claims.get(aid)
        return claim is not None and set(claim.instance_ids) == {self.desired.instance_id}

    def other_code(self, load_file: LoadFileReference) -> bool:
        """Say whether the card holds other content under a load file's AID."""
        claim = self.claims.get(load_file.aid)
        if self.observed.find(load_file.aid) is None or claim is None:
            return False
        return self.observed.built.get(load_file.aid.hex().upper(), claim.sha256) != load_file.sha256

    @property
    def delegated(self) -> bool:
        """Say whether the provider itself manages the content of its domain, with tokens.

        A domain that is there decides: one that was made before the mode was changed stays what it is.
        """
        if not self.description.dedicated_sd:
            return False
        return self.may_delegate(self.description.sd_aid)

    def may_delegate(self, domain: Aid) -> bool:
        """Say whether a domain of the instance's works with Delegated Management, or will when it is made.

        Where nobody here has the domain's keys, or its owner is not asked, the manager does what it may do as
        the domain above.
        """
        if self.desired.keys_elsewhere or self.desired.over_provider:
            return False
        entry = self.observed.find(domain)
        held = self.topology.domain_privileges if entry is None else entry.privileges
        delegating = self.topology.mode is ContentMode.DELEGATED
        return delegating and Privilege.DELEGATED_MANAGEMENT in Privilege(held)

    def loads_into(self) -> Aid:
        """Return the domain that the load files go to.

        One with Delegated Management brings content into no other domain (GPCS 9.3.2): nobody above it
        accepts that.
        """
        if self.delegated:
            return self.description.sd_aid
        under_manager = self.description.extradite or not self.description.dedicated_sd
        return self.topology.manager_sd if under_manager else self.description.sd_aid

    def personalization(self, app: ApplicationSpecification) -> str | None:
        """Return what is known of an application's personalisation; None: it has none."""
        return self.observed.personalization.get(app.instance_aid.hex().upper())

    def can_probe(self, app: ApplicationSpecification) -> bool:
        """Say whether an application can be asked for its personalisation."""
        return app.probe is not None and self.selectable(app)

    def selectable(self, app: ApplicationSpecification) -> bool:
        """Say whether an application can be selected now."""
        entry = self.observed.find(app.instance_aid)
        selectable = (
            entry is not None and entry.state & ApplicationState.SELECTABLE == ApplicationState.SELECTABLE
        )
        return selectable and entry is not None and not entry.state & LOCKED

    def usable(self, app: ApplicationSpecification) -> bool:
        """Say whether an existing instance can be kept: its personalisation is right, or not begun.

        What is not known and cannot be asked for (it would have been) counts as begun.
        """
        found = self.personalization(app)
        return found in (None, app.personalization) or (
            found == UNKNOWN and not self.wants(Stage.PERSONALIZE)
        )
