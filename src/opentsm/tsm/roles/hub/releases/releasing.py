"""The release of a load file, an act that needs two people: signed, then given to card profiles."""

import msgspec

from opentsm.tsm.domain.approval import Approval
from opentsm.tsm.domain.release import SUBMISSION_STATES, DapSignature, Submission, SubmissionEvent
from opentsm.tsm.domain.tenant import Principal
from opentsm.tsm.kernel.errors import ForbiddenError, InvalidInputError
from opentsm.tsm.kernel.ids import SubmissionId, TenantId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.approvals.acts import Asked, Prepared
from opentsm.tsm.roles.hub.approvals.persons import signer_of
from opentsm.tsm.roles.hub.releases.demands import ReleaseServices, acting_party, policy_of
from opentsm.tsm.roles.hub.releases.desk import note, reviewed, signature

replace = msgspec.structs.replace


class Releasing:
    """Implements `approvals.acts.Performer` for load files."""

    def __init__(self, services: ReleaseServices) -> None:
        self._s = services

    async def check(self, tx: UnitOfWork, principal: Principal, asked: Asked) -> Asked:
        """Return the act with the profiles of the release; see `Performer.check`."""
        found = await reviewed(tx, principal, SubmissionId(asked.subject))
        SUBMISSION_STATES.next(found.state, SubmissionEvent.RELEASE)
        unknown = sorted(set(asked.parameters) - {"profiles"})
        if unknown:
            raise InvalidInputError(f"Unknown parameters: {', '.join(unknown)}.", field="/parameters")
        named = str(asked.parameters.get("profiles", ",".join(found.profiles)))
        if not named or set(named.split(",")) - set(found.profiles):
            raise InvalidInputError(
                f"It was handed in for {', '.join(found.profiles)} only.", field="/parameters/profiles"
            )
        await self._check_person(tx, principal, found)
        return replace(asked, parameters={"profiles": named})

    async def prepare(self, approval: Approval) -> Prepared:
        """Sign with the reviewer's own keys, before the transaction of the decision."""
        async with self._s.storage.transaction() as tx:
            found = await tx.releases.get(SubmissionId(approval.subject))
            if found is None:
                return {}
            policy = await policy_of(tx, found.reviewer_id)
        keystore = self._s.keystore_of(found.reviewer_id)
        made = [await signature(keystore, found.reviewer_id, found, domain) for domain in policy.dap_domains]
        return {one.domain: one.signature for one in made}

    async def carry_out(
        self, tx: UnitOfWork, principal: Principal, approval: Approval, prepared: Prepared
    ) -> dict[str, str]:
        """Release the load file; see `Performer.carry_out`."""
        asked = Asked(act=approval.act, subject=approval.subject, parameters=approval.parameters)
        whole = await self.check(tx, principal, asked)
        found = await reviewed(tx, principal, SubmissionId(approval.subject))
        profiles = str(whole.parameters["profiles"]).split(",")
        kept = tuple(one for one in found.daps if one.domain not in prepared)
        made = tuple(DapSignature(domain=domain, signature=value) for domain, value in prepared.items())
        released = replace(
            found,
            state=SUBMISSION_STATES.next(found.state, SubmissionEvent.RELEASE),
            released=tuple(sorted({*found.released, *profiles})),
            daps=(*kept, *made),
        )
        saved = await tx.releases.save(released)
        await note(tx, self._s.world, principal, saved, event="released", text=", ".join(profiles))
        return {"submission": saved.id}

    async def concerned(self, tx: UnitOfWork, subject: str) -> TenantId | None:
        """Return who handed the load file in."""
        found = await tx.releases.get(SubmissionId(subject))
        return None if found is None else found.submitter_id

    async def _check_person(self, tx: UnitOfWork, principal: Principal, found: Submission) -> None:
        policy = await policy_of(tx, acting_party(principal))
        signer, reviewer = signer_of(principal), found.reviewed_by
        alike = (reviewer is not None and signer.is_also(reviewer)) or signer.is_also(found.submitted_by)
        if policy.separate_people and alike:
            raise ForbiddenError(
                "Whoever handed a load file in, or reviewed it, does not release it.",
                advice="Let two other people of the party do it, or set `separate_people` to false.",
            )
