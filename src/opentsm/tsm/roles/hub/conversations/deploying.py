"""What a provider's own TSM asks of a service: install, personalise, activate, in one request or several."""

import dataclasses
from datetime import datetime

from opentsm.tsm.domain.card_content import Stage
from opentsm.tsm.domain.device_call import Call, DeviceCallError, Request, target_state
from opentsm.tsm.domain.operation import Operation, OperationType
from opentsm.tsm.domain.service import ServiceInstance
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.errors import ConflictError, InvalidInputError
from opentsm.tsm.roles.hub.mandate import check_flavor, check_state, require
from opentsm.tsm.roles.hub.once import Claim, ClaimingStorage
from opentsm.tsm.roles.hub.renewals import Renewals


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class ServiceCommands:
    """The commands of one request in their order, and what belongs to them."""

    stages: tuple[Stage, ...]
    suspended: bool = False
    data: dict[str, str] | None = None
    valid_until: datetime | None = None

    def request(self, call: Call) -> Request:
        """Return the call of the table of states; activation completes a deployment."""
        final = Stage.ACTIVATE in self.stages
        return Request(call, self.stages, finalize=final, suspension_control=self.suspended and final)


class Deploying(Renewals):
    """Stages of deployments and upgrades, asked for by a provider itself."""

    def once(self, claim: Claim) -> "Deploying":
        """Return the same use cases for one request that has an identifier of its own."""
        return Deploying(dataclasses.replace(self._s, storage=ClaimingStorage(self._s.storage, claim)))

    async def deploy_commands(
        self, principal: Principal, instance: ServiceInstance, commands: ServiceCommands
    ) -> Operation:
        """Ask for stages of a deployment.

        Args:
            principal: the service provider.
            instance: its own.
            commands: what is to be done.

        Raises:
            ConflictError: its state does not allow the commands.
            InvalidInputError: they are no list of commands, or data are missing or malformed.
            OrphanedError: what the instance was made of was deleted.
        """
        require(principal, TenantKind.SERVICE_PROVIDER)
        request = commands.request(Call.DEPLOY)
        check_state(instance, OperationType.DEPLOY, principal.tenant_id)
        _check(instance, request)
        await check_flavor(self._s.peers.catalogue(), instance, OperationType.DEPLOY)
        return await self.deploy_stages(
            instance, request, commands.data, None, valid_until=commands.valid_until
        )

    async def upgrade(
        self, principal: Principal, instance: ServiceInstance, version: str, commands: ServiceCommands
    ) -> Operation:
        """Ask for another version of a service.

        Args:
            principal: the service provider.
            instance: its own; it stays what it is called.
            version: the new version's tag.
            commands: from the installation on.

        Raises:
            ConflictError: its state does not allow it, or it has this version.
            InvalidInputError: they are no list of commands, or data are missing or malformed.
        """
        request = commands.request(Call.UPDATE)
        _check(instance, request)
        return await self.update(
            principal,
            instance.id,
            version=version,
            data=commands.data,
            valid_until=commands.valid_until,
            request=request,
        )


def _check(instance: ServiceInstance, request: Request) -> None:
    """Check a call against the table of states, in the words of a caller that is no app."""
    try:
        target_state(instance.state, request)
    except DeviceCallError as error:
        kind = InvalidInputError if error.status == 400 else ConflictError
        raise kind(error.detail, advice=error.advice, field="/ServiceCommand") from None
