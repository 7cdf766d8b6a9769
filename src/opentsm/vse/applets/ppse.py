"""The proximity payment system environment: the list of payment applications for a contactless terminal.

Source: EMV Contactless Book B §3.3.
"""

from collections.abc import Mapping
from typing import ClassVar, Final

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.lv import lv
from opentsm.card.codec.tlv import encode_tlv, find, parse_tlvs
from opentsm.vse.applets.personalized import VERSION_RULE, DgiRule, Handler, PersonalizedApplet

PPSE_AID: Final = Aid(b"2PAY.SYS.DDF01")
_LOWEST_PRIORITY: Final = 0x10
_CONFIRMATION: Final = 0x80
TAG_EVENTS: Final = 0xDF02
_EVENTS_KEPT: Final = 8


class Ppse(PersonalizedApplet):
    """Lists the payment instances that are activated; works without personalisation."""

    MODULE_AID: ClassVar[Aid] = Aid.from_hex("F04F54534D0001")
    _events: tuple[bytes, ...] = ()
    RULES: ClassVar[tuple[DgiRule, ...]] = (VERSION_RULE,)

    def fci_data(self) -> bytes:
        """Return the directory entries, best priority first."""
        entries = [entry for applet in self.services.proximity_applets() if (entry := applet.ppse_entry())]
        if self.services.priority_is_set:
            entries = [_ranked(entry, rank) for rank, entry in enumerate(entries, 1)]
        templates = [encode_tlv(0x61, entry) for entry in sorted(entries, key=_priority)]
        return encode_tlv(0xBF0C, b"".join(templates))

    def notify_contactless(self, source: Aid, event: int) -> None:
        """Remember the event until the power goes; the list itself is made anew at each SELECT."""
        self._events = (*self._events, bytes([event]) + lv(bytes(source)))[-_EVENTS_KEPT:]

    def data_object(self, tag: int) -> bytes | None:
        """Also give the events that it was told, the oldest first."""
        return b"".join(self._events) if tag == TAG_EVENTS else super().data_object(tag)

    def commands(self) -> Mapping[tuple[int, int], Handler]:
        """There is nothing to do but to be selected."""
        return {}


def _ranked(entry: bytes, rank: int) -> bytes:
    """Return the entry with the priority that the user chose; b8, cardholder confirmation, stays."""
    parts = parse_tlvs(entry)
    confirmation = (find(parts, 0x87) or b"\x00")[0] & _CONFIRMATION
    indicator = encode_tlv(0x87, bytes([confirmation | min(rank, _LOWEST_PRIORITY - 1)]))
    others = [encode_tlv(part.tag, part.value) for part in parts]
    places = [indicator if part.tag == 0x87 else other for part, other in zip(parts, others, strict=True)]
    return b"".join(places if any(part.tag == 0x87 for part in parts) else [*others, indicator])


def _priority(entry: bytes) -> int:
    """Return 1 (best) to 15; no priority, or 0, comes after all."""
    indicator = find(parse_tlvs(entry), 0x87) or b"\x00"
    return indicator[0] & 0x0F or _LOWEST_PRIORITY
