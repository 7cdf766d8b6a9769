"""A service in two versions: the purse is in both, what stands beside it differs."""

import hashlib
from pathlib import Path

import msgspec
from tests.machine.bench import DOMAIN, PURSE, PURSE_MODULE, PURSE_PACKAGE, Bench

from opentsm.card import purse
from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import ResponseApdu
from opentsm.card.gp import commands as gp
from opentsm.card.gp.cap import read_load_file
from opentsm.tsm.domain.card_content import (
    ApplicationSpecification,
    LoadFileReference,
    ServiceDescription,
)
from opentsm.tsm.domain.operation import Operation, OperationState

replace = msgspec.structs.replace

CAPS = Path(__file__).parents[2] / "src/opentsm/demo/caps"
BADGE_PACKAGE, BADGE_MODULE = Aid.from_hex("F04F54534D03"), Aid.from_hex("F04F54534D0301")
BADGE, SECOND_PURSE = Aid.from_hex("F04F54534D030101"), Aid.from_hex("F04F54534D020102")
PURSES = {PURSE, SECOND_PURSE}
APPLICATIONS = {"1.0.0": PURSES, "1.1.0": PURSES, "2.0.0": {PURSE, BADGE}, "3.0.0": {PURSE}}
ONE, TWO = {PURSE_PACKAGE}, {PURSE_PACKAGE, BADGE_PACKAGE}
LOAD_FILES = {"1.0.0": ONE, "1.1.0": ONE, "2.0.0": TWO, "3.0.0": ONE}
BALANCE = 1500


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


async def deployed(bench: Bench) -> None:
    """Deploy version 1.0.0 and credit its purse."""
    operation = await bench.deploy(bench.catalogue.versions["1.0.0"])
    assert (await bench.run(operation.id)).state is OperationState.SUCCEEDED
    credit = await bench.requests.top_up(
        bench.principal, bench.instance_id, amount=BALANCE, application=PURSE
    )
    assert (await bench.run(credit.id)).state is OperationState.SUCCEEDED


async def update(bench: Bench, version: str) -> Operation:
    return await bench.requests.update(bench.principal, bench.instance_id, version=version, data={})


def ask(bench: Bench, apdu: bytes) -> ResponseApdu:
    return ResponseApdu.parse(bench.card.transmit(apdu))


def balance(bench: Bench) -> int | None:
    """Return the purse's balance, or None when it cannot be selected."""
    bench.card.power_off()
    bench.card.power_on()
    if ask(bench, gp.select(PURSE).to_bytes()).sw != 0x9000:
        return None
    return int.from_bytes(ask(bench, purse.get_balance().to_bytes()).data, "big")


async def assert_holds(bench: Bench, version: str, where: str = "") -> None:
    """Card, picture and claims hold exactly what the version names."""
    instance = await bench.instance()
    assert instance.description.version_tag == version, where
    assert instance.renewal is None, where
    assert instance.sealed_data == b"", where
    bench.card.power_off()
    bench.card.power_on()
    image = bench.card.image()
    ours = {Aid(i.aid) for i in image.instances if i.aid not in bench.factory_instances}
    assert ours == {DOMAIN} | APPLICATIONS[version], where
    files = {Aid(f.aid) for f in image.load_files if f.aid not in bench.factory_load_files}
    assert files == LOAD_FILES[version], where
    async with bench.storage.transaction() as tx:
        picture = await tx.secure_elements.content(bench.se_id)
        claims = await tx.secure_elements.claims(bench.se_id)
        se = await tx.secure_elements.get(bench.se_id)
    assert se is not None
    assert se.active_operation_id is None, where
    assert {o.aid: o.state for o in picture.objects if o.aid in ours} == {
        Aid(i.aid): i.state for i in image.instances if Aid(i.aid) in ours
    }, where
    assert {claim.aid for claim in claims} == ours | files, where
    contents = {file.aid: file.sha256 for file in instance.description.load_files}
    assert {aid: picture.built[str(aid)] for aid in contents} == contents, where
