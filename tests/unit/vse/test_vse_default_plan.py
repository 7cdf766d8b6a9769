"""The default plan of the house: issuer, new domain with its own keys, content in it, in three sessions."""

import pytest
from tests.unit.vse.card_host import (
    INSTANCE,
    PACKAGE,
    SSD,
    CardHost,
    make_card,
    make_keys,
)

from opentsm.card.codec.dgi import encode_dgi
from opentsm.card.gp import commands
from opentsm.card.gp.instructions import StoreDataStructure
from opentsm.card.gp.keys import KeyType

KEYS = make_keys(0x66)
PROFILES = ["scp03-i70", "scp03-i60", "scp03-s16-i71", "scp02-i55", "scp02-i15"]


def host_for(profile: str) -> tuple[CardHost, int, KeyType, int]:
    host = CardHost(make_card(profile))
    if "s16" in profile:
        host.host_challenge = bytes(16)
    if profile.startswith("scp02"):
        return host, 0x03, KeyType.DES, 0x21
    return host, 0x33, KeyType.AES, 0x31


@pytest.mark.parametrize("first_keys", ["forwarded", "inherited"])
@pytest.mark.parametrize("profile", PROFILES)
def test_default_plan_and_back(profile: str, first_keys: str) -> None:
    host, level, kind, kvn = host_for(profile)
    option = int(profile[-2:], 16)
    host.authenticate(level=level, i=option)
    free = host.free_memory()

    # Session A: the issuer makes the domain, loads into it and installs.
    assert host.create_domain() == 0x9000
    if first_keys == "forwarded":
        host.ok(commands.install_for_personalization(SSD))
        group = host.key_group(KEYS, kvn, kind)
        host.ok(commands.store_data(group, 0, last=True, structure=StoreDataStructure.DGI))
    else:
        host.select(SSD)
        host.authenticate(level=level, i=option)
        assert host.put_keys(KEYS, kvn, key_type=kind).sw == 0x9000
        host.select()
        host.authenticate(level=level, i=option)
    assert host.states()[SSD] == 0x0F
    assert host.load(sd=SSD) == 0x9000
    assert host.install(selectable=False) == 0x9000

    # Session B: the domain personalizes under its own keys.
    host.select(SSD)
    host.authenticate(KEYS, level=level, kvn=kvn, i=option)
    assert host.load(package=PACKAGE) == 0x6985
    host.ok(commands.install_for_personalization(INSTANCE))
    for command in commands.store_data_blocks([(0x0101, bytes(60)), (0x0102, bytes(90))], block_size=100):
        host.ok(command)
    assert host.sw(commands.install_for_make_selectable(INSTANCE)) == 0x6985

    # Session C: the issuer makes it selectable.
    host.select()
    host.authenticate(level=level, i=option)
    host.ok(commands.install_for_make_selectable(INSTANCE))
    instance = host.card.image().instance(INSTANCE)
    assert instance is not None
    assert instance.store["block.00"][1:] == encode_dgi(0x0101, bytes(60))
    assert host.select(INSTANCE).sw == 0x9000

    # And back: everything goes, the memory returns.
    host.select()
    host.authenticate(level=level, i=option)
    host.ok(commands.delete(PACKAGE, related=True))
    host.ok(commands.delete(SSD))
    assert host.free_memory() == free
