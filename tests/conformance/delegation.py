"""A card with delegated management, and its commands spelled byte by byte.

Nothing here uses the host's token, receipt or DAP code: layouts are written again from GPCS 2.3.1 §11.5, §C.4
and §C.5, so that the tests do not inherit its reading.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import sha512

from cryptography.hazmat.primitives.asymmetric import rsa
from tests.unit.vse.card_host import (
    INSTANCE,
    MODULE,
    NO_PRIVILEGES,
    PACKAGE,
    SSD,
    SSD2,
    CardHost,
    load_file,
    make_card,
    make_keys,
    privileged_domain,
)

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.crypto.secret import Secret
from opentsm.card.crypto.signature import (
    AesMacKey,
    Curve,
    DesMacKey,
    EcSigningKey,
    RsaSigningKey,
    Signer,
    Verifier,
)
from opentsm.card.gp import commands
from opentsm.card.gp.keys import (
    Dek,
    KeyType,
    RsaPrivateCrt,
    ecc_private_put_key_field,
    ecc_public_put_key_field,
    put_key_field,
    rsa_private_put_key_field,
    rsa_public_put_key_field,
)
from opentsm.card.gp.privileges import Privilege

KEYS = make_keys(0x66)
OTHER_KEYS = make_keys(0x77)
BLOCK = load_file()
DIGEST = sha512(BLOCK).digest()
SECOND = Aid.from_hex("F0010203040102")
# Values of tags 42 and 45 of the card's issuer security domain.
UNIQUE = bytes.fromhex("F04F54530000000000000007")
# UICC practice: tag 82 in the domain's own parameters lets it accept extradition from anybody.
ACCEPTS_EXTRADITION = bytes.fromhex("820120")


@dataclass(frozen=True)
class Scheme:
    """One line of Table C-1: an off-card signer, its check, and the fields of PUT KEY on the card."""

    signer: Signer
    verifier: Verifier
    verification_field: Callable[[Dek], bytes]
    signing_field: Callable[[Dek], bytes]
    length: int


def _symmetric(key: AesMacKey | DesMacKey, kind: KeyType) -> Scheme:
    def field(dek: Dek) -> bytes:
        return put_key_field(key.key, kind, dek)

    return Scheme(key, key, field, field, 16 if kind is KeyType.AES else 8)


def _elliptic(curve: Curve, reference: int) -> Scheme:
    private = Secret(
        b"\x01" + bytes(range(2, curve.length)) if curve is not Curve.P_521 else bytes(range(66))
    )
    key = EcSigningKey(curve, private)
    return Scheme(
        key,
        key.verification_key,
        lambda dek: ecc_public_put_key_field(key.point, reference),
        lambda dek: ecc_private_put_key_field(private, reference, dek),
        2 * curve.length,
    )


def _rsa(bits: int) -> Scheme:
    native = rsa.generate_private_key(65537, bits)
    numbers, size = native.private_numbers(), bits // 16
    modulus = numbers.public_numbers.n.to_bytes(bits // 8, "big")
    values = (numbers.p, numbers.q, numbers.iqmp, numbers.dmp1, numbers.dmq1)
    crt = RsaPrivateCrt(*(Secret(value.to_bytes(size, "big")) for value in values))
    key = RsaSigningKey(native)
    return Scheme(
        key,
        key.verification_key,
        lambda dek: rsa_public_put_key_field(modulus, b"\x01\x00\x01"),
        lambda dek: rsa_private_put_key_field(crt, dek),
        bits // 8,
    )


_SCHEMES: dict[str, Callable[[], Scheme]] = {
    "DES": lambda: _symmetric(DesMacKey(Secret(bytes(range(16)))), KeyType.DES),
    "AES-128": lambda: _symmetric(AesMacKey(Secret(bytes(range(16)))), KeyType.AES),
    "AES-192": lambda: _symmetric(AesMacKey(Secret(bytes(range(24)))), KeyType.AES),
    "AES-256": lambda: _symmetric(AesMacKey(Secret(bytes(range(32)))), KeyType.AES),
    "RSA-1024": lambda: _rsa(1024),
    "RSA-2048": lambda: _rsa(2048),
    "P-256": lambda: _elliptic(Curve.P_256, 0x00),
    "P-384": lambda: _elliptic(Curve.P_384, 0x01),
    "P-521": lambda: _elliptic(Curve.P_521, 0x02),
    "brainpoolP256r1": lambda: _elliptic(Curve.BRAINPOOL_P256R1, 0x03),
    "brainpoolP384r1": lambda: _elliptic(Curve.BRAINPOOL_P384R1, 0x05),
    "brainpoolP512r1": lambda: _elliptic(Curve.BRAINPOOL_P512R1, 0x07),
}
SCHEMES = tuple(_SCHEMES)


@cache
def scheme(name: str) -> Scheme:
    """Return a scheme by name; its keys are made once."""
    return _SCHEMES[name]()


def put(host: CardHost, kvn: int, field: Callable[[Dek], bytes]) -> int:
    """PUT KEY of one key with identifier 1 to the selected security domain."""
    assert host.dek is not None
    data = field(host.dek)
    command = CommandApdu(0x80, 0xD8, 0x00, 0x01, bytes([kvn]) + data, 256, extended=len(data) > 200)
    return host.sw(command)


def delegated(
    verifying: str = "P-256",
    confirming: str = "AES-128",
    *,
    privileges: Privilege = Privilege.DELEGATED_MANAGEMENT,
    **profile: object,
) -> CardHost:
    """A host in a session with SSD, which has Delegated Management; the issuer verifies and confirms.

    SSD2 is PERSONALIZED and accepts what is extradited to it.
    """
    host = CardHost(make_card({"base": "scp03-i70", "name": "test", **profile}))
    host.authenticate()
    assert put(host, 0x70, scheme(verifying).verification_field) == 0x9000
    assert put(host, 0x71, scheme(confirming).signing_field) == 0x9000
    privileged_domain(host, SSD, privileges, KEYS)
    assert host.create_domain(SSD2, parameters=ACCEPTS_EXTRADITION) == 0x9000
    host.forward_keys(SSD2, OTHER_KEYS)
    enter(host, SSD)
    return host


def enter(host: CardHost, aid: Aid | None = None) -> None:
    """Open a session with another security domain."""
    host.select(aid)
    if aid is None:
        host.authenticate()
    else:
        host.authenticate(KEYS if aid == SSD else OTHER_KEYS)


class SecondHost(CardHost):
    """Another host of the same card, on logical channel 1 and in a session of its own."""

    def raw(self, command: CommandApdu | bytes | str) -> ResponseApdu:
        data = bytes.fromhex(command) if isinstance(command, str) else command
        data = data.to_bytes() if isinstance(data, CommandApdu) else data
        return super().raw(bytes([data[0] | 1]) + data[1:])


def second_host(host: CardHost, aid: Aid | None = None) -> SecondHost:
    """Open the channel, and a session with a security domain there."""
    assert host.raw("0070000001") == ResponseApdu(b"\x01", 0x9000)
    other = SecondHost(host.card)
    enter(other, aid)
    return other


def lv(*values: bytes) -> bytes:
    """Fields with one length byte each."""
    return b"".join(bytes([len(value)]) + value for value in values)


def ber(value: bytes) -> bytes:
    """A field with a BER length."""
    size = len(value)
    if size <= 0x7F:
        return bytes([size]) + value
    return (bytes([0x81, size]) if size <= 0xFF else bytes([0x82, size >> 8, size & 0xFF])) + value


def to_sign(p1: int, p2: int, fields: bytes) -> bytes:
    """§C.4: P1, P2, the length in 1 or 3 bytes, the fields."""
    size = len(fields)
    return bytes([p1, p2]) + (bytes([size]) if size <= 255 else bytes([0, size >> 8, size & 0xFF])) + fields


def install_command(p1: int, p2: int, fields: bytes, token: bytes = b"") -> CommandApdu:
    """An INSTALL with its token field."""
    data = fields + ber(token)
    return CommandApdu(0x80, 0xE6, p1, p2, data, 256, extended=len(data) > 255)


def delete_command(p2: int, fields: bytes, token: bytes = b"") -> CommandApdu:
    """A DELETE with its token object."""
    data = fields + (b"\x9e" + ber(token) if token else b"")
    return CommandApdu(0x80, 0xE4, 0x00, p2, data, 256, extended=len(data) > 255)


def load_fields(
    package: bytes = PACKAGE, sd: bytes = b"", digest: bytes = DIGEST, params: bytes = b""
) -> bytes:
    """INSTALL [for load] up to the token."""
    return lv(package, sd, digest) + ber(params)


def install_fields(
    instance: bytes = INSTANCE,
    *,
    package: bytes = PACKAGE,
    module: bytes = MODULE,
    privileges: bytes = b"\x00",
    params: bytes = b"\xc9\x00",
) -> bytes:
    """INSTALL [for install] up to the token."""
    return lv(package, module, instance, privileges) + ber(params)


def selectable_fields(instance: bytes = INSTANCE, params: bytes = b"") -> bytes:
    """INSTALL [for make selectable] up to the token."""
    return lv(b"", b"", instance, b"\x00") + ber(params)


def extradition_fields(entry: bytes, new_sd: bytes, params: bytes = b"") -> bytes:
    """INSTALL [for extradition] up to the token."""
    return lv(new_sd, b"", entry, b"") + ber(params)


def update_fields(entry: bytes, privileges: bytes, new_sd: bytes = b"", params: bytes = b"") -> bytes:
    """INSTALL [for registry update] up to the token."""
    return lv(new_sd, b"", entry, privileges) + ber(params)


def delete_fields(aid: bytes, crt: bytes = b"") -> bytes:
    """DELETE up to the token."""
    return b"\x4f" + lv(aid) + (b"\xb6" + lv(crt) if crt else b"")


def signed_install(p1: int, p2: int, fields: bytes, signer: Signer) -> CommandApdu:
    """An INSTALL with a right token."""
    return install_command(p1, p2, fields, signer.sign(to_sign(p1, p2, fields)))


def signed_delete(p2: int, fields: bytes, signer: Signer) -> CommandApdu:
    """A DELETE with a right token."""
    return delete_command(p2, fields, signer.sign(to_sign(0, p2, fields)))


def blocks(block: bytes = BLOCK) -> list[CommandApdu]:
    """LOAD commands of a load file in clear."""
    return commands.load_blocks(block, block_size=200)


def load(host: CardHost, block: bytes = BLOCK) -> bytes:
    """All LOAD commands; the last answer."""
    answers = [host.ok(command) for command in blocks(block)]
    assert set(answers[:-1]) <= {b"\x00"}
    return answers[-1]


def delegated_load(host: CardHost, signer: Signer) -> bytes:
    """INSTALL [for load] with its token, and LOAD; the last answer."""
    host.ok(signed_install(0x02, 0x00, load_fields(), signer))
    return load(host)


def plain_install(host: CardHost, instance: Aid = INSTANCE, *, selectable: bool = True) -> int:
    """An installation by whoever needs no token."""
    return host.install(instance, privileges=NO_PRIVILEGES, selectable=selectable)
