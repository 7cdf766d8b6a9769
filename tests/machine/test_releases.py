"""Released load files on cards: what was not released is not loaded, what must be signed is."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.machine.approval_bench import person
from tests.machine.bench import LOAD_FILE, Bench
from tests.machine.figure_bench import MDPH, FigureBench

from opentsm.tsm.domain.approval import Act
from opentsm.tsm.domain.arrangement import ArrangedDomain
from opentsm.tsm.domain.operation import OperationState
from opentsm.tsm.domain.release import DapSignature, ReleasePolicy, Submission, SubmissionState
from opentsm.tsm.kernel.errors import ForbiddenError, IllegalTransitionError
from opentsm.tsm.roles.hub.approvals.acts import Asked
from opentsm.tsm.roles.hub.approvals.desk import Approvals, ApprovalServices
from opentsm.tsm.roles.hub.arrangements.desk import NewArrangement
from opentsm.tsm.roles.hub.releases.demands import ReleaseServices
from opentsm.tsm.roles.hub.releases.desk import NewSubmission, Submissions
from opentsm.tsm.roles.hub.releases.releasing import Releasing

RID = "F04F54534D"


class Intake:
    """The use cases of releases over a bench, and three people of its issuer."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.services = ReleaseServices(bench.storage, bench.world, bench.profiles, bench.ring.of)
        self.desk = Submissions(self.services)

    async def submit(self) -> Submission:
        """Let the provider hand in the purse's load file."""
        bench = self.bench
        async with bench.storage.transaction() as tx:
            await tx.releases.put_rids(bench.provider, [RID])
            await tx.commit()
        new = NewSubmission(
            reviewer_id=bench.issuer,
            file_name="purse.cap",
            data=LOAD_FILE.read_bytes(),
            profiles=(bench.profile_name,),
        )
        return await self.desk.submit(bench.principal, new)

    async def release(self, submission: Submission) -> Submission:
        """Let Rita review a load file, Ada ask for its release, Ben approve it."""
        bench = self.bench
        rita, ada, ben = [await person(bench, name) for name in ("Rita", "Ada", "Ben")]
        await self.desk.review(rita, submission.id, approve=True, reason="read")
        approvals = Approvals(
            ApprovalServices(bench.storage, bench.world, {Act.RELEASE_APPLET: Releasing(self.services)})
        )
        wanted = Asked(act=Act.RELEASE_APPLET, subject=submission.id)
        with pytest.raises(ForbiddenError):
            await approvals.ask(rita, wanted, "I reviewed it")
        approval = await approvals.ask(ada, wanted, "for spring")
        with pytest.raises(ForbiddenError):
            await approvals.decide(rita, approval.id, approve=True, reason="I reviewed it")
        await approvals.decide(ben, approval.id, approve=True, reason="seen")
        return await self.desk.submission(bench.issuer_principal, submission.id)

    async def demand(self, **policy: object) -> None:
        """Let the issuer demand releases."""
        wanted = replace(ReleasePolicy(owner_id=self.bench.issuer, requires_release=True), **policy)
        await self.desk.set_policy(self.bench.issuer_principal, wanted)


class SignedBench(FigureBench):
    """A card of figure 7 whose MDPH SD checks the signature over every load file."""

    def figure(self) -> NewArrangement:
        """Describe the arrangement with the MDPH SD, which the issuer holds."""
        mdph = ArrangedDomain(
            name="MDPH SD", role="MDPH SD", aid=MDPH, holder_id=self.issuer, kvn=0x31, parent="ISD"
        )
        described = super().figure()
        return replace(described, domains=(*described.domains, mdph))


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(dsn, tmp_path)
    await made.open()
    await made.seed()
    yield made
    await made.close()


@pytest.fixture
async def figure(dsn: str, tmp_path: Path) -> AsyncIterator[FigureBench]:
    made = SignedBench(dsn, tmp_path, 700)
    await made.open()
    await made.seed()
    assert (await made.built()).state is OperationState.SUCCEEDED
    yield made
    await made.close()


async def test_deployment_when_the_load_file_is_not_released_then_nothing_is_loaded(bench: Bench) -> None:
    intake = Intake(bench)
    await intake.demand()
    refused = await bench.run((await bench.deploy()).id)
    assert refused.failure is not None and refused.failure.code == "not_released"
    assert {file.aid for file in bench.card.image().load_files} == bench.factory_load_files
    released = await intake.release(await intake.submit())
    assert (released.state, released.released) == (SubmissionState.RELEASED, (bench.profile_name,))
    again = await bench.run(
        (await bench.requests.change(bench.principal, bench.instance_id, refused.type)).id
    )
    assert again.state is OperationState.SUCCEEDED, again.failure


async def test_release_when_withdrawn_then_new_loads_are_refused_and_instances_stay(bench: Bench) -> None:
    intake = Intake(bench)
    await intake.demand()
    released = await intake.release(await intake.submit())
    assert (await bench.run((await bench.deploy()).id)).state is OperationState.SUCCEEDED
    await intake.desk.withdraw(bench.issuer_principal, released.id, "a fault in the field")
    assert (await bench.instance()).state.name == "OPERATIONAL"
    await bench.new_card()
    refused = await bench.run((await bench.deploy()).id)
    assert refused.failure is not None and refused.failure.code == "not_released"
    with pytest.raises(IllegalTransitionError):
        await intake.desk.withdraw(bench.issuer_principal, released.id, "again")


async def test_load_when_a_domain_demands_a_signature_then_planned_only_with_one(
    figure: FigureBench,
) -> None:
    """Figure 7: the MDPH SD checks the signature over every load file."""
    unsigned = await figure.run((await figure.deploy()).id)
    assert unsigned.failure is not None and unsigned.failure.code == "plan_refused"
    intake = Intake(figure)
    await intake.demand(dap_domains=(MDPH,))
    released = await intake.release(await intake.submit())
    assert [one.domain for one in released.daps] == [MDPH]
    deployed = await figure.run(
        (await figure.requests.change(figure.principal, figure.instance_id, unsigned.type)).id
    )
    assert deployed.state is OperationState.SUCCEEDED, deployed.failure


def _forged(found: Submission) -> tuple[DapSignature, ...]:
    return tuple(replace(one, signature=bytes(64)) for one in found.daps)


def _unsigned(found: Submission) -> tuple[DapSignature, ...]:
    return ()


@pytest.mark.parametrize("change", [_forged, _unsigned], ids=["wrong", "missing"])
async def test_load_when_its_signature_is_not_right_then_refused_by_the_card(
    figure: FigureBench,
    change: Callable[[Submission], tuple[DapSignature, ...]],
) -> None:
    intake = Intake(figure)
    await intake.demand(dap_domains=(MDPH,))
    released = await intake.release(await intake.submit())
    async with figure.storage.transaction() as tx:
        await tx.releases.save(replace(released, daps=change(released)))
        if change is _unsigned:  # the TSM does not know what the card demands
            harmless = tuple(
                replace(one, privileges=0x800000) if one.aid == MDPH else one
                for one in figure.arrangement.domains
            )
            await tx.arrangements.save(replace(figure.arrangement, domains=harmless))
            content = await tx.secure_elements.content(figure.se_id)
            others = tuple(one for one in content.objects if one.aid != MDPH)
            await tx.secure_elements.save_content(figure.se_id, replace(content, objects=others))
        await tx.commit()
    ended = await figure.run((await figure.deploy()).id)
    assert ended.failure is not None and ended.failure.code == "card_refused", ended.failure
    assert ended.failure.step is not None and ended.failure.step.startswith("load ")
    assert {file.aid for file in figure.card.image().load_files} == figure.factory_load_files
