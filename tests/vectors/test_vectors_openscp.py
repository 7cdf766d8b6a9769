"""Vectors of OpenSCP-Java: SCP03 at level 33 with AES-128, 192 and 256, S8 (i=70) and S16 (i=71).

Source: Samsung/OpenSCP-Java, src/test/java/com/samsung/openscp/testdata/{SmartCardScp03Aes*ModeEmulation,
InputTestData, OutputTestData}.java; the values are copied from there. Some answers are padded by more than a
block before encryption.
"""

from dataclasses import dataclass

import pytest

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import ResponseMacError
from opentsm.card.scp.channel import ResponseLink, SecurityLevel, StaticKeys, parse_initialize_update
from opentsm.card.scp.scp03 import Scp03Channel, derive_session_keys


@dataclass(frozen=True)
class Session:
    """One published session; hex throughout, status words included."""

    keys: tuple[str, str, str]
    host_challenge: str
    initialize_update: str
    external_authenticate: str
    commands: tuple[str, str, str]
    answers: tuple[str, str, str]

    def open(self) -> Scp03Channel:
        enc, mac, dek = (Secret(bytes.fromhex(key)) for key in self.keys)
        init = parse_initialize_update(ResponseApdu.parse(bytes.fromhex(self.initialize_update)).data)
        host_challenge = bytes.fromhex(self.host_challenge)
        keys = derive_session_keys(StaticKeys(enc, mac, dek), host_challenge, init.card_challenge)
        return Scp03Channel(keys, init, host_challenge)


# LIST_PACKAGES, LIST_APPLETS, LIST_ISSUER_DOMAIN: GET STATUS in the old format, case 3
PLAIN_COMMANDS = ("80f22000024f00", "80f24000024f00", "80f28000024f00")
PLAIN_ANSWERS = (
    "08a00000015141434c010010a0000002202003010101000000000006010010a0000002202003010101000000000011010005a000000248"
    "01009000",
    "0aa9a8a7a6a5a4a3a2a1a00f800aa0a1a2a3a4a5a6a7a8a9070009a00000015141434c00070010a0000002202003010301000000000011"
    "070007a000000248040007009000",
    "08a0000001510000000f9e9000",
)

SESSIONS = {
    "aes128-s8": Session(
        keys=(
            "1d72cd9283fd55162722c6beaa4dc187",
            "f4932ba02ffc3098d172790099d28382",
            "b4bdc610c3f6793708ff1132e2c5bf60",
        ),
        host_challenge="06f85b77251bf794",
        initialize_update="a1a012430585513120853003709ce033fa78e6b10ddc2dbe8974c8b0de00082a9000",
        external_authenticate="8482330010b08d6ce26b6cb3ccb411cf0296eb7b1d",
        commands=(
            "84f22000185230ba64388b4a40e0b4da5cc1df51c285e4020d99d5aed1",
            "84f24000181819d47b42bbe6b9449bbc2bd43a090dac1f2f0a52d9f34b",
            "84f280001809f07c3df47956b1052951fa28211ba7babc05c321d9b3bf",
        ),
        answers=(
            (
                "bd3292bfb1a23c4478e37292ba1edf438770ce472fb7611fbdbd1c981a27fa4780a81a95d93c05f9c4c94839"
                "ded0363cfea57ce2ecfb572b26f3474daeebbabc202942381f9755f59000"
            ),
            (
                "bb82442bb5cc8c839620615d1f163d3ddbc9357d68ef4bad997cfbb79a24c224a89488c44b25c3b23d489e4e"
                "58a309d438fdd6e453d0e07216541fb142b977a3a7d4c4048bbe2ba068f04a0a4a9c50bad232f8ca8ea1f40e"
                "9000"
            ),
            "31eb08363026463bad10af29f24301f1d9b8532067f9313d97fda39bbe6b6099befd623e1f79fb5d9000",
        ),
    ),
    "aes128-s16": Session(
        keys=(
            "1d72cd9283fd55162722c6beaa4dc187",
            "f4932ba02ffc3098d172790099d28382",
            "b4bdc610c3f6793708ff1132e2c5bf60",
        ),
        host_challenge="06f85b77251bf79406f85b77251bf794",
        initialize_update=(
            "a1a012430585513120853003710617a2c34d50b562f7decfc3dbf58a649ef733b7486d813c92e4ca61e5102f"
            "9100082a9000"
        ),
        external_authenticate="84823300201c6a43582f842a90d81ca4e970754664d8c0c6c340e007c5c6ebcdf4f7c065be",
        commands=(
            "84f2200020eb30913c363a6c1309d13adc765d9df1c44f207c2941b898a290f627b05ae990",
            "84f2400020f1ec5cf268d357692cd0faf186a1e6c79f68b473c4672c0a08f0437b16314698",
            "84f2800020a9ddd67660ecc75765c431cd69ad53a79202f01e13b24c15f4cff4c9b335eee5",
        ),
        answers=(
            (
                "05717c3ded78c6bb7aee55a68e66e0d7c90473c380a60755dd7b63ecf55fd0b4067612b43a0a05cda95e9122"
                "c91d8527a21681805c1a25aaa38994e15a6379df66ee234701c673c32daf5c54b11085c49000"
            ),
            (
                "d7b658f9308d59779672ce4e5d1b8e6bd2a5a90f745788daa817980bf84c2522b791382d5a095868c096ac6a"
                "851a98a028cbba7ac67d5f834f7969fe199b0dbba12ef90e27ccf95c062d27badafc3b03cfb6964ccbe3fc04"
                "b54efcd3b446b4469000"
            ),
            (
                "5a866565d1d0f35427e010043f82e8abca25c79a3caa41547838978f779563ffdea329e3abd1cba719a6d9c1"
                "3b7d45cc9000"
            ),
        ),
    ),
    "aes192-s8": Session(
        keys=(
            "1d72cd9283fd55162722c6beaa4dc1877f4c0cd0ecc15e05",
            "f4932ba02ffc3098d172790099d2838236f2e61068d56f44",
            "b4bdc610c3f6793708ff1132e2c5bf60523aeac06b32f204",
        ),
        host_challenge="06f85b77251bf794",
        initialize_update="a1a012430585513120853003709ce033fa78e6b10d6e7c64f962a822a400082a9000",
        external_authenticate="848233001063b6cefac0ec098333860788c65220ba",
        commands=(
            "84f2200018d9edcbcb7f69cb1ef0508e6ede933a6d80091e7d99cb3e51",
            "84f2400018cdc4b0480cf151c1132655133115a8ca1a89964f2554551c",
            "84f280001896800333fa638a32dbccbf4c7e52fbd5da469a954e1d58f6",
        ),
        answers=(
            (
                "99077b167d43a4f313b59b63cc23efd3b5158bdef8f24d85e250570a4aab81869a92307350267f0fbc2278fa"
                "3d34d2fd5d2b4e8c0362c01d082c76a17b80aea4ba5fb9d7da3bb3689000"
            ),
            (
                "ab7a97b6c673df3d95378d06b7b42e25d7c3b22d6d1a42299ffed17f5973950ec68c77700fc0194706747017"
                "8a1d06152ed648e95e8c3510b61cf0036dfd8c9f6fa167d32fdeb3f81a0e6b2bb35bcd4cd104692d131d7776"
                "9000"
            ),
            "e5e5761feff5c0c078adbc4e77b7290094c99183ac73cab99a7412d0194deffdd0895dcce662d9459000",
        ),
    ),
    "aes192-s16": Session(
        keys=(
            "1d72cd9283fd55162722c6beaa4dc1877f4c0cd0ecc15e05",
            "f4932ba02ffc3098d172790099d2838236f2e61068d56f44",
            "b4bdc610c3f6793708ff1132e2c5bf60523aeac06b32f204",
        ),
        host_challenge="06f85b77251bf79406f85b77251bf794",
        initialize_update=(
            "a1a012430585513120853003710617a2c34d50b562f7decfc3dbf58a64a378671d41e7f6e3f5254ca9d4c481"
            "a400082a9000"
        ),
        external_authenticate="848233002099033b5bb5246c859b9748e497edae8d9ebb7bd196ce4e3ebfc92343d69478ab",
        commands=(
            "84f220002032319e399171daf20fd8e8ecd1ce462569b7d5645aad98e537593ef48816db4b",
            "84f2400020161d4b6c1e2d790d66ea1e890adc3f45d59e2416d6dc553e8738c2ada182e583",
            "84f28000208bcc8139988a0f51441f6f8ff3c20a526cd783e30bec1d8cc9d7e3d43ae779a5",
        ),
        answers=(
            (
                "b6ab2fdb15b2d1a895b8329736c5af47d4b6b6aecbb73e327a91d300d4bf0f36ad710f7ff5505481f690efe3"
                "561e1c5335ef510b018d56d21d5f1ca9557ac9e225d04413baa39828273dbc4b00b0bf309000"
            ),
            (
                "3c24f511b4923f55de51925292beed9456359f54f01b3d0c6c30c5666030788fe6bd1345c802ae66e8cb06c9"
                "3e64cfe74590d83e85e8b1e06a7a750a48e8554b1db948bfd041432e824bcdd24aacd87f65a98615076cad34"
                "18bd67bfc1b4fc4c9000"
            ),
            (
                "b2332173a07f9ebe27edea0db5849b6cacc0f28a77da52ab9a1e151399abd07115ddb34c92c8da0ffe679fd8"
                "d7df0f369000"
            ),
        ),
    ),
    "aes256-s8": Session(
        keys=(
            "1d72cd9283fd55162722c6beaa4dc1877f4c0cd0ecc15e052aac39a99af9ad72",
            "f4932ba02ffc3098d172790099d2838236f2e61068d56f4401cc0374c25af8cb",
            "b4bdc610c3f6793708ff1132e2c5bf60523aeac06b32f204b851b6cc007c8d3c",
        ),
        host_challenge="06f85b77251bf794",
        initialize_update="a1a012430585513120853003709ce033fa78e6b10d8afa7267cb63740e00082a9000",
        external_authenticate="848233001050e003735f92228269a094ffc07429fd",
        commands=(
            "84f2200018bd57d1382ae8f66f7eb5f5991b92d1399044157c7dfd2761",
            "84f240001845d2b475c3eff8bbb254d0b6a8e6ca97cf5265d907a76070",
            "84f28000187083ca3ada0f76cf7b3ffac60abe13599d521ee7b9224c49",
        ),
        answers=(
            (
                "47d81041004b7e9208e3bef1372e7cde8cd995aef207f138c80d45156f2d36f2b15bdc9c4d6fdb9774344495"
                "ccc83ae7ba0b39c734bf9cebd07204aa5a67df2d7e663d55fc4944c09000"
            ),
            (
                "59e8dcfdc22d436336552128f790e1b383d6942ed4025f30fe8d95541e634e238bfd963d88df822d8ebcc127"
                "2a9d56c7d1cbc306039647fc4977eff562c0b8c01314b1c8b2d168a581a98c65b676b3ee4032e91a9c0858ec"
                "9000"
            ),
            "e58cb33a46f76909adddff0c2821f4f25f22b5553c534dc69000",
        ),
    ),
    "aes256-s16": Session(
        keys=(
            "1d72cd9283fd55162722c6beaa4dc1877f4c0cd0ecc15e052aac39a99af9ad72",
            "f4932ba02ffc3098d172790099d2838236f2e61068d56f4401cc0374c25af8cb",
            "b4bdc610c3f6793708ff1132e2c5bf60523aeac06b32f204b851b6cc007c8d3c",
        ),
        host_challenge="06f85b77251bf79406f85b77251bf794",
        initialize_update=(
            "a1a012430585513120853003710617a2c34d50b562f7decfc3dbf58a6499d2966cf09c9201fde8343e93fb18"
            "b400082a9000"
        ),
        external_authenticate="848233002071d1a091c5d24af177b00e69b1a32b4e30a5168cf8c86b19730df915ef82d8a7",
        commands=(
            "84f2200020dd3036dc4c636717702732abba185633873a933310002b25e386cf10a4e6b130",
            "84f2400020ec2f4f2dda358bf87c9a946d129d7c12f132c6a63cdad60e80526c9a6487580c",
            "84f28000207c873e7bdce82d67ec28783a3c3222c01e70d8c7a498ca3c7e348944f44a18b3",
        ),
        answers=(
            (
                "a5e7309dca3effa13d1aa03fe0d3e2ba8d04df15a6a26989150f512ed453f5dffb2a7e4ee4e2ffacefc09454"
                "35bcaf3a914a9f7bd66b4f82635b7757ae82b54262489b3b58224f99e846e2a8061b17329000"
            ),
            (
                "160229863b7636672f094a2c2e62f845d3a4a38c0fb9171af14fee433cf4c2fa10a6e4f1ec14e8792fe0a009"
                "720c290a64c2fd9183167bfff0ac4af516838de4e5a62b6ac4444ac81e5c73a6b7a57d6c55d2682b2f986c1f"
                "1fcd77ddaf69846c9000"
            ),
            (
                "90afb999d6499f47285b6319135f67f78d4ce73a3bd87f97de623488ba9dbc7549f27dff5b61e215a5c91f99"
                "d21682119000"
            ),
        ),
    ),
}


@pytest.mark.parametrize("name", SESSIONS)
def test_openscp_session_gives_the_published_commands_and_answers(name: str) -> None:
    session = SESSIONS[name]
    channel = session.open()
    assert channel.external_authenticate(SecurityLevel.FULL).to_bytes().hex() == session.external_authenticate
    wrapped = [channel.wrap(CommandApdu.parse(bytes.fromhex(plain))) for plain in PLAIN_COMMANDS]
    assert tuple(command.apdu.to_bytes().hex() for command in wrapped) == session.commands
    links = [ResponseLink.from_hex(command.link.to_hex()) for command in wrapped]
    answers = [ResponseApdu.parse(bytes.fromhex(raw)) for raw in session.answers]
    opened = [channel.unwrap(answer, link) for answer, link in zip(answers, links, strict=True)]
    assert tuple(answer.to_bytes().hex() for answer in opened) == PLAIN_ANSWERS


@pytest.mark.parametrize("name", SESSIONS)
def test_openscp_answer_to_another_command_is_refused(name: str) -> None:
    session = SESSIONS[name]
    channel = session.open()
    channel.external_authenticate(SecurityLevel.FULL)
    first, second = (channel.wrap(CommandApdu.parse(bytes.fromhex(plain))) for plain in PLAIN_COMMANDS[:2])
    answer = ResponseApdu.parse(bytes.fromhex(session.answers[1]))
    with pytest.raises(ResponseMacError):
        channel.unwrap(answer, first.link)
    assert channel.unwrap(answer, second.link).sw == 0x9000
