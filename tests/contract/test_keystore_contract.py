"""What every keystore must do, a sealed file as much as an HSM.

Vectors: pySim tests/unittests/test_globalplatform.py (SCP03 traces of a real eUICC); GlobalPlatformPro
TestPlaintextKeys.java and issue 259 (NXP JCOP3); globalplatform storeDataTest.c. The values are copied.
Specification: Amendment D 1.1.1 §6.2; GPCS 2.3.1 Appendix E; RFC 3394; SP 800-108r1 §4.1.
"""

import hashlib
import traceback
from collections.abc import Awaitable, Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from opentsm.card.codec.aid import Aid
from opentsm.card.crypto.secret import Secret
from opentsm.card.gp import keys as gp_keys
from opentsm.card.gp.keys import AesLayout, Dek, KeyType, StaticKeys
from opentsm.card.scp.channel import SecurityLevel, parse_initialize_update
from opentsm.card.scp.session import derive_session_keys, open_channel
from opentsm.tsm.domain.secure_element import (
    BoundKeys,
    DiversifiedKeys,
    SealedKeys,
    UsableKeys,
    WrappedKeys,
)
from opentsm.tsm.kernel.errors import KeyMaterialError, KeystoreError, PeerFaultError
from opentsm.tsm.kernel.ids import KeyHandle
from opentsm.tsm.ports.keystore import ChannelContext, Keystore

NewKeystore = Callable[[str], Awaitable[Keystore]]

MASTER, TRANSPORT, OTHER = KeyHandle("isd/master"), KeyHandle("transport"), KeyHandle("other")
TRANSPORT_KEY = bytes(range(0x60, 0x80))
TEST_KEY = bytes.fromhex("404142434445464748494a4b4c4d4e4f")
PLACE = "keyset:se/A000000151000000/48"
KDD = bytes.fromhex("00010203040506070809")
EUICC_ISD = Aid.from_hex("A0000005591010FFFFFFFF8900000100")
ISD = Aid.from_hex("A000000151000000")


def pysim_key(first: int, length: int) -> bytes:
    row = bytes(range(first, first + 16))
    return (row + row)[:length]


# length: host challenge, answer to INITIALIZE UPDATE, EXTERNAL AUTHENTICATE at level 33
PYSIM = {
    16: (
        "fdf38259a1e0de44",
        "000000000000000000003003703b1aca81e821f219081cdc01c26b372d000003",
        "84823300108c36f96bcc00724a4e13ad591d7da3f0",
    ),
    24: (
        "9b3f2eef0e8c9374",
        "00000000000000000000310370f6bb305a15bae1a68f79fb08212fbed7000002",
        "84823300109100bc22d58b45b86a26365ce39ff3cf",
    ),
    32: (
        "97b2055fe58599fd",
        "00000000000000000000320370a8439a22cedf045fa9f1903b2834f26e000002",
        "8482330010508a0fd959d2e547c6b33154a6be2057",
    ),
}
JCOP3_ANSWER = bytes.fromhex("00009326519195994079010200c218c143d7040c164cdb4cb916754d")
JCOP3_HOST_CHALLENGE = bytes.fromhex("a012e7d45549d80a")


def bound(blob: bytes) -> BoundKeys:
    """Return a sealed blob as it is found in its place."""
    return BoundKeys(source=SealedKeys(blob=blob), context=PLACE)


async def given(keystore: Keystore, enc: bytes, mac: bytes, dek: bytes) -> WrappedKeys:
    """Give a known key set to a keystore, the way another party would."""
    await keystore.import_key(TRANSPORT, Secret(TRANSPORT_KEY))
    return WrappedKeys(transport=TRANSPORT, blob=aes_key_wrap(TRANSPORT_KEY, enc + mac + dek))


def pysim_context(length: int) -> ChannelContext:
    host_challenge, answer, _ = PYSIM[length]
    return ChannelContext(
        scp=3,
        i=0x70,
        host_challenge=bytes.fromhex(host_challenge),
        initialize_update=bytes.fromhex(answer),
    )


def scp02_context(counter: int = 0x00C2) -> ChannelContext:
    answer = JCOP3_ANSWER[:12] + counter.to_bytes(2, "big") + JCOP3_ANSWER[14:]
    return ChannelContext(scp=2, i=0x55, host_challenge=JCOP3_HOST_CHALLENGE, initialize_update=answer)


def pysim_keys(length: int) -> tuple[bytes, bytes, bytes]:
    return pysim_key(0x00, length), pysim_key(0x10, length), pysim_key(0x20, length)


# --- handles


async def test_handle_when_generated_then_there_and_a_second_time_left_as_it_is(
    new_keystore: NewKeystore,
) -> None:
    keystore = await new_keystore("issuer")
    assert not await keystore.has(MASTER)
    await keystore.generate(MASTER, length_bytes=32)
    assert await keystore.has(MASTER)
    derived = await keystore.derive_application_key(MASTER, b"card")
    await keystore.generate(MASTER, length_bytes=16)
    assert await keystore.derive_application_key(MASTER, b"card") == derived


async def test_handles_when_generated_then_every_key_differs(new_keystore: NewKeystore) -> None:
    keystore, other = await new_keystore("issuer"), await new_keystore("other")
    for store in (keystore, other):
        for handle in (MASTER, OTHER):
            await store.generate(handle)
    derived = [
        (await store.derive_application_key(handle, b"card")).reveal()
        for store in (keystore, other)
        for handle in (MASTER, OTHER)
    ]
    assert len(set(derived)) == 4


async def test_handle_when_imported_again_with_the_same_value_then_accepted(
    new_keystore: NewKeystore,
) -> None:
    keystore = await new_keystore("issuer")
    await keystore.import_key(MASTER, Secret(TEST_KEY))
    await keystore.import_key(MASTER, Secret(TEST_KEY))


async def test_handle_when_imported_with_another_value_then_refused_and_unchanged(
    new_keystore: NewKeystore,
) -> None:
    keystore = await new_keystore("issuer")
    await keystore.import_key(MASTER, Secret(TEST_KEY))
    before = await keystore.derive_application_key(MASTER, b"card")
    with pytest.raises(KeystoreError):
        await keystore.import_key(MASTER, Secret(bytes(16)))
    assert await keystore.derive_application_key(MASTER, b"card") == before


@pytest.mark.parametrize("length", [0, 8, 15, 17, 33, 64])
async def test_handle_when_the_length_is_no_key_length_then_refused(
    new_keystore: NewKeystore, length: int
) -> None:
    keystore = await new_keystore("issuer")
    with pytest.raises(KeystoreError):
        await keystore.generate(MASTER, length_bytes=length)
    with pytest.raises(KeystoreError):
        await keystore.import_key(MASTER, Secret(bytes(length)))
    assert not await keystore.has(MASTER)


async def test_keys_when_erased_then_gone_for_good_and_what_was_sealed_still_opens(
    new_keystore: NewKeystore,
) -> None:
    keystore = await new_keystore("issuer")
    handle = KeyHandle("to be erased")
    await keystore.generate(handle)
    before = await keystore.derive_application_key(handle, b"card")
    sealed = await keystore.seal(b"words", context="here")
    assert await keystore.erase() == 1
    assert not await keystore.has(handle)
    with pytest.raises(KeystoreError):
        await keystore.derive_application_key(handle, b"card")
    assert await keystore.erase() == 0
    await keystore.generate(handle)
    assert await keystore.derive_application_key(handle, b"card") != before
    assert await keystore.open(sealed, context="here") == b"words"


async def test_handle_when_unknown_then_refused(new_keystore: NewKeystore) -> None:
    keystore = await new_keystore("issuer")
    made = await keystore.generate_key_set(scp=3, key_length=16, context=PLACE)
    with pytest.raises(KeystoreError):
        await keystore.derive_application_key(MASTER, b"card")
    with pytest.raises(KeystoreError):
        await keystore.export_key_set(made.bound, TRANSPORT)
    with pytest.raises(KeystoreError):
        await keystore.key_check_values(DiversifiedKeys(master=MASTER, method="KDF3", kdd=KDD), scp=3)


# --- key sets


@pytest.mark.parametrize(
    ("method", "scp", "kcvs"),
    [
        ("EMV", 2, ("C33013", "6F4CA6", "BB8179")),
        ("VISA2", 2, ("2BE598", "58DA38", "3C328E")),
        ("KDF3", 3, ("E79C05", "D1BD77", "3FDE8C")),
    ],
)
async def test_diversified_keys_when_asked_then_the_published_check_values(
    new_keystore: NewKeystore, method: str, scp: int, kcvs: tuple[str, str, str]
) -> None:
    keystore = await new_keystore("issuer")
    await keystore.import_key(MASTER, Secret(TEST_KEY))
    source = DiversifiedKeys(master=MASTER, method=method, kdd=KDD)
    found = await keystore.key_check_values(source, scp=scp)
    assert tuple(kcv.hex().upper() for kcv in found) == kcvs


@pytest.mark.parametrize(("method", "kdd"), [("EMV", KDD[1:]), ("KDF4", KDD)])
async def test_diversified_keys_when_method_or_data_is_wrong_then_refused(
    new_keystore: NewKeystore, method: str, kdd: bytes
) -> None:
    keystore = await new_keystore("issuer")
    await keystore.import_key(MASTER, Secret(TEST_KEY))
    with pytest.raises(KeystoreError):
        await keystore.key_check_values(DiversifiedKeys(master=MASTER, method=method, kdd=kdd), scp=3)


@pytest.mark.parametrize(("scp", "length"), [(3, 16), (3, 24), (3, 32), (2, 16)])
async def test_key_set_when_generated_then_its_check_values_are_found_again(
    new_keystore: NewKeystore, scp: int, length: int
) -> None:
    keystore = await new_keystore("issuer")
    made = await keystore.generate_key_set(scp=scp, key_length=length, context=PLACE)
    other = await keystore.generate_key_set(scp=scp, key_length=length, context=PLACE)
    assert await keystore.key_check_values(made.bound, scp=scp) == made.kcvs
    assert len({made.source.blob, other.source.blob}) == 2
    assert len({*made.kcvs, *other.kcvs}) == 6


@pytest.mark.parametrize(("scp", "length"), [(3, 20), (2, 24), (2, 32), (1, 16), (11, 16)])
async def test_key_set_when_there_is_no_such_kind_then_refused(
    new_keystore: NewKeystore, scp: int, length: int
) -> None:
    with pytest.raises(KeystoreError):
        await (await new_keystore("issuer")).generate_key_set(scp=scp, key_length=length, context=PLACE)


async def test_sealed_key_set_when_changed_or_of_another_keystore_then_refused(
    new_keystore: NewKeystore,
) -> None:
    keystore, other = await new_keystore("issuer"), await new_keystore("provider")
    made = await keystore.generate_key_set(scp=3, key_length=16, context=PLACE)
    with pytest.raises(KeystoreError):
        await other.key_check_values(made.bound, scp=3)
    blob = made.source.blob
    for position in range(len(blob)):
        changed = blob[:position] + bytes((blob[position] ^ 1,)) + blob[position + 1 :]
        with pytest.raises(KeystoreError):
            await keystore.key_check_values(bound(changed), scp=3)
    for cut in (b"", blob[:-1], blob[:-8], blob + bytes(8)):
        with pytest.raises(KeystoreError):
            await keystore.key_check_values(bound(cut), scp=3)


@pytest.mark.parametrize(
    "elsewhere",
    [
        "keyset:other/A000000151000000/48",
        "keyset:se/A00000015100000001/48",
        "keyset:se/A000000151000000/49",
        PLACE + " ",
        "",
    ],
)
async def test_sealed_key_set_when_found_in_another_place_then_refused_by_name(
    new_keystore: NewKeystore, elsewhere: str
) -> None:
    keystore = await new_keystore("issuer")
    await given(keystore, TEST_KEY, TEST_KEY, TEST_KEY)
    made = await keystore.generate_key_set(scp=3, key_length=16, context=PLACE)
    moved = BoundKeys(source=made.source, context=elsewhere)
    uses: list[Callable[[], Awaitable[object]]] = [
        lambda: keystore.key_check_values(moved, scp=3),
        lambda: keystore.derive_session(moved, pysim_context(16)),
        lambda: keystore.export_key_set(moved, TRANSPORT),
        lambda: keystore.predict_challenge(moved, scp=3, i=0x70, counter=1, aid=ISD),
    ]
    for use in uses:
        with pytest.raises(KeyMaterialError):
            await use()
    assert await keystore.key_check_values(made.bound, scp=3) == made.kcvs


async def test_sealed_key_set_when_given_without_its_place_then_refused(new_keystore: NewKeystore) -> None:
    keystore = await new_keystore("issuer")
    made = await keystore.generate_key_set(scp=3, key_length=16, context=PLACE)
    with pytest.raises(KeyMaterialError):
        await keystore.key_check_values(made.source, scp=3)  # type: ignore[arg-type]  # that is the point


async def test_sealed_key_set_when_its_version_is_unknown_then_refused(new_keystore: NewKeystore) -> None:
    keystore = await new_keystore("issuer")
    blob = (await keystore.generate_key_set(scp=3, key_length=16, context=PLACE)).source.blob
    for version in (0x00, 0x02, 0xFF):
        with pytest.raises(KeyMaterialError):
            await keystore.key_check_values(bound(bytes((version,)) + blob[1:]), scp=3)


@pytest.mark.parametrize(("scp", "length"), [(3, 16), (3, 24), (3, 32), (2, 16)])
async def test_wrapped_key_set_when_adopted_then_sealed_for_its_place_with_the_same_check_values(
    new_keystore: NewKeystore, scp: int, length: int
) -> None:
    keystore = await new_keystore("provider")
    wrapped = await given(keystore, *pysim_keys(length))
    adopted = await keystore.adopt_key_set(wrapped, scp=scp, context=PLACE)
    assert adopted.kcvs == await keystore.key_check_values(wrapped, scp=scp)
    assert adopted.kcvs == await keystore.key_check_values(adopted.bound, scp=scp)
    with pytest.raises(KeyMaterialError):
        await keystore.key_check_values(BoundKeys(source=adopted.source, context="elsewhere"), scp=scp)


async def test_wrapped_key_set_when_damaged_then_not_adopted(new_keystore: NewKeystore) -> None:
    keystore = await new_keystore("provider")
    wrapped = await given(keystore, TEST_KEY, TEST_KEY, TEST_KEY)
    damaged = WrappedKeys(transport=wrapped.transport, blob=wrapped.blob[:-1] + b"\0")
    with pytest.raises(KeyMaterialError):
        await keystore.adopt_key_set(damaged, scp=3, context=PLACE)


async def test_wrapped_keys_when_they_are_not_three_equal_keys_then_refused(
    new_keystore: NewKeystore,
) -> None:
    keystore = await new_keystore("issuer")
    await given(keystore, TEST_KEY, TEST_KEY, TEST_KEY)
    for length in (16, 40, 56, 120):
        source = WrappedKeys(transport=TRANSPORT, blob=aes_key_wrap(TRANSPORT_KEY, bytes(length)))
        with pytest.raises(KeystoreError):
            await keystore.key_check_values(source, scp=3)


async def test_key_set_when_exported_then_the_other_party_holds_the_same(new_keystore: NewKeystore) -> None:
    issuer, provider = await new_keystore("issuer"), await new_keystore("provider")
    await agree(issuer, provider)
    made = await issuer.generate_key_set(scp=3, key_length=32, context=PLACE)
    handed_over = await issuer.export_key_set(made.bound, TRANSPORT)
    assert handed_over.transport == TRANSPORT
    assert await provider.key_check_values(handed_over, scp=3) == made.kcvs


async def test_key_set_when_exported_then_wrapped_as_rfc_3394_says(new_keystore: NewKeystore) -> None:
    keystore = await new_keystore("issuer")
    source = await given(keystore, *pysim_keys(24))
    exported = await keystore.export_key_set(source, TRANSPORT)
    assert aes_key_unwrap(TRANSPORT_KEY, exported.blob) == b"".join(pysim_keys(24))


async def agree(one: Keystore, other: Keystore) -> None:
    """Let two parties agree on a transport key."""
    points = await one.agreement_key(OTHER), await other.agreement_key(OTHER)
    await one.agree_transport_key(TRANSPORT, OTHER, points[1])
    await other.agree_transport_key(TRANSPORT, OTHER, points[0])


async def test_transport_key_when_agreed_on_again_then_the_same(new_keystore: NewKeystore) -> None:
    issuer, provider = await new_keystore("issuer"), await new_keystore("provider")
    await agree(issuer, provider)
    made = await issuer.generate_key_set(scp=3, key_length=16, context=PLACE)
    before = await issuer.export_key_set(made.bound, TRANSPORT)
    await agree(issuer, provider)
    assert await provider.key_check_values(before, scp=3) == made.kcvs


async def test_transport_key_when_agreed_on_with_another_then_refused(new_keystore: NewKeystore) -> None:
    issuer, provider = await new_keystore("issuer"), await new_keystore("provider")
    stranger = await new_keystore("stranger")
    await agree(issuer, provider)
    with pytest.raises(KeystoreError):
        await issuer.agree_transport_key(TRANSPORT, OTHER, await stranger.agreement_key(OTHER))


@pytest.mark.parametrize("point", [b"", b"\x04" + bytes(64), b"\x02" + bytes(32)])
async def test_transport_key_when_the_point_is_none_then_refused(
    new_keystore: NewKeystore, point: bytes
) -> None:
    keystore = await new_keystore("issuer")
    await keystore.agreement_key(OTHER)
    with pytest.raises(PeerFaultError):
        await keystore.agree_transport_key(TRANSPORT, OTHER, point)
    assert not await keystore.has(TRANSPORT)


async def test_transport_key_when_agreed_on_then_as_x963_says(new_keystore: NewKeystore) -> None:
    keystore, other = await new_keystore("issuer"), ec.generate_private_key(ec.SECP256R1())
    own = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), await keystore.agreement_key(OTHER))
    point = other.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    await keystore.agree_transport_key(TRANSPORT, OTHER, point)
    shared = other.exchange(ec.ECDH(), own)
    # ANSI X9.63 §5.6.3, one block: SHA-256 over Z, the counter 1 and the shared information
    wrapping = hashlib.sha256(shared + (1).to_bytes(4, "big") + TRANSPORT.encode()).digest()
    made = await keystore.generate_key_set(scp=3, key_length=16, context=PLACE)
    exported = await keystore.export_key_set(made.bound, TRANSPORT)
    assert len(aes_key_unwrap(wrapping, exported.blob)) == 48


# --- sessions


@pytest.mark.parametrize("length", PYSIM)
async def test_scp03_session_when_derived_then_the_published_authentication(
    new_keystore: NewKeystore, length: int
) -> None:
    keystore = await new_keystore("issuer")
    source = await given(keystore, *pysim_keys(length))
    context = pysim_context(length)
    session = await keystore.derive_session(source, context)
    init = parse_initialize_update(context.initialize_update)
    channel = open_channel(session, init, context.host_challenge)  # checks the card cryptogram
    assert channel.external_authenticate(SecurityLevel.FULL).to_bytes().hex() == PYSIM[length][2]
    assert len(session.dek) == 0


async def test_scp02_session_when_derived_then_the_real_cards_keys(new_keystore: NewKeystore) -> None:
    keystore = await new_keystore("issuer")
    source = await given(keystore, TEST_KEY, TEST_KEY, TEST_KEY)
    context = scp02_context()
    session = await keystore.derive_session(source, context)
    assert session.enc.reveal().hex() == "125c2a9822d7e11facb8b2619a4bce61"
    assert session.mac.reveal().hex() == "00bd061dfe11161feace88ce53081e06"
    assert len(session.dek) == 0
    open_channel(session, parse_initialize_update(JCOP3_ANSWER, scp02_i=0x55), JCOP3_HOST_CHALLENGE)


async def test_session_when_the_answer_does_not_fit_then_refused(new_keystore: NewKeystore) -> None:
    keystore = await new_keystore("issuer")
    source = await given(keystore, *pysim_keys(24))
    wrong = [
        ChannelContext(scp=3, i=0x70, host_challenge=bytes(8), initialize_update=JCOP3_ANSWER),
        ChannelContext(scp=3, i=0x70, host_challenge=bytes(8), initialize_update=b""),
        scp02_context(),  # an AES-192 set is no SCP02 set of 16 bytes
    ]
    for context in wrong[:2]:
        with pytest.raises(KeystoreError):
            await keystore.derive_session(source, context)
        with pytest.raises(KeystoreError):
            await keystore.encrypt_under_dek(source, context, Secret(bytes(16)))


@pytest.mark.parametrize("length", PYSIM)
async def test_scp03_challenge_when_predicted_then_what_the_card_answered(
    new_keystore: NewKeystore, length: int
) -> None:
    keystore = await new_keystore("issuer")
    source = await given(keystore, *pysim_keys(length))
    init = parse_initialize_update(pysim_context(length).initialize_update)
    assert init.sequence_counter is not None
    predicted = await keystore.predict_challenge(
        source, scp=3, i=0x70, counter=init.sequence_counter, aid=EUICC_ISD
    )
    assert predicted == init.card_challenge


async def test_scp02_challenge_when_predicted_then_what_the_card_answered(new_keystore: NewKeystore) -> None:
    keystore = await new_keystore("issuer")
    source = await given(keystore, TEST_KEY, TEST_KEY, TEST_KEY)
    predicted = await keystore.predict_challenge(source, scp=2, i=0x55, counter=0xC2, aid=ISD)
    assert predicted.hex() == "18c143d7040c"


async def test_challenge_when_16_bytes_are_usual_then_16(new_keystore: NewKeystore) -> None:
    """Amendment D §4.1.5: the length L is part of what is derived, so this is not the longer form of 8."""
    keystore = await new_keystore("issuer")
    source = await given(keystore, *pysim_keys(16))
    short = await keystore.predict_challenge(source, scp=3, i=0x70, counter=1, aid=ISD)
    long = await keystore.predict_challenge(source, scp=3, i=0x71, counter=1, aid=ISD)
    assert (len(short), len(long)) == (8, 16)
    mac = CMAC(AES(pysim_key(0, 16)))
    mac.update(bytes(11) + b"\x02" + b"\x00" + b"\x00\x80" + b"\x01" + b"\x00\x00\x01" + ISD)
    assert long == mac.finalize()


@pytest.mark.parametrize(
    ("scp", "i", "counter"), [(3, 0x60, 1), (2, 0x15, 1), (3, 0x70, 1 << 24), (2, 0x55, 1 << 16), (11, 0, 1)]
)
async def test_challenge_when_it_cannot_be_known_then_refused(
    new_keystore: NewKeystore, scp: int, i: int, counter: int
) -> None:
    keystore = await new_keystore("issuer")
    source = await given(keystore, *pysim_keys(16))
    with pytest.raises(KeystoreError):
        await keystore.predict_challenge(source, scp=scp, i=i, counter=counter, aid=ISD)


# --- under the DEK


async def test_value_when_encrypted_under_an_scp03_dek_then_the_published_cipher_text(
    new_keystore: NewKeystore,
) -> None:
    keystore = await new_keystore("issuer")
    source = await given(keystore, TEST_KEY, TEST_KEY, bytes(range(16)))
    encrypted = await keystore.encrypt_under_dek(source, pysim_context(16), Secret(TEST_KEY))
    assert encrypted.hex() == "d533e59b45a153ed7e5e9c5dfcfd4aaa"


async def test_value_when_encrypted_under_an_scp02_dek_then_the_published_cipher_text(
    new_keystore: NewKeystore,
) -> None:
    keystore = await new_keystore("issuer")
    source = await given(keystore, TEST_KEY, TEST_KEY, TEST_KEY)
    encrypted = await keystore.encrypt_under_dek(source, scp02_context(0), Secret(TEST_KEY))
    assert encrypted.hex() == "efbee6c6d99d7b70bde9d7e927f020af"


@pytest.mark.parametrize("length", [1, 15, 17])
async def test_value_when_not_whole_blocks_then_refused(new_keystore: NewKeystore, length: int) -> None:
    keystore = await new_keystore("issuer")
    source = await given(keystore, *pysim_keys(16))
    with pytest.raises(KeystoreError):
        await keystore.encrypt_under_dek(source, pysim_context(16), Secret(bytes(length)))


@pytest.mark.parametrize("layout", AesLayout)
@pytest.mark.parametrize("scp", [2, 3])
async def test_new_keys_when_wrapped_then_as_put_key_and_store_data_want_them(
    new_keystore: NewKeystore, scp: int, layout: AesLayout
) -> None:
    keystore = await new_keystore("issuer")
    old, new = pysim_keys(16), (bytes(range(16, 32)), bytes(range(32, 48)), bytes(range(48, 64)))
    context = pysim_context(16) if scp == 3 else scp02_context()
    source = await given(keystore, *old)
    new_source = await given(keystore, *new)
    fields = await keystore.put_key_fields(source, context, new_source, new_scp=scp, layout=layout)
    groupings = await keystore.store_data_key_set(source, context, new_source, new_scp=scp, kvn=0x20)

    enc, mac, dek = map(Secret, new)
    fresh, key_type = StaticKeys(enc, mac, dek), KeyType.AES if scp == 3 else KeyType.DES
    enc, mac, dek = map(Secret, old)
    init = parse_initialize_update(context.initialize_update)
    session = derive_session_keys(StaticKeys(enc, mac, dek), init, context.host_challenge)
    under = Dek(session.dek, key_type)
    assert fields == gp_keys.put_key_fields(fresh, key_type, under, layout)
    assert groupings == gp_keys.store_data_key_set(fresh, 0x20, key_type, under)


# --- application keys


@pytest.mark.parametrize("length", [16, 24, 32])
async def test_application_key_when_derived_then_as_documented(
    new_keystore: NewKeystore, length: int
) -> None:
    """SP 800-108r1 §4.1 with label, 00, L, counter, context, as everywhere in OpenTSM."""
    keystore = await new_keystore("provider")
    await keystore.import_key(MASTER, Secret(TEST_KEY))
    key = await keystore.derive_application_key(MASTER, b"purse-id", length_bytes=length)
    expected = b""
    for counter in (1, 2):
        mac = CMAC(AES(TEST_KEY))
        mac.update(b"OpenTSM app1\x00" + (8 * length).to_bytes(2, "big") + bytes((counter,)) + b"purse-id")
        expected += mac.finalize()
    assert key.reveal() == expected[:length]


# --- sealing


async def test_sealed_data_when_opened_with_the_same_context_then_there(new_keystore: NewKeystore) -> None:
    keystore = await new_keystore("hub")
    for plaintext in (b"", b"data", bytes(500_000)):
        sealed = await keystore.seal(plaintext, context="operation-1")
        assert await keystore.open(sealed, context="operation-1") == plaintext
        assert sealed != await keystore.seal(plaintext, context="operation-1")


async def test_sealed_data_when_context_or_keystore_or_a_bit_differs_then_refused(
    new_keystore: NewKeystore,
) -> None:
    keystore, other = await new_keystore("hub"), await new_keystore("other")
    sealed = await keystore.seal(b"data", context="operation-1")
    with pytest.raises(KeystoreError):
        await keystore.open(sealed, context="operation-2")
    with pytest.raises(KeystoreError):
        await other.open(sealed, context="operation-1")
    for position in range(len(sealed)):
        changed = sealed[:position] + bytes((sealed[position] ^ 0x80,)) + sealed[position + 1 :]
        with pytest.raises(KeystoreError):
            await keystore.open(changed, context="operation-1")
    for cut in (b"", sealed[:1], sealed[:13], sealed[:-1]):
        with pytest.raises(KeystoreError):
            await keystore.open(cut, context="operation-1")


# --- nothing is told


async def test_refusals_then_tell_no_key(new_keystore: NewKeystore) -> None:
    keystore, other = await new_keystore("issuer"), await new_keystore("other")
    known = [TEST_KEY, TRANSPORT_KEY, *pysim_keys(16)]
    await keystore.import_key(MASTER, Secret(TEST_KEY))
    source: UsableKeys = await given(keystore, *pysim_keys(16))
    await other.import_key(TRANSPORT, Secret(bytes(32)))
    await other.agreement_key(OTHER)
    point = await keystore.agreement_key(OTHER)
    context = ChannelContext(scp=3, i=0x70, host_challenge=bytes(8), initialize_update=JCOP3_ANSWER)
    refusals: list[Callable[[], Awaitable[object]]] = [
        lambda: keystore.import_key(MASTER, Secret(TRANSPORT_KEY)),
        lambda: other.agree_transport_key(TRANSPORT, OTHER, point),
        lambda: other.key_check_values(source, scp=3),
        lambda: keystore.derive_session(source, context),
        lambda: keystore.encrypt_under_dek(source, pysim_context(16), Secret(TEST_KEY[:-1])),
        lambda: keystore.predict_challenge(source, scp=3, i=0x70, counter=-1, aid=ISD),
        lambda: keystore.key_check_values(DiversifiedKeys(master=TRANSPORT, method="EMV", kdd=KDD), scp=2),
        lambda: keystore.generate(OTHER, length_bytes=1),
    ]
    told = [repr(keystore), str(keystore), f"{vars(keystore) if hasattr(keystore, '__dict__') else ''}"]
    for refusal in refusals:
        with pytest.raises(KeystoreError) as caught:
            await refusal()
        told.append("".join(traceback.format_exception(caught.value)))
        told.append(repr(caught.value))
    assert str(MASTER) in repr(keystore)
    for key in known:
        for form in (key.hex(), str(key)[2:-1], repr(key)):
            assert not any(form.lower() in text.lower() for text in told)


async def test_digest_when_value_context_or_keystore_differ_then_another(new_keystore: NewKeystore) -> None:
    keystore, other = await new_keystore("issuer"), await new_keystore("other")
    digest = await keystore.digest(b"+49301234567", context="number")
    assert len(digest) == 32
    assert await keystore.digest(b"+49301234567", context="number") == digest
    others = [
        await keystore.digest(b"+49301234568", context="number"),
        await keystore.digest(b"+49301234567", context="name"),
        await other.digest(b"+49301234567", context="number"),
    ]
    assert len({digest, *others}) == 4
