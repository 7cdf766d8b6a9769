"""The registry's door for issuers, providers and the hub's operator."""

import dataclasses

from opentsm.tsm.roles.hub.once import Claim, ClaimingStorage
from opentsm.tsm.roles.hub.registry.happenings import Happenings
from opentsm.tsm.roles.hub.registry.look_up import LookUps
from opentsm.tsm.roles.hub.registry.operators import NetworkOperators
from opentsm.tsm.roles.hub.registry.se_data import SeDataDesk
from opentsm.tsm.roles.hub.registry.subscriptions import Subscriptions


class Registry(Happenings, LookUps, NetworkOperators, SeDataDesk, Subscriptions):
    """Subscriptions, network operators, data of secure elements, and what happens to them."""

    def once(self, claim: Claim) -> "Registry":
        """Return the same use cases for one request that has an idempotency key."""
        return Registry(dataclasses.replace(self._s, storage=ClaimingStorage(self._s.storage, claim)))
