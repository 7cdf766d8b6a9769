"""What the HTTP API needs from the application: the attributes of `opentsm.tsm.bootstrap.Container`."""

from collections.abc import Mapping
from typing import Any, Protocol, cast

from litestar import Request
from litestar.di import NamedDependency
from litestar.params import SkipValidation
from litestar.types import Scope

from opentsm.card.profiles import SeProfile
from opentsm.tsm.config import Settings
from opentsm.tsm.ports.notifier import Notifier
from opentsm.tsm.ports.unit_of_work import Storage
from opentsm.tsm.ports.world import World
from opentsm.tsm.roles.hub.approvals.card_acts import CardActs
from opentsm.tsm.roles.hub.approvals.desk import Approvals
from opentsm.tsm.roles.hub.arrangements.desk import ArrangementDesk
from opentsm.tsm.roles.hub.campaigns.desk import Campaigns
from opentsm.tsm.roles.hub.conversations.deploying import Deploying
from opentsm.tsm.roles.hub.conversations.desk import Conversations
from opentsm.tsm.roles.hub.conversations.looking import Looking
from opentsm.tsm.roles.hub.conversations.naming import Naming
from opentsm.tsm.roles.hub.conversations.tokens import DelegatedTokens
from opentsm.tsm.roles.hub.device_calls import DeviceCalls
from opentsm.tsm.roles.hub.device_link import DeviceLink
from opentsm.tsm.roles.hub.onboarding import Onboarding
from opentsm.tsm.roles.hub.once import Claim
from opentsm.tsm.roles.hub.peers.counter import PeerCounter
from opentsm.tsm.roles.hub.peers.desk import PeeringDesk
from opentsm.tsm.roles.hub.prepared import PreparedDesk
from opentsm.tsm.roles.hub.registry.door import Registry
from opentsm.tsm.roles.hub.registry.import_jobs import Imports
from opentsm.tsm.roles.hub.releases.desk import Submissions
from opentsm.tsm.roles.hub.requests import Requests
from opentsm.tsm.roles.hub.self_service import SelfServiceTokens
from opentsm.tsm.roles.hub.space.desk import SpaceDesk
from opentsm.tsm.roles.hub.unchanged import Unchanged
from opentsm.tsm.roles.hub.webhooks import Webhooks

# where the state of a request's scope holds them
CLAIM = "claim"
CONDITION = "condition"


class ApiContainer(Protocol):
    """Use cases and ports, put together elsewhere."""

    @property
    def storage(self) -> Storage:
        """Return where everything is kept."""
        ...

    @property
    def world(self) -> World:
        """Return clock, random numbers and ids."""
        ...

    @property
    def notifier(self) -> Notifier:
        """Return what wakes waiting requests."""
        ...

    @property
    def requests(self) -> Requests:
        """Return the hub's use cases for parties."""
        ...

    @property
    def conversations(self) -> Conversations:
        """Return the hub's use cases for providers' own TSMs."""
        ...

    @property
    def naming(self) -> Naming:
        """Return how providers' own TSMs name services."""
        ...

    @property
    def looking(self) -> Looking:
        """Return what providers' own TSMs may know of secure elements."""
        ...

    @property
    def delegated_tokens(self) -> DelegatedTokens:
        """Return how providers' own TSMs get tokens."""
        ...

    @property
    def deploying(self) -> Deploying:
        """Return what providers' own TSMs ask of services."""
        ...

    @property
    def peerings(self) -> PeeringDesk:
        """Return the use cases about other TSMs."""
        ...

    @property
    def peer_counter(self) -> PeerCounter:
        """Return what answers other TSMs."""
        ...

    @property
    def device_calls(self) -> DeviceCalls:
        """Return the hub's use cases for apps on devices."""
        ...

    @property
    def self_service(self) -> SelfServiceTokens:
        """Return the hub's use cases for devices that fetch their access tokens themselves."""
        ...

    @property
    def device_link(self) -> DeviceLink:
        """Return the hub's use cases for devices at work."""
        ...

    @property
    def onboarding(self) -> Onboarding:
        """Return the hub's use cases before any operation."""
        ...

    @property
    def arrangements(self) -> ArrangementDesk:
        """Return the hub's use cases about who holds which security domain."""
        ...

    @property
    def prepared_data(self) -> PreparedDesk:
        """Return the hub's use cases about data that wait for their instance."""
        ...

    @property
    def registry(self) -> Registry:
        """Return the use cases about subscriptions, network operators and data of secure elements."""
        ...

    @property
    def imports(self) -> Imports:
        """Return the use cases about files of secure elements."""
        ...

    @property
    def profiles(self) -> Mapping[str, SeProfile]:
        """Return the known kinds of cards."""
        ...

    @property
    def campaigns(self) -> Campaigns:
        """Return the use cases about campaigns."""
        ...

    @property
    def approvals(self) -> Approvals:
        """Return the use cases about acts that need two people."""
        ...

    @property
    def submissions(self) -> Submissions:
        """Return the use cases about load files on their way to cards."""
        ...

    @property
    def card_acts(self) -> CardActs:
        """Return the use cases about cards as a whole."""
        ...

    @property
    def space(self) -> SpaceDesk:
        """Return the use cases about memory of secure elements."""
        ...

    @property
    def webhooks(self) -> Webhooks:
        """Return the use cases about webhooks and deliveries."""
        ...

    def once(self, claim: Claim) -> "ApiContainer":
        """Return the same for one request that has an idempotency key."""
        ...

    def on_condition(self, condition: Unchanged) -> "ApiContainer":
        """Return the same for one request about an object that must not have changed."""
        ...

    @property
    def settings(self) -> Settings:
        """Return the settings."""
        ...


async def provide_container(request: Request[Any, Any, Any]) -> ApiContainer:
    """Return the container for handlers; under an idempotency key the one that writes the key.

    With If-Match it is the one whose transactions check the version.
    """
    container = container_of(request.scope)
    claim = request.scope["state"].get(CLAIM)
    if isinstance(claim, Claim):
        container = container.once(claim)
    condition = request.scope["state"].get(CONDITION)
    return container.on_condition(condition) if isinstance(condition, Unchanged) else container


def container_of(scope: Scope) -> ApiContainer:
    """Return the container of the application that serves this request.

    Routers are copied deeply when they are registered, so middleware must not hold it.
    """
    return cast("ApiContainer", scope["app"].state["container"])


Services = NamedDependency[SkipValidation[ApiContainer]]
