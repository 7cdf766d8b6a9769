"""KIc and KID: which key version a packet is protected with, and by which algorithm.

Source: ETSI TS 102 225 §5.1.2 (KIc), §5.1.3 (KID).
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import OtaError


class Algorithm(Enum):
    """What the low four bits of KIc and KID name; RC algorithms stand in KID only."""

    IMPLICIT = "implicit"
    DES = "des"
    DES_ECB = "des-ecb"
    TDES_2_KEYS = "3des2"
    TDES_3_KEYS = "3des3"
    AES = "aes"
    PROPRIETARY = "proprietary"
    CRC16 = "crc16"
    CRC32 = "crc32"


WEAK: Final = frozenset({Algorithm.DES, Algorithm.DES_ECB})
_KEYED: Final = {
    0x0: Algorithm.IMPLICIT,
    0x1: Algorithm.DES,
    0x5: Algorithm.TDES_2_KEYS,
    0x9: Algorithm.TDES_3_KEYS,
    0xD: Algorithm.DES_ECB,
    0x2: Algorithm.AES,
    0x3: Algorithm.PROPRIETARY,
}
_REDUNDANCY: Final = {
    0x0: Algorithm.IMPLICIT,
    0x1: Algorithm.CRC16,
    0x5: Algorithm.CRC32,
    0x3: Algorithm.PROPRIETARY,
}
_CODES: Final = {algorithm: code for table in (_KEYED, _REDUNDANCY) for code, algorithm in table.items()}
_KEY_LENGTHS: Final = {
    Algorithm.DES: (8,),
    Algorithm.DES_ECB: (8,),
    Algorithm.TDES_2_KEYS: (16,),
    Algorithm.TDES_3_KEYS: (24,),
    Algorithm.AES: (16, 24, 32),
}


@dataclass(frozen=True, slots=True)
class KeyReference:
    """One of the octets KIc and KID.

    Attributes:
        index: key version number, 1 to 15; 0 leaves it to the card.
    """

    index: int
    algorithm: Algorithm

    def __post_init__(self) -> None:
        if not 0 <= self.index <= 15:
            raise OtaError(f"a key index is 0 to 15, not {self.index}")

    def to_byte(self) -> int:
        """Encode the octet."""
        return self.index << 4 | _CODES[self.algorithm]

    @classmethod
    def from_byte(cls, value: int, *, redundancy: bool = False) -> "KeyReference":
        """Decode the octet.

        Args:
            value: the octet.
            redundancy: it is the KID of a packet with a redundancy check.

        Raises:
            OtaError: the algorithm is reserved.
        """
        algorithm = (_REDUNDANCY if redundancy else _KEYED).get(value & 0x0F)
        if algorithm is None:
            raise OtaError(f"{value:02X} names a reserved algorithm")
        return cls(value >> 4, algorithm)


@dataclass(frozen=True, slots=True)
class PacketKeys:
    """The keys of one key version, as far as a packet needs them.

    Attributes:
        kic: for ciphering (key identifier 1).
        kid: for the cryptographic checksum (key identifier 2).
        implicit: the algorithm where KIc or KID leave it to the card.
    """

    kic: Secret | None = None
    kid: Secret | None = None
    implicit: Algorithm | None = field(default=None)


NO_KEYS: Final = PacketKeys()


def resolve(
    reference: KeyReference, key: Secret | None, implicit: Algorithm | None, *, weak_des: bool
) -> tuple[Algorithm, bytes]:
    """Return algorithm and key bytes for one use.

    Args:
        reference: KIc or KID.
        key: the key of that version.
        implicit: what an implicit algorithm means.
        weak_des: allow single DES.

    Raises:
        OtaError: no such key, a key of another size, or an algorithm that is refused or unknown.
    """
    algorithm = reference.algorithm
    if algorithm is Algorithm.IMPLICIT:
        if implicit is None:
            raise OtaError("the packet leaves the algorithm to the card: say which one that is")
        algorithm = implicit
    lengths = _KEY_LENGTHS.get(algorithm)
    if lengths is None:
        raise OtaError(f"algorithm {algorithm.value} is not one for a key")
    if algorithm in WEAK and not weak_des:
        raise OtaError("single DES is refused: its keys are found by search (ask for weak DES to use it)")
    if key is None:
        raise OtaError(f"a key for {algorithm.value} is needed")
    if len(key) not in lengths:
        raise OtaError(f"a key for {algorithm.value} has {lengths} bytes, not {len(key)}")
    return algorithm, key.reveal()
