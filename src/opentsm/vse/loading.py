"""LOAD: collecting the blocks, checking the whole, registering the load file.

Source: GPCS 2.3.1 §9.3.5, §9.3.8, §11.6.
"""

import hashlib
from typing import Final

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.lv import lv
from opentsm.vse import memory
from opentsm.vse.environment import Environment, LoadSession, LogicalChannel, PendingContent
from opentsm.vse.load_file import LoadFileError, Package, read_load_file, read_package
from opentsm.vse.load_file_checks import check_load_file
from opentsm.vse.receipts import NO_CONFIRMATION, prepare
from opentsm.vse.state import Instance, LoadFile
from opentsm.vse.status import SW_CONDITIONS, SW_NO_MEMORY, StatusError

_LAST: Final = 0x80
_LAST_NUMBER: Final = 0xFF
# Tag, length field of four bytes and signatures around the data block.
_FRAME_BYTES: Final = 2048


def load(environment: Environment, channel: LogicalChannel, domain: Instance, command: CommandApdu) -> bytes:
    """Take one block of the load file; any failure aborts the load.

    Returns:
        The confirmation of a delegated load with the last block, else `00`.

    Raises:
        StatusError: 6985 no load, wrong block number or damaged file; 6982 wrong hash; 6A84 no memory.
    """
    session, channel.load = channel.load, None
    if session is None:
        raise StatusError(SW_CONDITIONS)
    _require_order(environment, channel, session, command.p2)
    session.received += command.data
    session.next_block += 1
    if len(session.received) > environment.free_memory + _FRAME_BYTES:
        raise StatusError(SW_NO_MEMORY)
    if not command.p1 & _LAST:
        channel.load = session
        return NO_CONFIRMATION
    entry = _load_file(environment, session)
    if session.combined:
        channel.combined = PendingContent(entry, session.digest, session.combined)
        return NO_CONFIRMATION
    confirmer = prepare(environment, domain, session.authority)
    register(environment, entry)
    return confirmer.confirm(lv(entry.aid), lv(entry.sd))


def _require_order(
    environment: Environment, channel: LogicalChannel, session: LoadSession, block: int
) -> None:
    """§11.6.2.2: strictly one after the other; what is silent there is the profile's."""
    profile = environment.profile
    beyond = session.next_block > _LAST_NUMBER and not profile.load_blocks_wrap
    if not beyond and block == session.next_block & _LAST_NUMBER:
        return
    if not profile.load_order_aborts:
        channel.load = session
    raise StatusError(int(profile.load_order, 16))


def register(environment: Environment, entry: LoadFile) -> None:
    """Put a load file into the registry.

    Raises:
        StatusError: 6A84 no memory, 6985 a name in it is taken by now.
    """
    _check_names(environment, entry)
    environment.require_memory(memory.load_file_cost(entry))
    environment.image.load_files.append(entry)
    environment.touch()


def unregister(environment: Environment, entry: LoadFile) -> None:
    """Take a load file out of the registry again."""
    image = environment.image
    image.load_files = [other for other in image.load_files if other is not entry]
    environment.touch()


def _load_file(environment: Environment, session: LoadSession) -> LoadFile:
    try:
        loaded = read_load_file(bytes(session.received))
        block = check_load_file(environment, session, loaded)
        package = read_package(block)
    except LoadFileError:
        raise StatusError(SW_CONDITIONS) from None
    _check_package(environment, session, package)
    entry = LoadFile(
        aid=session.aid,
        sd=session.sd,
        version=package.version,
        modules=list(package.modules),
        imports=list(package.imports),
        size=len(block),
        provider=session.provider,
        hash=hashlib.sha256(block).digest(),
    )
    _check_names(environment, entry)
    environment.require_memory(memory.load_file_cost(entry))
    return entry


def _check_names(environment: Environment, entry: LoadFile) -> None:
    image = environment.image
    others = {module for other in image.load_files for module in other.modules}
    taken = image.load_file(entry.aid) is not None or image.instance(entry.aid) is not None
    if taken or not others.isdisjoint(entry.modules):
        raise StatusError(SW_CONDITIONS)


def _check_package(environment: Environment, session: LoadSession, package: Package) -> None:
    missing = environment.profile.check_imports and not _imports_present(environment, package)
    if package.aid != session.aid or missing:
        raise StatusError(SW_CONDITIONS)


def _imports_present(environment: Environment, package: Package) -> bool:
    platform = (bytes.fromhex("A000000062"), bytes.fromhex("A00000015100"), bytes.fromhex("A00000015107"))
    return all(
        aid.startswith(platform) or environment.image.load_file(aid) is not None for aid in package.imports
    )
