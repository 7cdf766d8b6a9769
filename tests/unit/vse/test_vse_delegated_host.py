"""The host's tokens, receipts, signatures and encryption against the card: two readings of the text meet."""

import pytest
from tests.conformance.delegation import (
    BLOCK,
    KEYS,
    SCHEMES,
    SECOND,
    UNIQUE,
    delegated,
    enter,
    put,
    scheme,
)
from tests.unit.vse.card_host import (
    INSTANCE,
    MODULE,
    PACKAGE,
    SSD,
    SSD2,
    CardHost,
    host_with_session,
    privileged_domain,
)

from opentsm.card.codec.aid import Aid
from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import ReceiptError, SignatureError
from opentsm.card.gp import commands, receipts
from opentsm.card.gp.dap import signed_dap_block
from opentsm.card.gp.install_params import application_parameters
from opentsm.card.gp.keys import KeyType, put_key_field
from opentsm.card.gp.load_file_protection import (
    Mechanism,
    choose_digest,
    ciphered_load_file,
    clear_load_file,
    load_file_hash,
)
from opentsm.card.gp.privileges import Privilege
from opentsm.card.gp.receipts import ExpectedReceipt, verify_receipt
from opentsm.card.gp.tokens import sign_combined, sign_command, token_control_template

HASH = load_file_hash(BLOCK, choose_digest([Mechanism.ECC_512]))
NONE = Privilege.NONE
CRT = token_control_template(number=b"\x00\x2a", domain_image=UNIQUE[4:])
C9 = application_parameters()


def expected(context: bytes, counter: int, number: bytes | None = None) -> ExpectedReceipt:
    return ExpectedReceipt(context, UNIQUE, number, counter_after=counter - 1 if counter else None)


def load(host: CardHost) -> bytes:
    return [host.ok(command) for command in commands.load_blocks(BLOCK, block_size=200)][-1]


@pytest.mark.parametrize("name", SCHEMES)
def test_host_and_card_when_all_operations_are_delegated_then_tokens_and_receipts_agree(name: str) -> None:
    host, one = delegated(name, name), scheme(name)
    privileges = Privilege.GLOBAL_SERVICE
    host.ok(sign_command(commands.install_for_load(PACKAGE, None, hash=HASH, parameters=CRT), one.signer))
    answers: list[tuple[bytes, bytes, bytes | None]] = [
        (load(host), receipts.load_context(PACKAGE, SSD), b"\x00\x2a")
    ]
    installed = receipts.install_context(PACKAGE, INSTANCE)
    for command, context in (
        (
            commands.install_for_install(PACKAGE, MODULE, INSTANCE, NONE, C9, make_selectable=False),
            installed,
        ),
        (commands.install_for_make_selectable(INSTANCE), installed),
        (
            commands.install_for_registry_update(INSTANCE, privileges=privileges, parameters=CRT),
            receipts.registry_update_context(INSTANCE, privileges=privileges.to_bytes3(), parameters=CRT),
        ),
        (
            commands.install_for_extradition(INSTANCE, SSD2),
            receipts.extradition_context(SSD, INSTANCE, SSD2),
        ),
        (
            commands.install_for_install(PACKAGE, MODULE, SECOND, NONE, C9, make_selectable=True),
            receipts.install_context(PACKAGE, SECOND),
        ),
        (commands.delete(SECOND, crt=CRT[2:]), receipts.delete_context(SECOND)),
    ):
        number = b"\x00\x2a" if CRT in command.data else None
        answers.append((host.ok(sign_command(command, one.signer)), context, number))
    for counter, (answer, context, number) in enumerate(answers):
        confirmation = verify_receipt(answer, expected(context, counter, number), one.verifier)
        assert confirmation.counter == counter


def test_host_and_card_when_combined_then_one_token_and_one_receipt() -> None:
    host, one = delegated(), scheme("P-256")
    first = commands.install_for_combined_load(PACKAGE, None, hash=HASH)
    last = commands.install_for_combined_install(None, MODULE, INSTANCE, NONE, C9)
    host.ok(first)
    load(host)
    answer = host.ok(sign_combined(first, last, one.signer))
    context = receipts.combined_context(PACKAGE, INSTANCE, SSD)
    key = scheme("AES-128").verifier
    assert verify_receipt(answer, expected(context, 0), key).counter == 0
    with pytest.raises(SignatureError):
        verify_receipt(answer, expected(receipts.install_context(PACKAGE, INSTANCE), 0), key)
    with pytest.raises(ReceiptError):
        verify_receipt(answer, expected(context, 1), key)


@pytest.mark.parametrize("icv", [b"", bytes(range(16))])
def test_host_and_card_when_signed_twice_and_ciphered_then_loaded(icv: bytes) -> None:
    host, key = host_with_session(), Secret(bytes(range(16)))
    mandated = Privilege.DAP_VERIFICATION | Privilege.MANDATED_DAP_VERIFICATION
    privileged_domain(host, SSD, mandated, KEYS)
    privileged_domain(host, SSD2, Privilege.DAP_VERIFICATION | Privilege.CIPHERED_LOAD_FILE_DATA_BLOCK, KEYS)
    for aid, name in ((SSD, "P-384"), (SSD2, "RSA-2048")):
        host.select(aid)
        host.authenticate(KEYS)
        assert put(host, 0x73, scheme(name).verification_field) == 0x9000
    assert host.dek is not None
    host.ok(commands.put_key(0x75, [put_key_field(key, KeyType.AES, host.dek)]))
    enter(host)
    mechanisms = [Mechanism.ECC_384, Mechanism.RSA_SCHEME_2, Mechanism.AES_128]
    digest = load_file_hash(BLOCK, choose_digest(mechanisms))
    assert len(digest) == 48
    daps = signed_dap_block(SSD, digest, scheme("P-384").signer)
    daps += signed_dap_block(SSD2, digest, scheme("RSA-2048").signer)
    host.ok(commands.install_for_load(PACKAGE, SSD2, hash=digest))
    content = daps + ciphered_load_file(BLOCK, key, KeyType.AES, icv=icv)
    for command in commands.load_objects(content, block_size=200):
        host.ok(command)
    assert host.field_of(PACKAGE, 0xCC, 0x20) == SSD2
    host.ok(commands.install_for_load(Aid(b"\xf0" * 5), SSD2, hash=digest))
    sent = commands.load_objects(daps + clear_load_file(BLOCK), block_size=200)
    assert [host.sw(command) for command in sent][-1] == 0x6985
