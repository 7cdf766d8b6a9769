"""What a load file must prove: its hash, the signatures over it (DAP), its encryption.

Source: GPCS 2.3.1 §9.2.1, §9.2.2, §9.3.5, §11.6.2.3, Appendix C.2, C.3, C.6.
"""

from hmac import compare_digest

from opentsm.card.crypto.cipher import AES_BLOCK, DES_BLOCK, aes_cbc_decrypt, tdes_cbc_decrypt
from opentsm.card.crypto.digest import Digest
from opentsm.card.crypto.padding import unpad80
from opentsm.card.errors import CardError, SignatureError
from opentsm.vse.environment import Environment, LoadSession
from opentsm.vse.lifecycle import PERSONALIZED, is_locked, unlocked
from opentsm.vse.load_file import DapBlock, LoadedFile
from opentsm.vse.privileges import Privilege
from opentsm.vse.signing_keys import Role, least_hash_length, role_key, verifier
from opentsm.vse.state import SYMMETRIC_AES, Instance
from opentsm.vse.status import SW_CONDITIONS, StatusError


def check_load_file(environment: Environment, session: LoadSession, loaded: LoadedFile) -> bytes:
    """Check all that protects a load file.

    Args:
        environment: the card.
        session: what INSTALL [for load] announced.
        loaded: the load file, taken apart.

    Returns:
        The load file data block in clear.

    Raises:
        StatusError: 6985 something is missing, 6982 something is wrong (or as the profile has it).
    """
    image = environment.image
    owner = image.instance(session.sd)
    if owner is None or (owner is not image.isd and is_locked(owner.state)):
        raise StatusError(SW_CONDITIONS)
    _check_signatures(environment, session, loaded.daps, owner)
    block = _deciphered(environment, session, loaded, owner)
    if session.digest and not compare_digest(Digest(len(session.digest)).of(block), session.digest):
        raise StatusError(environment.profile.proof_wrong)
    return block


def require_hash(environment: Environment, digest: bytes, least: int) -> None:
    """Refuse a load file data block hash that is missing or weaker than what relies on it (Table C-3).

    Raises:
        StatusError: 6985, or as the profile has it.
    """
    if not digest or len(digest) < least:
        raise StatusError(environment.profile.proof_missing)


def _check_signatures(
    environment: Environment, session: LoadSession, blocks: tuple[DapBlock, ...], owner: Instance
) -> None:
    """§9.3.5: what must be signed is, and every signature that is there verifies."""
    if environment.profile.locked_mandated_dap == "refused" and any(
        map(_is_locked_out, environment.image.instances)
    ):
        raise StatusError(SW_CONDITIONS)
    required = {entry.aid for entry in environment.image.instances if _demands_signature(entry, owner)}
    if not required <= {block.sd for block in blocks}:
        raise StatusError(environment.profile.proof_missing)
    for block in blocks:
        _check_signature(environment, session.digest, block)


def _demands_signature(entry: Instance, owner: Instance) -> bool:
    own = entry is owner and entry.holds(Privilege.DAP_VERIFICATION)
    return own or (entry.holds(Privilege.MANDATED_DAP) and entry.state == PERSONALIZED)


def _is_locked_out(entry: Instance) -> bool:
    """Tell whether a security domain would have to verify every load, and is LOCKED (§5.3.2.4, §9.3.5)."""
    mandated = entry.holds(Privilege.MANDATED_DAP) and is_locked(entry.state)
    return mandated and unlocked(entry.state) == PERSONALIZED


def _check_signature(environment: Environment, digest: bytes, block: DapBlock) -> None:
    """§C.3: the message is the hash as INSTALL [for load] brought it."""
    profile, image = environment.profile, environment.image
    domain = image.instance(block.sd)
    verifies = domain is not None and domain.privileges & (
        Privilege.DAP_VERIFICATION | Privilege.MANDATED_DAP
    )
    if domain is None or not verifies or (domain is not image.isd and is_locked(domain.state)):
        raise StatusError(profile.proof_missing)
    key = role_key(environment, domain, Role.DAP)
    if key is None:
        raise StatusError(profile.proof_missing)
    require_hash(environment, digest, least_hash_length(key))
    try:
        verifier(key).verify(digest, block.signature)
    except SignatureError:
        raise StatusError(profile.proof_wrong) from None


def _deciphered(environment: Environment, session: LoadSession, loaded: LoadedFile, owner: Instance) -> bytes:
    """§11.6.2.3: D4 exactly when the associated security domain has Ciphered Load File Data Block."""
    if loaded.ciphered != owner.holds(Privilege.CIPHERED_LOAD_FILE):
        raise StatusError(SW_CONDITIONS)
    if not loaded.ciphered:
        return loaded.block
    key = role_key(environment, owner, Role.LOAD_FILE)
    if key is None:
        raise StatusError(environment.profile.proof_missing)
    require_hash(environment, session.digest, least_hash_length(key))
    decrypt, length = (
        (aes_cbc_decrypt, AES_BLOCK) if key.type == SYMMETRIC_AES else (tdes_cbc_decrypt, DES_BLOCK)
    )
    if loaded.icv and len(loaded.icv) != length:
        raise StatusError(SW_CONDITIONS)
    try:
        return unpad80(decrypt(key.value, loaded.icv or bytes(length), loaded.block))
    except CardError:
        raise StatusError(environment.profile.proof_wrong) from None
