"""All targets by name."""

from opentsm.fuzz.card_targets import CARD_TARGETS
from opentsm.fuzz.channel_targets import CHANNEL_TARGETS
from opentsm.fuzz.link_targets import LINK_TARGETS
from opentsm.fuzz.ota_targets import OTA_TARGETS
from opentsm.fuzz.reader_targets import READER_TARGETS
from opentsm.fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (*CARD_TARGETS, *READER_TARGETS, *CHANNEL_TARGETS, *OTA_TARGETS, *LINK_TARGETS)
}
