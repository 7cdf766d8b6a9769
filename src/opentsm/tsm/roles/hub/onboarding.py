"""Everything that comes before an operation: parties and tokens, secure elements, devices."""

from collections.abc import Awaitable, Callable, Mapping

from opentsm.card.profiles import SeProfile
from opentsm.tsm.domain.self_service import SelfService
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.keystore import Keystore
from opentsm.tsm.ports.peer import ServiceCatalogue
from opentsm.tsm.ports.unit_of_work import Storage
from opentsm.tsm.ports.world import World
from opentsm.tsm.roles.hub.app_access import AppAccess
from opentsm.tsm.roles.hub.arrangements.held_keys import HeldKeys
from opentsm.tsm.roles.hub.devices import Devices
from opentsm.tsm.roles.hub.mending import Mending
from opentsm.tsm.roles.hub.once import Claim, ClaimingStorage
from opentsm.tsm.roles.hub.parties import Lifetimes, OnboardingServices, Parties, nothing_offered
from opentsm.tsm.roles.hub.revocation import Revocation
from opentsm.tsm.roles.hub.wiping import Wiping


class Onboarding(AppAccess, Devices, HeldKeys, Mending, Revocation, Wiping, Parties):
    """The hub's door for operators, issuers and devices."""

    def __init__(
        self,
        *,
        storage: Storage,
        world: World,
        profiles: Mapping[str, SeProfile],
        keystore_of: Callable[[TenantId], Keystore],
        catalogue: ServiceCatalogue,
        lifetimes: Lifetimes | None = None,
        self_service_of: Callable[[str], Awaitable[SelfService | None]] = nothing_offered,
    ) -> None:
        """Put the use cases together.

        Args:
            storage: where everything is kept.
            world: clock, random numbers and ids.
            profiles: the known kinds of cards.
            keystore_of: finds a party's keystore.
            catalogue: the service providers' services.
            lifetimes: of tokens, sessions and codes.
            self_service_of: finds the terms on which devices get access tokens for a service.
        """
        super().__init__(
            OnboardingServices(
                storage=storage,
                world=world,
                profiles=profiles,
                keystore_of=keystore_of,
                catalogue=catalogue,
                lifetimes=lifetimes or Lifetimes(),
                self_service_of=self_service_of,
            )
        )

    def once(self, claim: Claim) -> "Onboarding":
        """Return the same use cases for one request that has an idempotency key."""
        s = self._s
        return Onboarding(
            storage=ClaimingStorage(s.storage, claim),
            world=s.world,
            profiles=s.profiles,
            keystore_of=s.keystore_of,
            catalogue=s.catalogue,
            lifetimes=s.lifetimes,
            self_service_of=s.self_service_of,
        )
