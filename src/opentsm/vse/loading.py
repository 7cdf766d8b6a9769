"""LOAD: collecting the blocks, checking the whole, registering the load file.

Source: GPCS 2.3.1 §9.3.5, §11.6, Appendix C.2 (hash).
"""

import hashlib
from hmac import compare_digest
from typing import Final

from opentsm.card.codec.apdu import CommandApdu
from opentsm.vse import memory
from opentsm.vse.environment import Environment, LoadSession, LogicalChannel
from opentsm.vse.lifecycle import PERSONALIZED, is_locked
from opentsm.vse.load_file import LoadedFile, LoadFileError, Package, read_load_file, read_package
from opentsm.vse.privileges import Privilege
from opentsm.vse.state import Instance, LoadFile
from opentsm.vse.status import SW_CONDITIONS, SW_NO_MEMORY, SW_SECURITY, StatusError

NO_CONFIRMATION: Final = b"\x00"
_LAST: Final = 0x80
# Tag, length field of four bytes and signatures around the data block.
_FRAME_BYTES: Final = 2048
_HASHES: Final = {20: hashlib.sha1, 32: hashlib.sha256, 48: hashlib.sha384, 64: hashlib.sha512}


def load(environment: Environment, channel: LogicalChannel, domain: Instance, command: CommandApdu) -> bytes:
    """Take one block of the load file; any failure aborts the load.

    Raises:
        StatusError: 6985 no load, wrong block number or damaged file; 6982 wrong hash; 6A84 no memory.
    """
    session, channel.load = channel.load, None
    if session is None or command.p2 != session.next_block & 0xFF:
        raise StatusError(SW_CONDITIONS)
    session.received += command.data
    session.next_block += 1
    if len(session.received) > environment.free_memory + _FRAME_BYTES:
        raise StatusError(SW_NO_MEMORY)
    if not command.p1 & _LAST:
        channel.load = session
        return NO_CONFIRMATION
    _register(environment, session)
    if session.combined:
        channel.combined = session.aid
    return NO_CONFIRMATION


def _register(environment: Environment, session: LoadSession) -> None:
    try:
        loaded = read_load_file(bytes(session.received))
        _check_integrity(environment, session, loaded)
        package = read_package(loaded.block)
    except LoadFileError:
        raise StatusError(SW_CONDITIONS) from None
    _check_package(environment, session, package)
    entry = LoadFile(
        aid=session.aid,
        sd=session.sd,
        version=package.version,
        modules=list(package.modules),
        imports=list(package.imports),
        size=len(loaded.block),
        provider=session.provider,
        hash=hashlib.sha256(loaded.block).digest(),
    )
    environment.require_memory(memory.load_file_cost(entry))
    environment.image.load_files.append(entry)
    environment.touch()


def _check_integrity(environment: Environment, session: LoadSession, loaded: LoadedFile) -> None:
    owner = environment.image.instance(session.sd)
    if owner is None or (owner is not environment.image.isd and is_locked(owner.state)):
        raise StatusError(SW_CONDITIONS)
    # §11.6.2.3: ciphered exactly when the associated security domain asks for it; no key, no load.
    if loaded.ciphered or owner.holds(Privilege.CIPHERED_LOAD_FILE):
        raise StatusError(SW_CONDITIONS)
    _check_signatures(environment, session, loaded, owner)
    if session.digest:
        _check_hash(session.digest, loaded.block)


def _check_signatures(
    environment: Environment, session: LoadSession, loaded: LoadedFile, owner: Instance
) -> None:
    """Demand the signatures of §9.3.5; without a verification key of its domain each one fails (§C.3)."""
    required = [
        entry
        for entry in environment.image.instances
        if (entry is owner and entry.holds(Privilege.DAP_VERIFICATION))
        or (entry.holds(Privilege.MANDATED_DAP) and entry.state == PERSONALIZED)
    ]
    if required or loaded.daps:
        raise StatusError(SW_CONDITIONS)


def _check_hash(expected: bytes, block: bytes) -> None:
    algorithm = _HASHES.get(len(expected))
    if algorithm is None or not compare_digest(algorithm(block).digest(), expected):
        raise StatusError(SW_SECURITY)


def _check_package(environment: Environment, session: LoadSession, package: Package) -> None:
    image = environment.image
    others = {module for entry in image.load_files for module in entry.modules}
    taken = image.load_file(session.aid) is not None or image.instance(session.aid) is not None
    wrong = package.aid != session.aid or taken or not others.isdisjoint(package.modules)
    if wrong or (environment.profile.check_imports and not _imports_present(environment, package)):
        raise StatusError(SW_CONDITIONS)


def _imports_present(environment: Environment, package: Package) -> bool:
    platform = (bytes.fromhex("A000000062"), bytes.fromhex("A00000015100"), bytes.fromhex("A00000015107"))
    return all(
        aid.startswith(platform) or environment.image.load_file(aid) is not None for aid in package.imports
    )
