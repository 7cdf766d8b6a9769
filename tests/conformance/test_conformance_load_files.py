"""Conformance cases 57, 58 and 95 to 101: hash, DAP blocks and encryption of load files.

Source: GPCS 2.3.1 §9.2, §9.3.5, §11.6.2, §C.2, §C.3, §C.6.
"""

import hashlib
from collections.abc import Iterable

import pytest
from tests.conformance.delegation import (
    BLOCK,
    DIGEST,
    KEYS,
    OTHER_KEYS,
    SCHEMES,
    ber,
    enter,
    install_command,
    load_fields,
    lv,
    put,
    scheme,
)
from tests.unit.vse.card_host import (
    INSTANCE,
    ISD,
    PACKAGE,
    SSD,
    SSD2,
    SSD_PRIVILEGES,
    CardHost,
    host_with_session,
    load_file,
    make_card,
    privileged_domain,
)

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.crypto.cipher import aes_cbc_encrypt, tdes_cbc_encrypt
from opentsm.card.crypto.secret import Secret
from opentsm.card.gp import commands
from opentsm.card.gp.keys import Dek, KeyType, put_key_field
from opentsm.card.gp.privileges import Privilege

DAP = Privilege.DAP_VERIFICATION
MANDATED = DAP | Privilege.MANDATED_DAP_VERIFICATION
CIPHERED = Privilege.CIPHERED_LOAD_FILE_DATA_BLOCK
FIRST = scheme("P-256")
OTHER = scheme("AES-128")


def dap(sd: bytes, signature: bytes) -> bytes:
    """E2 { 4F, C3 }."""
    return b"\xe2" + ber(b"\x4f" + lv(sd) + b"\xc3" + ber(signature))


def send(
    host: CardHost, content: bytes, *, sd: bytes = b"", digest: bytes = DIGEST, package: bytes = PACKAGE
) -> int:
    """INSTALL [for load] without token, then `content` in blocks of 200 bytes; the last status word."""
    sw = host.sw(install_command(0x02, 0x00, load_fields(package, sd, digest)))
    parts = [content[at : at + 200] for at in range(0, len(content), 200)]
    for number, part in enumerate(parts):
        if sw != 0x9000:
            break
        last = 0x80 if number == len(parts) - 1 else 0x00
        sw = host.sw(CommandApdu(0x80, 0xE8, last, number, part, 256))
    return sw


def clear(block: bytes = BLOCK) -> bytes:
    """C4 with the data block."""
    return b"\xc4" + ber(block)


def protected_domain(
    privileges: Privilege, kvn: int = 0x73, name: str = "P-256", **profile: object
) -> CardHost:
    """A host in the issuer's session; SSD has these privileges and a key."""
    host = host_with_session(make_card({"base": "scp03-i70", "name": "test", **profile}))
    privileged_domain(host, SSD, privileges, KEYS)
    enter(host, SSD)
    assert put(host, kvn, scheme(name).verification_field) == 0x9000
    enter(host)
    return host


def registered(host: CardHost) -> bool:
    """Tell whether PACKAGE is in the registry."""
    return bytes(PACKAGE) in host.states(0x20)


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha384", "sha512"])
def test_case_057_wrong_hash_fails_with_the_last_block_and_gives_the_memory_back(algorithm: str) -> None:
    host = host_with_session()
    free = host.free_memory()
    digest = hashlib.new(algorithm, BLOCK).digest()
    assert send(host, clear(), digest=bytes([digest[0] ^ 1]) + digest[1:]) == 0x6982
    assert not registered(host)
    assert host.free_memory() == free


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha384", "sha512"])
def test_case_058_hash_is_recognised_by_its_length(algorithm: str) -> None:
    assert send(host_with_session(), clear(), digest=hashlib.new(algorithm, BLOCK).digest()) == 0x9000


def test_case_058_hash_is_optional_without_token_dap_and_encryption() -> None:
    assert send(host_with_session(), clear(), digest=b"") == 0x9000


@pytest.mark.parametrize("length", [1, 19, 33, 63, 65])
def test_case_058_hash_of_another_length_is_refused(length: int) -> None:
    host = host_with_session()
    assert host.sw(install_command(0x02, 0x00, load_fields(digest=bytes(length)))) == 0x6A80


def test_case_095_domain_with_dap_verification() -> None:
    host = protected_domain(DAP)
    signature = FIRST.signer.sign(DIGEST)
    wrong = signature[:-1] + bytes([signature[-1] ^ 1])
    assert send(host, clear(), sd=SSD) == 0x6985
    assert send(host, dap(SSD, wrong) + clear(), sd=SSD) == 0x6982
    assert send(host, dap(SSD, FIRST.signer.sign(BLOCK)) + clear(), sd=SSD) == 0x6982
    assert not registered(host)
    assert send(host, dap(SSD, signature) + clear(), sd=SSD) == 0x9000
    assert host.field_of(PACKAGE, 0xCC, 0x20) == SSD


def test_case_095_other_domains_need_no_signature() -> None:
    assert send(protected_domain(DAP), clear()) == 0x9000


def test_case_095_signature_over_another_hash_than_the_announced_one_is_refused() -> None:
    host = protected_domain(DAP)
    signature = FIRST.signer.sign(hashlib.sha256(BLOCK).digest())
    assert send(host, dap(SSD, signature) + clear(), sd=SSD) == 0x6982


def test_case_095_without_key_or_locked_the_verification_fails() -> None:
    host = host_with_session()
    privileged_domain(host, SSD, DAP, KEYS)
    content = dap(SSD, FIRST.signer.sign(DIGEST)) + clear()
    assert send(host, content, sd=SSD) == 0x6985
    enter(host, SSD)
    put(host, 0x73, FIRST.verification_field)
    enter(host)
    host.ok(commands.lock(SSD))
    assert send(host, content) == 0x6985
    host.ok(commands.unlock(SSD))
    assert send(host, content) == 0x9000


def test_case_096_mandated_verification_concerns_every_load() -> None:
    host = protected_domain(MANDATED)
    assert send(host, clear()) == 0x6985
    assert send(host, dap(SSD, FIRST.signer.sign(bytes(64))) + clear()) == 0x6982
    assert send(host, dap(SSD, FIRST.signer.sign(DIGEST)) + clear()) == 0x9000
    assert host.field_of(PACKAGE, 0xCC, 0x20) == ISD


def test_case_096_mandated_verification_begins_with_personalized() -> None:
    host = host_with_session()
    host.create_domain(SSD, SSD_PRIVILEGES | MANDATED)
    assert host.states()[SSD] == 0x07
    assert send(host, clear()) == 0x9000
    host.ok(commands.delete(PACKAGE))
    host.forward_keys(SSD, KEYS)
    assert host.states()[SSD] == 0x0F
    assert send(host, clear()) == 0x6985


@pytest.mark.parametrize(("mode", "clear_load"), [("refused", 0x6985), ("passed", 0x9000)])
def test_case_096_mandated_verification_of_a_locked_domain(mode: str, clear_load: int) -> None:
    host = protected_domain(MANDATED, locked_mandated_dap=mode)
    signed = dap(SSD, FIRST.signer.sign(DIGEST)) + clear()
    host.ok(commands.lock(SSD))
    assert send(host, signed) == 0x6985
    assert send(host, clear()) == clear_load
    assert registered(host) == (clear_load == 0x9000)
    host.ok(commands.unlock(SSD))
    if clear_load == 0x9000:
        host.ok(commands.delete(PACKAGE))
    assert send(host, clear()) == 0x6985
    assert send(host, signed) == 0x9000


@pytest.mark.parametrize("mode", ["refused", "passed"])
def test_case_096_locked_before_personalized_demands_nothing(mode: str) -> None:
    host = host_with_session(make_card(locked_mandated_dap=mode))
    host.create_domain(SSD, SSD_PRIVILEGES | MANDATED)
    host.ok(commands.lock(SSD))
    assert send(host, clear()) == 0x9000


def both(host: CardHost) -> None:
    """SSD mandates DAP with P-256; SSD2 verifies what is loaded into it with AES-128."""
    privileged_domain(host, SSD2, DAP, OTHER_KEYS)
    enter(host, SSD2)
    assert put(host, 0x73, OTHER.verification_field) == 0x9000
    enter(host)


def test_case_096_two_domains_want_two_blocks() -> None:
    host = protected_domain(MANDATED)
    both(host)
    first, second = dap(SSD, FIRST.signer.sign(DIGEST)), dap(SSD2, OTHER.signer.sign(DIGEST))
    for blocks in (first, second, b""):
        assert send(host, blocks + clear(), sd=SSD2) == 0x6985
    assert send(host, second + first + clear(), sd=SSD2) == 0x9000


def test_case_097_block_of_a_domain_that_verifies_nothing_is_refused() -> None:
    host = protected_domain(DAP)
    privileged_domain(host, SSD2, Privilege.NONE, OTHER_KEYS)
    right = dap(SSD, FIRST.signer.sign(DIGEST))
    for extra in (SSD2, b"\xa0\xa0\xa0\xa0\xa0", PACKAGE):
        assert send(host, right + dap(extra, FIRST.signer.sign(DIGEST)) + clear(), sd=SSD) == 0x6985
    assert send(host, right + right + clear(), sd=SSD) == 0x9000


def test_case_097_an_extra_block_must_verify_although_nobody_asked() -> None:
    host = protected_domain(DAP)
    assert send(host, dap(SSD, bytes(64)) + clear()) == 0x6982
    assert send(host, dap(SSD, FIRST.signer.sign(DIGEST)) + clear()) == 0x9000


def test_case_098_block_without_hash_is_refused() -> None:
    host = protected_domain(DAP)
    assert send(host, dap(SSD, FIRST.signer.sign(b"")) + clear(), sd=SSD, digest=b"") == 0x6985


# Table C-3: the shortest hash, in bytes, that goes with each scheme.
LEAST = {
    "DES": 20,
    "RSA-1024": 20,
    "AES-128": 32,
    "RSA-2048": 32,
    "P-256": 32,
    "brainpoolP256r1": 32,
    "AES-192": 48,
    "P-384": 48,
    "brainpoolP384r1": 48,
    "AES-256": 64,
    "P-521": 64,
    "brainpoolP512r1": 64,
}
HASHES = {20: "sha1", 32: "sha256", 48: "sha384", 64: "sha512"}


@pytest.mark.parametrize("name", SCHEMES)
def test_case_099_hash_weaker_than_the_signature_is_refused(name: str) -> None:
    host = protected_domain(DAP, name=name)
    for length, algorithm in HASHES.items():
        digest = hashlib.new(algorithm, BLOCK).digest()
        content = dap(SSD, scheme(name).signer.sign(digest)) + clear()
        allowed = length >= LEAST[name]
        assert send(host, content, sd=SSD, digest=digest) == (0x9000 if allowed else 0x6985)
        if allowed:
            host.ok(commands.delete(PACKAGE))


@pytest.mark.parametrize("name", SCHEMES)
def test_case_100_dap_in_every_scheme(name: str) -> None:
    host, one = protected_domain(DAP, name=name), scheme(name)
    signature = one.signer.sign(DIGEST)
    assert len(signature) == one.length
    for at in (0, one.length // 2, one.length - 1):
        wrong = signature[:at] + bytes([signature[at] ^ 0x10]) + signature[at + 1 :]
        assert send(host, dap(SSD, wrong) + clear(), sd=SSD) == 0x6982
    assert send(host, dap(SSD, signature) + clear(), sd=SSD) == 0x9000


def padded(data: bytes, size: int) -> bytes:
    """80 and zeros."""
    return data + b"\x80" + bytes(-(len(data) + 1) % size)


def ciphered(key: bytes, icv: bytes = b"", block: bytes = BLOCK, *, des: bool = False) -> bytes:
    """[D3] D4."""
    size = 8 if des else 16
    encrypt = tdes_cbc_encrypt if des else aes_cbc_encrypt
    content = encrypt(key, icv or bytes(size), padded(block, size))
    return (b"\xd3" + lv(icv) if icv else b"") + b"\xd4" + ber(content)


def ciphered_domain(key: bytes, kind: KeyType) -> CardHost:
    """SSD wants its load files encrypted and has this key."""
    host = host_with_session()
    privileged_domain(host, SSD, CIPHERED, KEYS)
    enter(host, SSD)

    def field(dek: Dek) -> bytes:
        return put_key_field(Secret(key), kind, dek)

    assert put(host, 0x75, field) == 0x9000
    enter(host)
    return host


KINDS: Iterable[tuple[int, KeyType, int]] = (
    (16, KeyType.DES, 20),
    (16, KeyType.AES, 32),
    (24, KeyType.AES, 48),
    (32, KeyType.AES, 64),
)


@pytest.mark.parametrize(("length", "kind", "least"), KINDS)
def test_case_101_ciphered_load_file_with_and_without_icv(length: int, kind: KeyType, least: int) -> None:
    key, des = bytes(range(length)), kind is KeyType.DES
    host = ciphered_domain(key, kind)
    digest = hashlib.new(HASHES[least], BLOCK).digest()
    for icv in (b"", bytes(range(8 if des else 16))):
        assert send(host, ciphered(key, icv, des=des), sd=SSD, digest=digest) == 0x9000
        assert host.field_of(PACKAGE, 0xCE, 0x20) == bytes([1, 3])
        host.ok(commands.delete(PACKAGE))


def test_case_101_clear_into_a_ciphering_domain_and_ciphered_into_another_are_refused() -> None:
    key = bytes(range(16))
    host = ciphered_domain(key, KeyType.AES)
    assert send(host, clear(), sd=SSD) == 0x6985
    assert send(host, ciphered(key)) == 0x6985
    assert not registered(host)


def test_case_101_hash_is_mandatory_and_of_the_clear_block() -> None:
    key = bytes(range(16))
    host = ciphered_domain(key, KeyType.AES)
    content = ciphered(key)
    assert send(host, content, sd=SSD, digest=b"") == 0x6985
    assert send(host, content, sd=SSD, digest=hashlib.sha1(BLOCK).digest()) == 0x6985  # noqa: S324  Table C-3
    assert send(host, content, sd=SSD, digest=hashlib.sha256(content[3:]).digest()) == 0x6982
    assert send(host, content, sd=SSD, digest=hashlib.sha256(BLOCK).digest()) == 0x9000


def test_case_101_wrong_key_icv_or_missing_key_are_refused() -> None:
    key = bytes(range(16))
    host = ciphered_domain(key, KeyType.AES)
    assert send(host, ciphered(bytes(16)), sd=SSD) == 0x6982
    assert send(host, ciphered(key, bytes(16))[:-16] + bytes(16), sd=SSD) == 0x6982
    assert send(host, b"\xd3\x08" + bytes(8) + ciphered(key), sd=SSD) == 0x6985
    enter(host, SSD)
    host.ok(commands.delete_key(1, 0x75))
    enter(host)
    assert send(host, ciphered(key), sd=SSD) == 0x6985
    assert not registered(host)


def test_case_101_signatures_come_before_the_ciphered_block() -> None:
    key = bytes(range(16))
    host = host_with_session()
    privileged_domain(host, SSD, CIPHERED | DAP, KEYS)
    enter(host, SSD)
    put(host, 0x73, FIRST.verification_field)
    assert host.dek is not None
    host.ok(commands.put_key(0x75, [put_key_field(Secret(key), KeyType.AES, host.dek)]))
    enter(host)
    assert send(host, ciphered(key), sd=SSD) == 0x6985
    assert send(host, dap(SSD, FIRST.signer.sign(DIGEST)) + ciphered(key, bytes(16)), sd=SSD) == 0x9000
    assert host.install(INSTANCE) == 0x9000


def test_case_101_larger_files_are_deciphered_across_blocks() -> None:
    key, block = bytes(range(16)), load_file(size=5000)
    host = ciphered_domain(key, KeyType.AES)
    content = ciphered(key, bytes(range(16)), block)
    assert send(host, content, sd=SSD, digest=hashlib.sha256(block).digest()) == 0x9000
