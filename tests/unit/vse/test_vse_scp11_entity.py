"""As whom an off-card entity with a certificate is authenticated: the provider, or anybody.

Source: GPCS 2.3.1 §9.1.3.2, §10.4.2, Table 11-2.
"""

from hashlib import sha256

import pytest
from tests.unit.vse.card_host import (
    FACTORY_KEYS,
    INSTANCE,
    MODULE,
    PACKAGE,
    SD_MODULE,
    SD_PACKAGE,
    SSD,
    SSD_PRIVILEGES,
    CardHost,
    load_file,
    make_card,
    make_keys,
)
from tests.unit.vse.scp11_host import (
    KVN,
    Authority,
    CountedRandom,
    agree,
    generated,
    seeded_key,
    send_certificates,
    trust,
)

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.crypto.secret import Secret
from opentsm.card.crypto.signature import AesMacKey
from opentsm.card.gp import commands
from opentsm.card.gp.install_params import application_parameters, token_reference
from opentsm.card.gp.instructions import StatusTarget
from opentsm.card.gp.keys import KeyType, put_key_field
from opentsm.card.gp.privileges import Privilege
from opentsm.card.gp.tokens import sign_command
from opentsm.card.scp.scp11 import HostKeys, SessionParameters, Variant

ROOT = Authority(0x51)
STATIC = seeded_key(0x61)
KEYS = HostKeys(seeded_key(0x62), STATIC)
DOMAIN_KEYS = make_keys(0x66)
TOKEN_KEY, OTHER_KEY = (AesMacKey(Secret(bytes([n]) * 16)) for n in (0x71, 0x72))
PROVIDER, STRANGER = b"Provider", b"Somebody"
AM, DM = Privilege.AUTHORIZED_MANAGEMENT, Privilege.DELEGATED_MANAGEMENT
AUTHENTICATED, ANY_AUTHENTICATED, FULL_PROTECTION = 0x80, 0x40, 0x33


def domain_with_provider(
    *,
    registered: bytes = PROVIDER,
    management: Privilege = AM,
    variant: Variant = Variant.A,
    **changes: object,
) -> tuple[CardHost, bytes]:
    """A host that has selected SSD, whose provider is registered, and the domain's public key for SCP11."""
    profile = {"base": "scp11-p256", "name": "test", "scp11_provider": "subject", **changes}
    host = CardHost(make_card(profile, random=CountedRandom()))
    host.authenticate(FACTORY_KEYS)
    assert host.dek is not None
    token_field = put_key_field(TOKEN_KEY.key, KeyType.AES, host.dek)
    host.ok(commands.put_key(0x70, [token_field]))
    host.ok(commands.put_key(0x71, [token_field]))
    crt = token_reference(provider=registered)
    parameters = application_parameters(crt=crt)
    privileges = SSD_PRIVILEGES | management
    command = commands.install_for_install(
        SD_PACKAGE, SD_MODULE, SSD, privileges, parameters, make_selectable=True
    )
    host.ok(command)
    host.forward_keys(SSD, DOMAIN_KEYS)
    host.select(SSD)
    host.authenticate(DOMAIN_KEYS)
    trust(host, ROOT)
    point = generated(host, variant)
    host.select(SSD)
    return host, point


def agree_as(host: CardHost, subject: bytes, point: bytes, variant: Variant = Variant.A) -> None:
    """Open an SCP11 session; the certificate has this subject."""
    host.channel = None
    assert send_certificates(host, ROOT.certify(STATIC, subject=subject)) == 0x9000
    assert agree(host, SessionParameters(variant, KVN), KEYS, point) == 0x9000


def session_as(
    subject: bytes,
    *,
    registered: bytes = PROVIDER,
    management: Privilege = AM,
    variant: Variant = Variant.A,
    **changes: object,
) -> CardHost:
    """A host in an SCP11 session with SSD, whose provider is registered; its certificate has this subject."""
    host, point = domain_with_provider(
        registered=registered, management=management, variant=variant, **changes
    )
    agree_as(host, subject, point, variant)
    return host


def level(host: CardHost) -> int:
    """The security level that the card tells (tag D3)."""
    return host.ok(commands.get_data(0xD3))[-1]


@pytest.mark.parametrize("variant", [Variant.A, Variant.C])
@pytest.mark.parametrize(
    ("subject", "registered", "entity"),
    [
        (PROVIDER, PROVIDER, AUTHENTICATED),
        (STRANGER, PROVIDER, ANY_AUTHENTICATED),
        (PROVIDER[:-1], PROVIDER, ANY_AUTHENTICATED),
        (PROVIDER, b"", ANY_AUTHENTICATED),
        (b"", b"", ANY_AUTHENTICATED),
    ],
)
def test_certified_entity_when_the_subject_decides_is_the_provider_or_anybody(
    variant: Variant, subject: bytes, registered: bytes, entity: int
) -> None:
    host = session_as(subject, registered=registered, variant=variant)
    assert level(host) == entity | FULL_PROTECTION


def test_certified_entity_when_the_authority_decides_is_the_provider() -> None:
    host = session_as(STRANGER, scp11_provider="authority")
    assert level(host) == AUTHENTICATED | FULL_PROTECTION


@pytest.mark.parametrize(
    "command",
    [
        commands.get_status(0x40),
        commands.set_status(StatusTarget.APPLICATION, 0x80, SSD),
        commands.put_key(0x32, [bytes.fromhex("8810") + bytes(16) + b"\x00"]),
        commands.store_data(bytes.fromhex("4204F0000000"), 0, last=True),
        commands.delete_key(None, 0x31),
        commands.install_for_personalization(SSD),
        CommandApdu(0x80, 0xF1, 0x00, 0x11, bytes.fromhex("04F00100"), 256),
    ],
    ids=["GET STATUS", "SET STATUS", "PUT KEY", "STORE DATA", "DELETE key", "personalization", "F1"],
)
def test_stranger_when_authenticated_is_refused_what_only_the_provider_may(command: CommandApdu) -> None:
    """Table 11-2: AUTHENTICATED is the least for all of them."""
    host = session_as(STRANGER)
    assert host.sw(command) == 0x6982
    assert level(host) == ANY_AUTHENTICATED | FULL_PROTECTION


def install_load(host: CardHost, signer: AesMacKey | None) -> int:
    """INSTALL [for load] with or without a token."""
    command = commands.install_for_load(PACKAGE, None, hash=sha256(load_file()).digest())
    return host.sw(command if signer is None else sign_command(command, signer))


@pytest.mark.parametrize(
    ("subject", "management", "signer", "expected"),
    [
        (STRANGER, AM, TOKEN_KEY, 0x9000),
        (STRANGER, AM, OTHER_KEY, 0x6982),
        (STRANGER, AM, None, 0x6982),
        (PROVIDER, AM, None, 0x9000),
        (PROVIDER, AM, TOKEN_KEY, 0x6985),
        (STRANGER, DM, TOKEN_KEY, 0x9000),
        (STRANGER, DM, None, 0x6985),
        (PROVIDER, DM, TOKEN_KEY, 0x9000),
        (STRANGER, Privilege.NONE, TOKEN_KEY, 0x6985),
    ],
)
def test_content_management_when_asked_by_provider_or_stranger_follows_the_token(
    subject: bytes, management: Privilege, signer: AesMacKey | None, expected: int
) -> None:
    """§9.1.3.2: a stranger at an authorised domain needs the token that its provider must not send."""
    assert install_load(session_as(subject, management=management), signer) == expected


def test_stranger_when_every_step_has_its_token_brings_an_application_and_takes_it_away() -> None:
    host = session_as(STRANGER)
    assert install_load(host, TOKEN_KEY) == 0x9000
    for block in commands.load_blocks(load_file(), block_size=200):
        assert host.ok(block) == b"\x00"  # OPEN-29: no receipt after the token of an authorised domain
    install = commands.install_for_install(
        PACKAGE, MODULE, INSTANCE, Privilege.NONE, application_parameters(), make_selectable=True
    )
    assert host.sw(install) == 0x6982
    assert host.sw(sign_command(install, TOKEN_KEY)) == 0x9000
    assert host.sw(commands.delete(INSTANCE)) == 0x6982
    assert host.sw(sign_command(commands.delete(INSTANCE), TOKEN_KEY)) == 0x9000


def test_stranger_when_the_provider_has_announced_a_load_does_not_go_on_with_it() -> None:
    """§9.1.3.2: LOAD has no token of its own, INSTALL [for load] was the provider's."""
    host, point = domain_with_provider()
    agree_as(host, PROVIDER, point)
    assert install_load(host, None) == 0x9000
    agree_as(host, STRANGER, point)
    first, *_ = commands.load_blocks(load_file(), block_size=200)
    assert host.sw(first) == 0x6985
