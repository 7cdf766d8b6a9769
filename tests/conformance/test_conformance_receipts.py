"""Conformance cases 90 to 94: receipts (GPCS 2.3.1 §9.1.3.6, §11.1.6, §C.5), taken apart by hand."""

import pytest
from tests.conformance.delegation import (
    BLOCK,
    DIGEST,
    KEYS,
    OTHER_KEYS,
    SCHEMES,
    SECOND,
    UNIQUE,
    ber,
    blocks,
    delegated,
    delegated_load,
    delete_fields,
    enter,
    extradition_fields,
    install_command,
    install_fields,
    load,
    load_fields,
    lv,
    put,
    scheme,
    selectable_fields,
    signed_delete,
    signed_install,
    to_sign,
    update_fields,
)
from tests.unit.vse.card_host import (
    INSTANCE,
    PACKAGE,
    SSD,
    SSD2,
    CardHost,
    make_card,
    privileged_domain,
    random_bytes,
)

from opentsm.card.errors import SignatureError
from opentsm.card.gp import commands
from opentsm.card.gp.privileges import Privilege
from opentsm.vse.card import VirtualCard
from opentsm.vse.nvm import MemoryNvm
from opentsm.vse.state import encode_image

SIGNER = scheme("P-256").signer
RECEIPT_KEY = scheme("AES-128").verifier


def split(answer: bytes, receipt_length: int) -> tuple[bytes, bytes]:
    """Take a confirmation apart: outer length, length of the receipt, receipt, confirmation data."""
    size = len(ber(bytes(receipt_length)))
    inside = answer[-(size + 1 + 2 + 1 + len(UNIQUE)) :] if size > 17 else answer[1:]
    assert answer == ber(inside)
    assert inside[: size - receipt_length] == ber(bytes(receipt_length))[: size - receipt_length]
    return inside[size - receipt_length : size], inside[size:]


def check(answer: bytes, counter: int, context: bytes, number: bytes = b"") -> None:
    """§11.1.6 and §C.5 for a receipt of 16 bytes."""
    data = b"\x02" + counter.to_bytes(2, "big") + lv(UNIQUE) + (lv(number) if number else b"")
    receipt, found = split(answer, 16)
    assert found == data
    RECEIPT_KEY.verify(data + context, receipt)
    with pytest.raises(SignatureError):
        RECEIPT_KEY.verify(data + context + b"\x00", receipt)


def counter_of(host: CardHost) -> bytes:
    """GET DATA C2 of the issuer security domain."""
    host.select()
    return host.raw("80CA00C200").data


def test_case_090_layout_with_outer_length_byte_by_byte() -> None:
    answer = delegated_load(delegated(), SIGNER)
    # 32 outer length, 10 receipt, then 02 counter, 0C card unique data.
    assert answer[:2].hex() == "2110"
    assert answer[18:].hex().upper() == "0200000CF04F54530000000000000007"
    assert len(answer) == 1 + 0x21
    context = b"\x05" + bytes(PACKAGE) + bytes([len(SSD)]) + bytes(SSD)
    RECEIPT_KEY.verify(answer[18:] + context, answer[2:18])


def test_case_090_counter_grows_by_one_and_get_data_follows() -> None:
    host = delegated()
    assert counter_of(host) == bytes.fromhex("C2020000")
    enter(host, SSD)
    delegated_load(host, SIGNER)
    assert counter_of(host) == bytes.fromhex("C2020001")
    enter(host, SSD)
    answer = host.ok(signed_install(0x0C, 0x00, install_fields(), SIGNER))
    check(answer, 1, lv(PACKAGE, INSTANCE))
    assert counter_of(host) == bytes.fromhex("C2020002")


def test_case_090_counter_stays_when_the_operation_is_refused() -> None:
    host = delegated()
    assert host.sw(signed_delete(0x00, delete_fields(PACKAGE), SIGNER)) == 0x6A88
    assert counter_of(host) == bytes.fromhex("C2020000")


def test_case_090_counter_at_its_end_stops_delegated_management() -> None:
    """§C.5: it is not reset to zero."""
    image = delegated().card.image()
    image.isd.domain_data().confirmations = 0xFFFF
    nvm = MemoryNvm()
    nvm.save(encode_image(image))
    host = CardHost(VirtualCard.open(nvm, random=random_bytes))
    host.card.power_on()
    enter(host, SSD)
    assert host.sw(signed_install(0x02, 0x00, load_fields(), SIGNER)) == 0x6985
    assert counter_of(host) == bytes.fromhex("C202FFFF")


@pytest.mark.parametrize("name", SCHEMES)
def test_case_090_every_scheme_signs_receipts(name: str) -> None:
    host, one = delegated(confirming=name), scheme(name)
    answer = delegated_load(host, SIGNER)
    receipt, data = split(answer, one.length)
    assert data == b"\x02\x00\x00" + lv(UNIQUE)
    one.verifier.verify(data + lv(PACKAGE, SSD), receipt)


def test_case_090_no_receipt_key_no_operation() -> None:
    """§C.1.1.2."""
    host = CardHost(make_card())
    host.authenticate()
    put(host, 0x70, scheme("P-256").verification_field)
    privileged_domain(host, SSD, Privilege.DELEGATED_MANAGEMENT, KEYS)
    enter(host, SSD)
    assert host.sw(signed_install(0x02, 0x00, load_fields(), SIGNER)) == 0x6985


def test_case_091_install_and_make_selectable() -> None:
    host = delegated()
    delegated_load(host, SIGNER)
    check(host.ok(signed_install(0x04, 0x00, install_fields(), SIGNER)), 1, lv(PACKAGE, INSTANCE))
    check(host.ok(signed_install(0x08, 0x00, selectable_fields(), SIGNER)), 2, lv(PACKAGE, INSTANCE))
    check(host.ok(signed_install(0x0C, 0x00, install_fields(SECOND), SIGNER)), 3, lv(PACKAGE, SECOND))


def test_case_091_load_into_another_domain_names_that_domain() -> None:
    host = delegated()
    host.ok(signed_install(0x02, 0x00, load_fields(sd=SSD2), SIGNER))
    check(load(host), 0, lv(PACKAGE, SSD2))


def test_case_091_extradition() -> None:
    host = delegated()
    delegated_load(host, SIGNER)
    answer = host.ok(signed_install(0x10, 0x00, extradition_fields(PACKAGE, SSD2), SIGNER))
    check(answer, 1, lv(SSD, PACKAGE, SSD2))


def test_case_091_registry_update() -> None:
    """§C.5.4: domains only when it extradites; privileges and parameters as they came."""
    host = delegated()
    delegated_load(host, SIGNER)
    host.ok(signed_install(0x0C, 0x00, install_fields(), SIGNER))
    answer = host.ok(signed_install(0x40, 0x00, update_fields(INSTANCE, b"\x00\x01\x00"), SIGNER))
    check(answer, 2, bytes.fromhex("00") + lv(INSTANCE) + bytes.fromhex("000300010000"))
    params = bytes.fromhex("B60393010A")
    fields = update_fields(INSTANCE, b"", new_sd=SSD2, params=params)
    answer = host.ok(signed_install(0x40, 0x00, fields, SIGNER))
    check(answer, 3, lv(SSD, INSTANCE, SSD2) + b"\x00" + lv(params), number=b"\x0a")


def test_case_091_delete_with_related_objects_names_the_load_file_only() -> None:
    host = delegated()
    delegated_load(host, SIGNER)
    host.ok(signed_install(0x0C, 0x00, install_fields(), SIGNER))
    host.ok(signed_install(0x0C, 0x00, install_fields(SECOND), SIGNER))
    check(host.ok(signed_delete(0x00, delete_fields(SECOND), SIGNER)), 3, lv(SECOND))
    check(host.ok(signed_delete(0x80, delete_fields(PACKAGE), SIGNER)), 4, lv(PACKAGE))


def test_case_091_combined_process_has_one_receipt() -> None:
    host, install = delegated(), install_fields(package=b"")
    assert host.ok(install_command(0x0E, 0x01, load_fields())) == b"\x00"
    assert load(host) == b"\x00"
    token = SIGNER.sign(to_sign(0x0E, 0x01, load_fields()) + to_sign(0x0E, 0x03, install))
    answer = host.ok(install_command(0x0E, 0x03, install, token))
    check(answer, 0, lv(PACKAGE, INSTANCE, SSD))


def test_case_092_receipt_of_128_bytes_has_the_length_81_80() -> None:
    answer = delegated_load(delegated(confirming="RSA-1024"), SIGNER)
    # 92 hex bytes inside: 81 80, receipt, 02 0000, 0C and the unique data.
    assert answer[:4].hex() == "81928180"
    assert answer[4 + 128 :].hex().upper() == "0200000CF04F54530000000000000007"
    scheme("RSA-1024").verifier.verify(answer[4 + 128 :] + lv(PACKAGE, SSD), answer[4 : 4 + 128])


def test_case_093_token_identifier_comes_back_exactly_when_it_was_sent() -> None:
    host = delegated()
    params = bytes.fromhex("B606930400001234")
    host.ok(signed_install(0x02, 0x00, load_fields(params=params), SIGNER))
    check(load(host), 0, lv(PACKAGE, SSD), number=bytes.fromhex("00001234"))
    check(host.ok(signed_install(0x0C, 0x00, install_fields(), SIGNER)), 1, lv(PACKAGE, INSTANCE))
    deletion = signed_delete(0x00, delete_fields(INSTANCE, bytes.fromhex("930155")), SIGNER)
    check(host.ok(deletion), 2, lv(INSTANCE), number=b"\x55")


def test_case_094_operations_of_the_issuer_have_no_receipt() -> None:
    host = delegated()
    enter(host)
    assert host.ok(install_command(0x02, 0x00, load_fields())) == b"\x00"
    assert [host.ok(command) for command in blocks()] == [b"\x00"] * len(blocks())
    assert host.ok(install_command(0x04, 0x00, install_fields())) == b"\x00"
    assert host.ok(install_command(0x08, 0x00, selectable_fields())) == b"\x00"
    assert host.ok(install_command(0x40, 0x00, update_fields(INSTANCE, b"\x00\x01\x00"))) == b"\x00"
    assert host.ok(install_command(0x10, 0x00, extradition_fields(INSTANCE, SSD2))) == b"\x00"
    assert host.ok(commands.delete(INSTANCE)) == b"\x00"
    assert counter_of(host) == bytes.fromhex("C2020000")


def test_case_094_delegated_announcement_and_first_blocks_have_none_either() -> None:
    host = delegated()
    assert host.ok(signed_install(0x02, 0x00, load_fields(), SIGNER)) == b"\x00"
    assert [host.ok(command) for command in blocks(BLOCK)[:-1]] == [b"\x00"] * (len(blocks()) - 1)
    assert len(DIGEST) == 64


def test_case_090_locked_domain_with_receipt_generation_makes_none() -> None:
    """§5.3.2.4, §C.1.1.2: without its receipt the operation fails."""
    host = CardHost(make_card(isd_privileges="9EFE00"))
    host.authenticate()
    assert put(host, 0x70, scheme("P-256").verification_field) == 0x9000
    privileged_domain(host, SSD, Privilege.DELEGATED_MANAGEMENT, KEYS)
    privileged_domain(host, SSD2, Privilege.RECEIPT_GENERATION, OTHER_KEYS)
    enter(host, SSD2)
    assert put(host, 0x71, scheme("AES-128").signing_field) == 0x9000
    command = signed_install(0x02, 0x00, load_fields(), SIGNER)
    for change, expected in ((commands.lock(SSD2), 0x6985), (commands.unlock(SSD2), 0x9000)):
        enter(host)
        host.ok(change)
        enter(host, SSD)
        assert host.sw(command) == expected
