"""Which keys for tokens and receipts are put into a domain, and which are replaced."""

import msgspec

from opentsm.card.codec.aid import Aid
from opentsm.card.gp.instructions import Ins
from opentsm.card.profiles import SeProfile
from opentsm.tsm.domain.card_content import ObservedContent
from opentsm.tsm.domain.delegation import ProofScheme, ProofUse, proof_key
from opentsm.tsm.engine import content as c
from opentsm.tsm.engine import proof_keys
from opentsm.tsm.engine.compile import Fills, compile_step
from opentsm.tsm.engine.proof_keys import NO_PROOFS, Proofs
from opentsm.tsm.engine.steps import PutProofKey
from opentsm.tsm.kernel.ids import TenantId

ISD = Aid.from_hex("A000000151000000")
PROOFS = Proofs({ProofUse.TOKEN: ProofScheme.EC_P256, ProofUse.RECEIPT: ProofScheme.AES}, b"\x07")
KNOWN = ObservedContent(keys={str(ISD): (0x30, 0x70)}, fresh=True)
replace = msgspec.structs.replace


def put(observed: ObservedContent) -> list[PutProofKey]:
    return [one for one in proof_keys.missing(observed, ISD, PROOFS) if isinstance(one, PutProofKey)]


def test_proof_keys_when_one_of_another_origin_is_there_replace_it_and_add_the_other() -> None:
    assert [(one.use, one.replaces) for one in put(KNOWN)] == [
        (ProofUse.TOKEN, True),
        (ProofUse.RECEIPT, False),
    ]


def test_proof_keys_when_put_are_not_put_again() -> None:
    done = KNOWN
    for step in put(KNOWN):
        done = c.confirm(done, step, through=ISD)
    assert put(done) == []
    assert done.keys[str(ISD)] == (0x30, 0x70, 0x71)
    assert not proof_keys.to_be_probed(done, ISD, PROOFS)


def test_proof_keys_when_in_doubt_are_asked_for_before_they_are_put() -> None:
    doubtful = c.doubt(KNOWN, put(KNOWN)[0])
    assert proof_keys.to_be_probed(doubtful, ISD, PROOFS)
    assert not doubtful.fresh


def test_proof_keys_when_no_domain_works_with_tokens_are_not_wanted() -> None:
    assert proof_keys.missing(KNOWN, ISD, NO_PROOFS) == []
    assert not proof_keys.to_be_probed(ObservedContent(), ISD, NO_PROOFS)


def test_put_of_a_proof_key_when_compiled_has_its_version_and_identifier_one() -> None:
    first, second = put(KNOWN)
    profile = SeProfile(name="test")
    for step, p1 in ((first, 0x70), (second, 0x00)):
        (command,) = compile_step(step, profile, Fills(put_key_fields=(b"\xb0\x00",)))
        apdu = command.apdu
        assert (apdu.ins, apdu.p1, apdu.p2, apdu.data[0]) == (Ins.PUT_KEY, p1, 0x01, step.use.value)


def test_proof_key_when_symmetric_is_the_cards_and_when_not_is_the_partys() -> None:
    owner = TenantId("issuer")
    assert proof_key(owner, ProofUse.RECEIPT, ProofScheme.AES, b"\x07").diversifier == b"\x07"
    assert proof_key(owner, ProofUse.TOKEN, ProofScheme.EC_P256, b"\x07").diversifier == b""
