"""Toolkit application references: who is reached by a TAR, and the least security that it accepts.

Source: ETSI TS 102 226 §8.2.1.3.2 (toolkit parameters, minimum security level); TS 101 220 (TAR in an AID).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from opentsm.card.codec.tlv import Tlv, find
from opentsm.vse.fields import FieldReader, data_objects
from opentsm.vse.keysets import REMOTE
from opentsm.vse.profiles import VseProfile
from opentsm.vse.state import CardImage, Instance
from opentsm.vse.status import SW_WRONG_DATA, StatusError

_SYSTEM: Final = 0xEF
_UICC: Final = 0xEA
_SIM_TOOLKIT: Final = 0xCA
_UICC_TOOLKIT: Final = 0x80
_MINIMUM_SPI1: Final = 0x01
_TAR: Final = 3
# TS 101 220: octets 13 to 15 of an AID of full length.
_FULL_AID: Final = 16
_TAR_IN_AID: Final = slice(12, 15)


@dataclass(frozen=True, slots=True)
class Registration:
    """What the toolkit parameters of INSTALL say about messages; None leaves the level to the card."""

    tars: tuple[bytes, ...] = ()
    minimum: int | None = None


def read_registration(parameters: Sequence[Tlv]) -> Registration:
    """Read the toolkit parameters in EA (UICC) or EF (SIM); EA wins.

    Raises:
        StatusError: 6A80 malformed.
    """
    uicc = find(data_objects(find(parameters, _UICC) or b""), _UICC_TOOLKIT)
    if uicc is not None:
        return _toolkit(FieldReader(uicc))
    sim = find(data_objects(find(parameters, _SYSTEM) or b""), _SIM_TOOLKIT)
    if sim is None:
        return Registration()
    reader = FieldReader(sim)
    reader.lv()
    return _toolkit(reader)


def _toolkit(reader: FieldReader) -> Registration:
    reader.take(3)
    entries = reader.byte()
    reader.take(2 * entries + 1)
    level, tars = reader.lv(), reader.lv()
    if len(tars) % _TAR:
        raise StatusError(SW_WRONG_DATA)
    split = tuple(tars[at : at + _TAR] for at in range(0, len(tars), _TAR))
    return Registration(split, _minimum(level))


def _minimum(level: bytes) -> int | None:
    if not level:
        return None
    if len(level) != 2 or level[0] != _MINIMUM_SPI1 or level[1] & 0xE0:
        raise StatusError(SW_WRONG_DATA)
    return level[1]


def register(image: CardImage, profile: VseProfile, instance: Instance, parameters: Sequence[Tlv]) -> None:
    """Give a new instance its TARs and level, on a card that knows SCP80; a TAR belongs to one instance.

    Raises:
        StatusError: 6A80 malformed, or a TAR is taken.
    """
    if all(protocol != REMOTE for protocol, _ in profile.channels):
        return
    wanted = read_registration(parameters)
    if len(set(wanted.tars)) != len(wanted.tars):
        raise StatusError(SW_WRONG_DATA)
    if any(find_by_tar(image, profile, tar) is not None for tar in wanted.tars):
        raise StatusError(SW_WRONG_DATA)
    instance.tars, instance.minimum_security = list(wanted.tars), wanted.minimum


def find_by_tar(image: CardImage, profile: VseProfile, tar: bytes) -> Instance | None:
    """Return the instance with this TAR: a given one first, then one that an AID implies."""
    given = next((entry for entry in image.instances if tar in entry.tars), None)
    if given is not None:
        return given
    if tar == bytes.fromhex(profile.ota_isd_tar):
        return image.isd
    return next((entry for entry in image.instances if not entry.tars and _implied(entry) == tar), None)


def _implied(entry: Instance) -> bytes | None:
    return entry.aid[_TAR_IN_AID] if len(entry.aid) == _FULL_AID else None


def is_enough(spi1: int, minimum: int) -> bool:
    """Compare a packet's security with a minimum: integrity, ciphering and counter each on its own."""
    return spi1 & 0x03 >= minimum & 0x03 and spi1 & 0x04 >= minimum & 0x04 and spi1 & 0x18 >= minimum & 0x18
