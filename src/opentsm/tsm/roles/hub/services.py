"""What the hub's use cases work with, and the names of its messages and topics."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from opentsm.card.gp.se_rights import Rights
from opentsm.card.profiles import SeProfile
from opentsm.tsm.ports.keystore import Keystore
from opentsm.tsm.ports.notifier import Notifier
from opentsm.tsm.ports.peer import Peers
from opentsm.tsm.ports.unit_of_work import Storage
from opentsm.tsm.ports.world import World

ADVANCE = "hub.advance"
WIPE = "hub.wipe"
CAMPAIGN_TICK = "hub.campaign-tick"


def device_topic(se_id: str) -> str:
    """Return the topic on which devices wait for a secure element's next order."""
    return f"orders:{se_id}"


def operation_topic(operation_id: str) -> str:
    """Return the topic on which people wait for an operation."""
    return f"operation:{operation_id}"


def commands_context(se_id: str, sequence: int) -> str:
    """Return what an order's commands are sealed for: they open nowhere else."""
    return f"order:{se_id}/{sequence}/commands"


def answer_context(se_id: str, sequence: int) -> str:
    """Return what an order's answer is sealed for."""
    return f"order:{se_id}/{sequence}/answer"


@dataclass(frozen=True, slots=True)
class HubServices:
    """Ports, card profiles, and who may do what in the configurations of secure elements, by number."""

    storage: Storage
    keystore: Keystore
    peers: Peers
    world: World
    notifier: Notifier
    profiles: Mapping[str, SeProfile]
    rights: Mapping[int, Rights] = field(default_factory=dict)
