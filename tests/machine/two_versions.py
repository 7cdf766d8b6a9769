"""A service in two versions: the purse is in both, what stands beside it differs."""

import hashlib
from pathlib import Path

import msgspec
from tests.machine.bench import PURSE_MODULE, PURSE_PACKAGE, Bench

from opentsm.card.codec.aid import Aid
from opentsm.card.gp.cap import read_load_file
from opentsm.tsm.domain.card_content import (
    ApplicationSpecification,
    LoadFileReference,
    ServiceDescription,
)

replace = msgspec.structs.replace

CAPS = Path(__file__).parents[2] / "src/opentsm/demo/caps"
BADGE_PACKAGE, BADGE_MODULE = Aid.from_hex("F04F54534D03"), Aid.from_hex("F04F54534D0301")
BADGE, SECOND_PURSE = Aid.from_hex("F04F54534D030101"), Aid.from_hex("F04F54534D020102")


async def put_block(bench: Bench, block: bytes) -> str:
    digest = hashlib.sha256(block).hexdigest()
    async with bench.storage.transaction() as tx:
        await tx.load_files.put_block(digest, block)
        await tx.commit()
    return digest


async def with_second_purse(bench: Bench) -> ServiceDescription:
    """Return version 1.0.0: two purses of one load file; the second is not personalised."""
    second = ApplicationSpecification(instance_aid=SECOND_PURSE, load_file=PURSE_PACKAGE, module=PURSE_MODULE)
    both = (*bench.description.applications, second)
    return replace(bench.description, applications=both, version_tag="1.0.0")


async def with_two_personalized(bench: Bench) -> ServiceDescription:
    """Return version 1.1.0: the second purse is personalised too, so it is made anew under its AID."""
    first = await with_second_purse(bench)
    purse, second = first.applications
    other = replace(second, personalization=purse.personalization, recipe_id="purse", probe=purse.probe)
    return replace(first, version_tag="1.1.0", applications=(purse, other))


async def with_badge(bench: Bench) -> ServiceDescription:
    """Return version 2.0.0: the same purse, and a badge from a load file of its own."""
    block = read_load_file((CAPS / "badge.cap").read_bytes()).load_file_data_block()
    file = LoadFileReference(aid=BADGE_PACKAGE, sha256=await put_block(bench, block), size=len(block))
    badge = ApplicationSpecification(instance_aid=BADGE, load_file=BADGE_PACKAGE, module=BADGE_MODULE)
    return replace(
        bench.description,
        version_tag="2.0.0",
        flavor_id="another",
        load_files=(*bench.description.load_files, file),
        applications=(*bench.description.applications, badge),
    )


async def with_other_code(bench: Bench) -> ServiceDescription:
    """Return version 3.0.0: the purse's load file under the same AID with other bytes."""
    block = bytearray(bench.block)
    # JCVM 3.0.5, section 6.3: the package's minor version follows tag, size, magic, format and flags
    assert block[3:7].hex() == "decaffed"
    block[10] ^= 1
    file = LoadFileReference(aid=PURSE_PACKAGE, sha256=await put_block(bench, bytes(block)), size=len(block))
    return replace(bench.description, version_tag="3.0.0", load_files=(file,))


async def offer_all(bench: Bench) -> None:
    """Let the card get all versions."""
    for make in (with_second_purse, with_two_personalized, with_badge, with_other_code):
        version = await make(bench)
        bench.catalogue.versions[version.version_tag] = version
