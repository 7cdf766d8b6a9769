"""What the database holds of key sets: sources that only a keystore can turn into keys."""

import asyncpg
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap
from msgspec.structs import replace
from tests.contract.conftest import NewKeystore
from tests.contract.key_forms import forms
from tests.contract.storage_records import ISD, a_key_set, new_se_id, new_tenant_id

from opentsm.card.crypto.secret import Secret
from opentsm.tsm.adapters.storage.postgres import PostgresStorage
from opentsm.tsm.domain.secure_element import DiversifiedKeys, KeySource, WrappedKeys, key_set_context
from opentsm.tsm.kernel.ids import KeyHandle

MASTER, TRANSPORT = KeyHandle("isd/master"), KeyHandle("transport")
MASTER_KEY, TRANSPORT_KEY = bytes(range(0xA0, 0xB0)), bytes(range(0xC0, 0xE0))
STATIC_KEYS = bytes(range(0x30, 0x60))


async def test_key_sets_when_stored_then_the_row_holds_no_key_and_the_keystore_finds_it_again(
    storage: PostgresStorage, new_keystore: NewKeystore, dsn: str
) -> None:
    keystore = await new_keystore("issuer")
    await keystore.import_key(MASTER, Secret(MASTER_KEY))
    await keystore.import_key(TRANSPORT, Secret(TRANSPORT_KEY))
    owner_id, se_id = new_tenant_id(), new_se_id()
    place = key_set_context(se_id, ISD, 0x20)
    made = await keystore.generate_key_set(scp=3, key_length=16, context=place)
    wrapped = WrappedKeys(transport=TRANSPORT, blob=aes_key_wrap(TRANSPORT_KEY, STATIC_KEYS))
    sources: list[KeySource] = [
        made.source,
        wrapped,
        DiversifiedKeys(master=MASTER, method="KDF3", kdd=bytes(10)),
    ]
    async with storage.transaction() as work:
        for kvn, source in enumerate(sources, start=0x20):
            await work.key_sets.put(replace(a_key_set(owner_id, se_id, kvn=kvn), source=source))
        await work.commit()

    async with storage.transaction() as work:
        stored = await work.key_sets.list(owner_id, se_id)
    assert [key_set.source for key_set in stored] == sources
    assert await keystore.key_check_values(stored[0].bound, scp=3) == made.kcvs

    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch("SELECT k::text FROM key_sets k WHERE owner_id = $1", owner_id)
    await connection.close()
    dump = "\n".join(row[0] for row in rows).encode()
    exported = await keystore.export_key_set(made.bound, TRANSPORT)
    known = STATIC_KEYS + aes_key_unwrap(TRANSPORT_KEY, exported.blob)
    clear = [MASTER_KEY, TRANSPORT_KEY, *(known[at : at + 16] for at in range(0, len(known), 16))]
    assert len(rows) == 3
    for key in clear:
        assert not any(form in dump for form in forms(key))
