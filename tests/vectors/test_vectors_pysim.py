"""Vectors of osmocom pySim: real eUICC traces and an SCP02 session.

Source: pysim/tests/unittests/test_globalplatform.py (SCP02_Auth_Test, SCP03_Test_AES128_11 … AES256_33,
SCP03_KCV_Test); the values are copied from there. The status word of the answers is 9000.
"""

from dataclasses import dataclass, replace

import pytest

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.crypto.kcv import kcv_aes
from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import CardCryptogramError
from opentsm.card.gp.commands import initialize_update
from opentsm.card.gp.keys import StaticKeys
from opentsm.card.scp.channel import SecureChannel, SecurityLevel, parse_initialize_update
from opentsm.card.scp.scp03 import predict_initialize_update
from opentsm.card.scp.session import derive_session_keys, open_channel


@dataclass(frozen=True)
class Session:
    """One published session; hex throughout."""

    enc: str
    mac: str
    dek: str
    host_challenge: str
    initialize_update: str
    level: int
    external_authenticate: str
    plain: tuple[str, ...]
    wrapped: tuple[str, ...]
    aid: str = ""
    answers: tuple[str, ...] = ()
    opened: tuple[str, ...] = ()

    def static_keys(self) -> StaticKeys:
        enc, mac, dek = (Secret(bytes.fromhex(key)) for key in (self.enc, self.mac, self.dek))
        return StaticKeys(enc, mac, dek)

    def open(self) -> SecureChannel:
        init = parse_initialize_update(bytes.fromhex(self.initialize_update))
        host_challenge = bytes.fromhex(self.host_challenge)
        keys = derive_session_keys(self.static_keys(), init, host_challenge)
        return open_channel(keys, init, host_challenge)


SESSIONS = {
    "scp02-pysim-i15-cmac": Session(
        enc="100102030405060708090a0b0c0d0e0f",
        mac="101102030405060708090a0b0c0d0e0f",
        dek="102102030405060708090a0b0c0d0e0f",
        host_challenge="40a62c37fa6304f8",
        initialize_update="00000000000000000000700200016b4524abee7cf32ea3838bc148f3",
        level=0x01,
        external_authenticate="8482010010ba6961667737c5bcebece14c7d6a4376",
        plain=(
            "80f22002",
            "80ca006600",
            "80f220020a4f0212345c054f9f70c5",
            "80f28002024f0000",
        ),
        wrapped=(
            "84f220020814db34fa4341dca8",
            "84ca00660855ed7c5ff069512b00",
            "84f22002124f0212345c054f9f70c58fc1b380c4228af8",
            "84f280020a4f003b95f09317de6a4e00",
        ),
    ),
    "scp03-pysim-aes128_11": Session(
        enc="000102030405060708090a0b0c0d0e0f",
        mac="101112131415161718191a1b1c1d1e1f",
        dek="202122232425262728292a2b2c2d2e2f",
        host_challenge="b13e5f938fc108c4",
        initialize_update="000000000000000000003003703eb51047495b249f66c484c1d2ef1948000002",
        aid="a0000005591010ffffffff8900000100",
        level=0x11,
        external_authenticate="84821100107d5f5826a993ebc89eea24957fa0b3ce",
        plain=(
            "80e2910006bf3e035c015a00",
            "80f22002",
            "80ca006600",
            "80f220020a4f0212345c054f9f70c5",
            "80f28002024f0000",
        ),
        wrapped=(
            "84e291000ebf3e035c015a558d036518a2829700",
            "84f220020863a63f8959827fb2",
            "84ca006608a0c6a4a74166f7ce00",
            "84f22002124f0212345c054f9f70c52249b50272656536",
            "84f280020a4f00e91443f6dce6b8ed00",
        ),
        answers=("bf3e125a1089882119900000000000000000000005971be68992dbbdfa9000",),
        opened=("bf3e125a10898821199000000000000000000000059000",),
    ),
    "scp03-pysim-aes128_03": Session(
        enc="000102030405060708090a0b0c0d0e0f",
        mac="101112131415161718191a1b1c1d1e1f",
        dek="202122232425262728292a2b2c2d2e2f",
        host_challenge="8e1552d0513c60f3",
        initialize_update="0000000000000000000030037030760cd2c47c1dd395065fe5ead8a9d7000001",
        aid="a0000005591010ffffffff8900000100",
        level=0x03,
        external_authenticate="8482030010fd4721a14d9b07003c451d2f8ae6bb21",
        plain=(
            "80e2910006bf3e035c015a00",
            "80f22002",
            "80ca006600",
            "80f220020a4f0212345c054f9f70c5",
            "80f28002024f0000",
        ),
        wrapped=(
            "84e2910018ca9c00f6713d79bc8baa642bdff51c3f6a4082d3bd9ad26c00",
            "84f2200208c9811b11f1264cf1",
            "84ca006608e10ab60b3054798800",
            "84f22002184e2908bdb48b2315a55482e9e936ca122d6ecfae7d17416e",
            "84f28002180dd10a6b6193e5340b9e77d32d5a179cd710ac2773aefb2800",
        ),
        answers=("bf3e125a10898821199000000000000000000000059000",),
        opened=("bf3e125a10898821199000000000000000000000059000",),
    ),
    "scp03-pysim-aes128_33": Session(
        enc="000102030405060708090a0b0c0d0e0f",
        mac="101112131415161718191a1b1c1d1e1f",
        dek="202122232425262728292a2b2c2d2e2f",
        host_challenge="fdf38259a1e0de44",
        initialize_update="000000000000000000003003703b1aca81e821f219081cdc01c26b372d000003",
        aid="a0000005591010ffffffff8900000100",
        level=0x33,
        external_authenticate="84823300108c36f96bcc00724a4e13ad591d7da3f0",
        plain=(
            "80e2910006bf3e035c015a00",
            "80f22002",
            "80ca006600",
            "80f220020a4f0212345c054f9f70c5",
            "80f28002024f0000",
        ),
        wrapped=(
            "84e2910018267a85dfe4a98fca6fb0527e0dfecce4914e40401433c87f00",
            "84f2200208ac6a59024bed84cc",
            "84ca006608409912ad8fb7aed000",
            "84f22002185f3dafc3ac14c381536a488bf44e06d056df9d74dbd21e5a",
            "84f280021865165105be3373347d0424d4400af2ac393f569ec779389e00",
        ),
        answers=("f3ba2b1013aa6224f5e1c138d71805c569e5439b47576260b75fc021b25097cb2e68f8a0144975b99000",),
        opened=("bf3e125a10898821199000000000000000000000059000",),
    ),
    "scp03-pysim-aes192_11": Session(
        enc="000102030405060708090a0b0c0d0e0f0001020304050607",
        mac="101112131415161718191a1b1c1d1e1f1011121314151617",
        dek="202122232425262728292a2b2c2d2e2f2021222324252627",
        host_challenge="7396430b768b085b",
        initialize_update="000000000000000000003103708cfc23522ffdbf1e5df5542cac8fd866000003",
        aid="a0000005591010ffffffff8900000100",
        level=0x11,
        external_authenticate="84821100102145ed30b146f5db252fb7e624cec244",
        plain=(
            "80e2910006bf3e035c015a00",
            "80f22002",
            "80ca006600",
            "80f220020a4f0212345c054f9f70c5",
            "80f28002024f0000",
        ),
        wrapped=(
            "84e291000ebf3e035c015aff42cf801d14394400",
            "84f22002084584e4f6784811ee",
            "84ca006608937776ebe190fa3000",
            "84f22002124f0212345c054f9f70c59a52bddf3040368c",
            "84f280020a4f009804b11411f7393d00",
        ),
        answers=("bf3e125a1089882119900000000000000000000005162fbd33e04940a99000",),
        opened=("bf3e125a10898821199000000000000000000000059000",),
    ),
    "scp03-pysim-aes192_03": Session(
        enc="000102030405060708090a0b0c0d0e0f0001020304050607",
        mac="101112131415161718191a1b1c1d1e1f1011121314151617",
        dek="202122232425262728292a2b2c2d2e2f2021222324252627",
        host_challenge="69c65da8202bf19f",
        initialize_update="00000000000000000000310370b570a67be38446717729d6dd3d2ec5b1000001",
        aid="a0000005591010ffffffff8900000100",
        level=0x03,
        external_authenticate="848203001065df4f1a356a887905466516d9e5b7c1",
        plain=(
            "80e2910006bf3e035c015a00",
            "80f22002",
            "80ca006600",
            "80f220020a4f0212345c054f9f70c5",
            "80f28002024f0000",
        ),
        wrapped=(
            "84e2910018d2c6fb477c5d4afe4fd4d21f17eff10d3578ec1774a12a2d00",
            "84f2200208964e188f0b1bb697",
            "84ca006608f0820035a41d3e1800",
            "84f220021806b076ed452cd1fa84f77f5c08a146aa77a9286757dea791",
            "84f2800218d06527e39222dce091fabdb8e9b898417a67a6852d3577db00",
        ),
        answers=("bf3e125a10898821199000000000000000000000059000",),
        opened=("bf3e125a10898821199000000000000000000000059000",),
    ),
    "scp03-pysim-aes192_33": Session(
        enc="000102030405060708090a0b0c0d0e0f0001020304050607",
        mac="101112131415161718191a1b1c1d1e1f1011121314151617",
        dek="202122232425262728292a2b2c2d2e2f2021222324252627",
        host_challenge="9b3f2eef0e8c9374",
        initialize_update="00000000000000000000310370f6bb305a15bae1a68f79fb08212fbed7000002",
        aid="a0000005591010ffffffff8900000100",
        level=0x33,
        external_authenticate="84823300109100bc22d58b45b86a26365ce39ff3cf",
        plain=(
            "80e2910006bf3e035c015a00",
            "80f22002",
            "80ca006600",
            "80f220020a4f0212345c054f9f70c5",
            "80f28002024f0000",
        ),
        wrapped=(
            "84e29100188f7f946c84f70d17994bc6e8791251bb1bb1bf02cf8de58900",
            "84f2200208d5d97754b6b3d2ba",
            "84ca006608516c82b8e30adbeb00",
            "84f2200218cc247f4761e6944277a4e0d6e32e44025b1e31537e2fc668",
            "84f2800218ba22b63d509bef5d093b43e5eaed03ed23144ab2d9cb51de00",
        ),
        answers=("c05176c1b6f72aae50c32cbee63b0e95998928fd4dfb2be9f27ffde8c8476f5909b4805cc40395999000",),
        opened=("bf3e125a10898821199000000000000000000000059000",),
    ),
    "scp03-pysim-aes256_11": Session(
        enc="000102030405060708090a0b0c0d0e0f000102030405060708090a0b0c0d0e0f",
        mac="101112131415161718191a1b1c1d1e1f101112131415161718191a1b1c1d1e1f",
        dek="202122232425262728292a2b2c2d2e2f202122232425262728292a2b2c2d2e2f",
        host_challenge="11666d57866c6f54",
        initialize_update="0000000000000000000032037053ea8847efa7674e41498a4d66cf0dee000003",
        aid="a0000005591010ffffffff8900000100",
        level=0x11,
        external_authenticate="84821100102f2ad190eff2fafc4908996d1cebd310",
        plain=(
            "80e2910006bf3e035c015a00",
            "80f22002",
            "80ca006600",
            "80f220020a4f0212345c054f9f70c5",
            "80f28002024f0000",
        ),
        wrapped=(
            "84e291000ebf3e035c015af4b680372542b59d00",
            "84f2200208d618b7da68d5fe52",
            "84ca0066088f3e055db23ad5e500",
            "84f22002124f0212345c054f9f70c5b6e15cc42404915e",
            "84f280020a4f00aa124aa74afe7f7500",
        ),
        answers=("bf3e125a10898821199000000000000000000000058012dd7f01f1c4c19000",),
        opened=("bf3e125a10898821199000000000000000000000059000",),
    ),
    "scp03-pysim-aes256_03": Session(
        enc="000102030405060708090a0b0c0d0e0f000102030405060708090a0b0c0d0e0f",
        mac="101112131415161718191a1b1c1d1e1f101112131415161718191a1b1c1d1e1f",
        dek="202122232425262728292a2b2c2d2e2f202122232425262728292a2b2c2d2e2f",
        host_challenge="c6066990fc426e1d",
        initialize_update="000000000000000000003203708682cd81bbd8919f2de3f2664581f118000001",
        aid="a0000005591010ffffffff8900000100",
        level=0x03,
        external_authenticate="848203001077c493b632edadaf865a1e64acc07ce9",
        plain=(
            "80e2910006bf3e035c015a00",
            "80f22002",
            "80ca006600",
            "80f220020a4f0212345c054f9f70c5",
            "80f28002024f0000",
        ),
        wrapped=(
            "84e29100183ddaa60594963befaada3525b492ede23c2ab2c1ce3afe4400",
            "84f2200208480ddc8e419da38d",
            "84ca0066083e9d6a6c0b2d732000",
            "84f22002183ebfef2da8b04af2a85f491f299b76973df76ff08a4031be",
            "84f2800218783fff80990f5585b1055010ea95094a26e4a8f1ef4b18e100",
        ),
        answers=("bf3e125a10898821199000000000000000000000059000",),
        opened=("bf3e125a10898821199000000000000000000000059000",),
    ),
    "scp03-pysim-aes256_33": Session(
        enc="000102030405060708090a0b0c0d0e0f000102030405060708090a0b0c0d0e0f",
        mac="101112131415161718191a1b1c1d1e1f101112131415161718191a1b1c1d1e1f",
        dek="202122232425262728292a2b2c2d2e2f202122232425262728292a2b2c2d2e2f",
        host_challenge="97b2055fe58599fd",
        initialize_update="00000000000000000000320370a8439a22cedf045fa9f1903b2834f26e000002",
        aid="a0000005591010ffffffff8900000100",
        level=0x33,
        external_authenticate="8482330010508a0fd959d2e547c6b33154a6be2057",
        plain=(
            "80e2910006bf3e035c015a00",
            "80f22002",
            "80ca006600",
            "80f220020a4f0212345c054f9f70c5",
            "80f28002024f0000",
        ),
        wrapped=(
            "84e29100187a5ef717eaf1e135ae92fe54429d0e465decda65f5fe5aea00",
            "84f2200208bcc5c17275545d93",
            "84ca00660804806aba9d543bb600",
            "84f2200218717222491556ec81a45f49ce48be33320024801a1c4cb0e0",
            "84f2800218561f105bccd3a1642904b251ccc1228beb80a82370a8637000",
        ),
        answers=("ea90dbfa648a67c5eb6abc57f8530b97d0cd5647c5e8732016b55203b078dd2ace7f8bc5d1c1cd999000",),
        opened=("bf3e125a10898821199000000000000000000000059000",),
    ),
}

# name: the command that began the session; its P1 is the key version asked for
INITIALIZE_UPDATES = {
    "scp02-pysim-i15-cmac": "805020000840a62c37fa6304f800",
    "scp03-pysim-aes128_11": "8050300008b13e5f938fc108c400",
    "scp03-pysim-aes128_03": "80503000088e1552d0513c60f300",
    "scp03-pysim-aes128_33": "8050300008fdf38259a1e0de4400",
    "scp03-pysim-aes192_11": "80503100087396430b768b085b00",
    "scp03-pysim-aes192_03": "805031000869c65da8202bf19f00",
    "scp03-pysim-aes192_33": "80503100089b3f2eef0e8c937400",
    "scp03-pysim-aes256_11": "805032000811666d57866c6f5400",
    "scp03-pysim-aes256_03": "8050320008c6066990fc426e1d00",
    "scp03-pysim-aes256_33": "805032000897b2055fe58599fd00",
}

KCVS = (
    ("000102030405060708090a0b0c0d0e0f", "c35280"),
    ("101112131415161718191a1b1c1d1e1f", "013808"),
    ("202122232425262728292a2b2c2d2e2f", "840de5"),
)


@pytest.mark.parametrize("name", SESSIONS)
def test_initialize_update_is_the_published_command(name: str) -> None:
    published = bytes.fromhex(INITIALIZE_UPDATES[name])
    command = initialize_update(published[2], bytes.fromhex(SESSIONS[name].host_challenge))
    assert command.to_bytes() == published


@pytest.mark.parametrize("name", SESSIONS)
def test_session_gives_the_published_commands_and_answers(name: str) -> None:
    session = SESSIONS[name]
    channel = session.open()
    opening = channel.external_authenticate(SecurityLevel(session.level))
    assert opening.to_bytes().hex() == session.external_authenticate
    wrapped = [channel.wrap(CommandApdu.parse(bytes.fromhex(plain))) for plain in session.plain]
    assert tuple(command.apdu.to_bytes().hex() for command in wrapped) == session.wrapped
    pairs = zip(session.answers, wrapped, strict=False)
    opened = (channel.unwrap(ResponseApdu.parse(bytes.fromhex(raw)), command.link) for raw, command in pairs)
    assert tuple(response.to_bytes().hex() for response in opened) == session.opened


@pytest.mark.parametrize("name", SESSIONS)
def test_session_with_another_key_is_refused(name: str) -> None:
    session = SESSIONS[name]
    other = replace(session, enc=session.enc[::-1], mac=session.mac[::-1])
    with pytest.raises(CardCryptogramError):
        other.open()


@pytest.mark.parametrize("name", [name for name, session in SESSIONS.items() if session.aid])
def test_prediction_gives_the_published_answer_to_initialize_update(name: str) -> None:
    session = SESSIONS[name]
    init = parse_initialize_update(bytes.fromhex(session.initialize_update))
    assert init.i is not None
    assert init.sequence_counter is not None
    predicted = predict_initialize_update(
        session.static_keys(),
        kdd=init.kdd,
        kvn=init.kvn,
        i=init.i,
        counter=init.sequence_counter,
        aid=bytes.fromhex(session.aid),
        host_challenge=bytes.fromhex(session.host_challenge),
    )
    assert predicted.to_bytes().hex() == session.initialize_update


@pytest.mark.parametrize(("key", "expected"), KCVS)
def test_kcv_of_aes_keys(key: str, expected: str) -> None:
    assert kcv_aes(bytes.fromhex(key)).hex() == expected
