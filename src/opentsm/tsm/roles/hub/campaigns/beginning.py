"""The beginning of a member: its operation, or a named reason why it cannot take it."""

import contextlib
from datetime import timedelta

import msgspec

from opentsm.tsm.domain.campaign import Campaign, Member, MemberState, Place
from opentsm.tsm.domain.operation import OperationType
from opentsm.tsm.domain.service import InstanceState, ServiceInstance
from opentsm.tsm.domain.tenant import Principal
from opentsm.tsm.kernel.errors import CallerError, StaleVersionError, TsmError
from opentsm.tsm.kernel.ids import InstanceId, SeId
from opentsm.tsm.roles.hub.requests import Requests
from opentsm.tsm.roles.hub.services import HubServices

replace = msgspec.structs.replace
_TRIES = 3
_MAX_DETAIL = 500
ALREADY, GONE = "already", "gone"


def principal_of(campaign: Campaign) -> Principal:
    """Return who asks for the members' operations: whoever made the campaign."""
    return Principal(tenant_id=campaign.tenant_id, kind=campaign.tenant_kind, sandbox=campaign.sandbox)


class Beginnings:
    """Begins members, each once: the operation and the member's state are one transaction."""

    def __init__(self, services: HubServices, requests: Requests) -> None:
        self._s = services
        self._requests = requests

    async def begin(self, campaign: Campaign, member: Member, data: dict[str, str] | None) -> bool:
        """Begin a member; True when it has an operation now, False when it was skipped or begun before.

        Raises:
            StaleVersionError: somebody else changes its instance all the time; it is still waiting.
        """
        try:
            for _ in range(_TRIES - 1):
                with contextlib.suppress(StaleVersionError):
                    return await self._once(campaign, member, data)
            return await self._once(campaign, member, data)
        except StaleVersionError:
            raise
        except TsmError as error:
            at_fault = isinstance(error, CallerError)
            state = MemberState.SKIPPED if at_fault else MemberState.FAILED
            await self._settle(campaign, member, state, error.code, error.detail)
        return False

    async def _once(self, campaign: Campaign, member: Member, data: dict[str, str] | None) -> bool:
        if await self._begun(campaign, member):
            return False
        if not campaign.of_elements:
            reason = _needless(campaign, await self._instance(member))
            if reason:
                await self._settle(campaign, member, MemberState.SKIPPED, *reason)
                return False
        await self._ask(campaign, member, data)
        return True

    async def _begun(self, campaign: Campaign, member: Member) -> bool:
        """Say whether a tick that broke off had begun it."""
        async with self._s.storage.transaction() as tx:
            (found,) = await tx.campaigns.members(campaign.id, member.position - 1, 1)
        return found.state is not MemberState.WAITING

    async def _instance(self, member: Member) -> ServiceInstance | None:
        async with self._s.storage.transaction() as tx:
            return await tx.instances.get(InstanceId(member.subject_id))

    async def _ask(self, campaign: Campaign, member: Member, data: dict[str, str] | None) -> None:
        principal, action = principal_of(campaign), campaign.action
        requests = self._requests.of_member(Place(campaign_id=campaign.id, position=member.position))
        until = action.valid_until
        if action.valid_for_s is not None:
            until = self._s.world.now() + timedelta(seconds=action.valid_for_s)
        instance_id = InstanceId(member.subject_id)
        match action.type:
            case OperationType.AUDIT:
                await requests.audit_secure_element(principal, SeId(member.subject_id), valid_until=until)
            case OperationType.UPDATE:
                version = action.version or ""
                await requests.update(principal, instance_id, version=version, data=data, valid_until=until)
            case OperationType.PERSONALIZE:
                await requests.personalize(principal, instance_id, data=data or {}, valid_until=until)
            case _:
                await requests.change(principal, instance_id, action.type, valid_until=until)

    async def _settle(
        self, campaign: Campaign, member: Member, state: MemberState, code: str, detail: str
    ) -> None:
        settled = replace(
            member, state=state, code=code, detail=detail[:_MAX_DETAIL], ended_at=self._s.world.now()
        )
        async with self._s.storage.transaction() as tx:
            await tx.campaigns.settle_member(campaign.id, settled)
            await tx.commit()


def _needless(campaign: Campaign, instance: ServiceInstance | None) -> tuple[str, str] | None:
    """Return why there is nothing to do, if there is nothing."""
    action = campaign.action
    if instance is None or instance.state is InstanceState.TERMINATED:
        return GONE, "The instance was terminated."
    if action.type is OperationType.UPDATE and instance.description.version_tag == action.version:
        return ALREADY, f"The instance has version {action.version} already."
    there = {OperationType.SUSPEND: InstanceState.SUSPENDED, OperationType.RESUME: InstanceState.OPERATIONAL}
    if there.get(action.type) is instance.state:
        return ALREADY, f"The instance is {instance.state.name} already."
    if action.type is OperationType.DEPLOY and instance.state is InstanceState.OPERATIONAL:
        return ALREADY, "The instance is OPERATIONAL already."
    return None
