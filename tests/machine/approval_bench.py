"""Two people of an issuer with tokens of their own, and the acts that need both of them."""

from msgspec.structs import replace
from tests.machine.bench import Bench

from opentsm.tsm.domain.approval import Act, Approval
from opentsm.tsm.domain.operation import Operation
from opentsm.tsm.domain.tenant import AccessToken, Principal, TokenKind
from opentsm.tsm.kernel.ids import OperationId
from opentsm.tsm.roles.hub.approvals.acts import Asked
from opentsm.tsm.roles.hub.approvals.card_acts import CardActs
from opentsm.tsm.roles.hub.approvals.desk import Approvals, ApprovalServices


def desk(bench: Bench) -> Approvals:
    """Return the use cases over whatever the bench's storage is now."""
    cards = CardActs(bench.conductor._s)
    return Approvals(ApprovalServices(bench.storage, bench.world, dict.fromkeys(Act, cards)))


async def person(bench: Bench, name: str, party: Principal | None = None) -> Principal:
    """Give a person of a party (the issuer, where none is named) a token."""
    party = party or bench.issuer_principal
    digest = bench.world.random(32)
    token = AccessToken(digest=digest, tenant_id=party.tenant_id, kind=TokenKind.LONG_TERM, person=name)
    async with bench.storage.transaction() as tx:
        await tx.tenants.add_token(token)
        await tx.commit()
    return replace(party, person=name, token=digest.hex())


async def asked(bench: Bench, who: Principal, act: Act, **parameters: str) -> Approval:
    """Let a person ask for an act on the card."""
    return await desk(bench).ask(
        who, Asked(act=act, subject=bench.se_id, parameters=dict(parameters)), "the reason"
    )


async def approved(bench: Bench, act: Act, **parameters: str) -> OperationId:
    """Let Ada ask for an act and Ben approve it; return its operation."""
    ada, ben = await person(bench, "Ada"), await person(bench, "Ben")
    approval = await asked(bench, ada, act, **parameters)
    done = await desk(bench).decide(ben, approval.id, approve=True, reason="seen")
    return OperationId(done.outcome["operation"])


async def carried_out(bench: Bench, act: Act, **parameters: str) -> Operation:
    """Have an act approved, and bring its operation to its end."""
    return await bench.run(await approved(bench, act, **parameters))
