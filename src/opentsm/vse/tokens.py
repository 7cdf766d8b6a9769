"""Tokens: what a command proves beyond its session, and the security domain that judges it.

Source: GPCS 2.3.1 §9.1.3.1, §9.1.3.3, §9.2.3, Appendix C.1.1.1, C.4.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from opentsm.card.codec.tlv import Tlv, find
from opentsm.card.errors import SignatureError
from opentsm.vse.authority import Authority
from opentsm.vse.environment import Environment
from opentsm.vse.fields import data_objects
from opentsm.vse.lifecycle import is_locked
from opentsm.vse.privileges import Privilege
from opentsm.vse.signing_keys import Role, least_hash_length, role_key, verifier
from opentsm.vse.state import CardImage, Instance
from opentsm.vse.status import StatusError

_CRT: Final = 0xB6
_DOMAIN_PROVIDER: Final = 0x42
_DOMAIN_IMAGE: Final = 0x45
_NUMBER: Final = 0x93


@dataclass(frozen=True, slots=True)
class Proof:
    """What a content management command brings along.

    Args:
        signed: P1, P2, length and fields without the token; of both commands for the combined process.
        token: empty when there is none.
        parameters: the data objects that may hold a control reference template (B6).
    """

    signed: bytes
    token: bytes
    parameters: Sequence[Tlv] = ()


def signed_part(p1: int, p2: int, fields: bytes) -> bytes:
    """Return what a token signs of one command (§C.4): a length above 255 has three bytes."""
    length = bytes([len(fields)]) if len(fields) <= 0xFF else b"\x00" + len(fields).to_bytes(2, "big")
    return bytes([p1, p2]) + length + fields


def holder_for(image: CardImage, domain: Instance, privilege: Privilege) -> Instance | None:
    """Find the security domain that verifies tokens or makes receipts for `domain`.

    From `domain` upwards, each security domain with Authorised Management opens a sub-hierarchy; the first
    sub-hierarchy with a holder decides (§9.1.3.1, §9.1.3.6).
    """
    for root in (domain, *image.ancestors(domain)):
        if not root.holds(Privilege.AUTHORIZED_MANAGEMENT):
            continue
        for entry in image.instances:
            if entry.domain is not None and entry.holds(privilege) and image.sees(root, entry):
                return entry
    return None


def verify_token(environment: Environment, domain: Instance, proof: Proof) -> Authority:
    """Let the security domain with Token Verification check a token.

    Raises:
        StatusError: as the profile has it: 6985 nobody can verify, 6982 the token is wrong.
    """
    profile, image = environment.profile, environment.image
    judge = holder_for(image, domain, Privilege.TOKEN_VERIFICATION)
    key = role_key(environment, judge, Role.TOKEN) if judge is not None else None
    if judge is None or key is None or (judge is not image.isd and is_locked(judge.state)):
        raise StatusError(profile.proof_missing)
    template = data_objects(find(proof.parameters, _CRT) or b"")
    number = find(template, _NUMBER)
    try:
        verifier(key).verify(proof.signed, proof.token)
    except SignatureError:
        raise StatusError(profile.proof_wrong) from None
    if not _is_meant(judge, template) or not _is_new(environment, judge, number):
        raise StatusError(profile.proof_wrong)
    delegated = domain.holds(Privilege.DELEGATED_MANAGEMENT)
    return Authority(True, delegated, least_hash_length(key), number, judge.aid, proof.signed)


def _is_meant(judge: Instance, template: Sequence[Tlv]) -> bool:
    """42 and 45, where given, name the security domain with Token Verification."""
    objects = judge.domain_data().objects
    named = ((tag, find(template, tag)) for tag in (_DOMAIN_PROVIDER, _DOMAIN_IMAGE))
    return all(value is None or objects.get(tag) == value for tag, value in named)


def _is_new(environment: Environment, judge: Instance, number: bytes | None) -> bool:
    """The text lets a token be used again; a profile may want growing numbers (93)."""
    if not environment.profile.token_numbers_grow:
        return True
    return number is not None and int.from_bytes(number, "big") > judge.domain_data().token_number


def remember_number(environment: Environment, authority: Authority) -> None:
    """Note the number of a token whose operation has succeeded."""
    judge = environment.image.instance(authority.judge)
    if not environment.profile.token_numbers_grow or judge is None or authority.number is None:
        return
    data = judge.domain_data()
    # A load that began before other operations may end behind them.
    data.token_number = max(data.token_number, int.from_bytes(authority.number, "big"))
    environment.touch()
