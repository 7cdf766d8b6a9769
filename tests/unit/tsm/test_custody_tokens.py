"""Holes for tokens in a script, and what a custodian takes from the party that fills them."""

import pytest

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.crypto.secret import Secret
from opentsm.card.crypto.signature import AesMacKey
from opentsm.card.gp import commands as gp
from opentsm.card.gp.content_commands import with_reference
from opentsm.card.gp.tokens import sign_command, split_token
from opentsm.card.profiles import SeProfile
from opentsm.tsm.custody.tokens import TokenCustody, with_holes
from opentsm.tsm.domain.exchange import Expected
from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.compile import PlainCommand
from opentsm.tsm.engine.sessions import PlannedSession, SessionKind
from opentsm.tsm.kernel.errors import InvariantError, PeerFaultError
from opentsm.tsm.kernel.ids import OperationId, SegmentId, SeId, TenantId
from opentsm.tsm.ports.delegation import ReceiptAnswer, ReceiptRequest, TokenAnswer, TokenRequest
from opentsm.tsm.ports.peer import SegmentRequest

SD, ELF, APP = (Aid.from_hex(text) for text in ("F04F54534DF001", "F04F54534D02", "F04F54534D020101"))
PROVIDER, ISSUER = TenantId("provider"), TenantId("issuer")
PROFILE = SeProfile(name="test")
REFERENCE = bytes.fromhex("9310" + "01" * 16)


def plain(apdu: CommandApdu) -> PlainCommand:
    return PlainCommand(apdu, Expected(status_words=("9000",)), "")


LOAD = tuple(
    plain(one) for one in (gp.install_for_load(ELF, SD), *gp.load_blocks(bytes(300), block_size=200))
)
SCRIPT = [
    LOAD,
    (plain(gp.install_for_personalization(APP)), plain(gp.store_data(b"\x01", 0, last=True))),
    (plain(gp.install_for_make_selectable(APP)),),
    (plain(gp.lock(APP)),),
    (plain(gp.delete(ELF)),),
]


def request(tokens_by: TenantId | None = ISSUER) -> SegmentRequest:
    session = PlannedSession(
        kind=SessionKind.SECURE_CHANNEL,
        owner_id=PROVIDER,
        selected=SD,
        key_sd=SD,
        kvn=0x34,
        steps=(s.MakeSelectable(application=APP),),
        tokens_by=tokens_by,
    )
    return SegmentRequest(
        segment_id=SegmentId("segment"),
        operation_id=OperationId("operation"),
        se_id=SeId("se"),
        issuer_id=ISSUER,
        profile="test",
        session=session,
    )


class Signing:
    """A party that signs whatever it is asked, and may change it before."""

    def __init__(self, change: str = "") -> None:
        self.change = change
        self.asked: list[TokenRequest] = []

    async def issue_tokens(self, request: TokenRequest) -> TokenAnswer:
        self.asked.append(request)
        commands = [CommandApdu.parse(bytes.fromhex(one)) for one in request.commands]
        if self.change == "other":
            commands[0] = gp.delete(APP)
        signed = [
            sign_command(with_reference(one, REFERENCE), AesMacKey(Secret(bytes(16)))) for one in commands
        ]
        if self.change == "unsigned":
            signed[0] = with_reference(commands[0], REFERENCE)
        if self.change == "fewer":
            signed.pop()
        answers = [one.to_bytes().hex() for one in signed]
        if self.change == "rubbish":
            answers[0] = "80"
        return TokenAnswer(commands=tuple(answers))

    async def verify_receipts(self, request: ReceiptRequest) -> ReceiptAnswer:
        raise AssertionError


def test_holes_when_made_are_the_content_commands_and_a_loads_receipt_comes_with_its_last_block() -> None:
    holed = [command for step in with_holes(SCRIPT) for command in step]
    assert [(one.hole, one.receipt) for one in holed] == [
        (0, None), (None, None), (None, 0), (None, None), (None, None), (1, 1), (None, None), (2, 2),
    ]  # fmt: skip


async def test_script_when_filled_differs_by_references_and_tokens_only() -> None:
    signing = Signing()
    filled = await TokenCustody(PROVIDER, lambda _: signing).filled(request(), SCRIPT, PROFILE)
    assert [len(step) for step in filled] == [len(step) for step in SCRIPT]
    for before, after in zip(SCRIPT, filled, strict=True):
        for old, new in zip(before, after, strict=True):
            if new.hole is None:
                assert new.apdu == old.apdu
            else:
                assert len(split_token(new.apdu)[1]) == 16
    (asked,) = signing.asked
    assert (asked.request_id, asked.provider_id, asked.security_domain) == ("segment", PROVIDER, SD)
    assert len(asked.commands) == 3


@pytest.mark.parametrize("change", ["other", "unsigned", "fewer", "rubbish"])
async def test_script_when_something_else_comes_back_is_not_sent(change: str) -> None:
    with pytest.raises(PeerFaultError):
        await TokenCustody(PROVIDER, lambda _: Signing(change)).filled(request(), SCRIPT, PROFILE)


async def test_script_when_the_session_needs_no_tokens_stays_as_it_is() -> None:
    custody = TokenCustody(PROVIDER)
    assert await custody.filled(request(None), SCRIPT, PROFILE) == SCRIPT
    assert await custody.filled(request(), SCRIPT[1:2], PROFILE) == SCRIPT[1:2]
    with pytest.raises(InvariantError):
        await custody.filled(request(), SCRIPT, PROFILE)


async def test_script_when_a_token_makes_a_command_too_long_for_the_card_is_not_sent() -> None:
    small = SeProfile(name="small", max_command_data=64)
    with pytest.raises(PeerFaultError):
        await TokenCustody(PROVIDER, lambda _: Signing()).filled(request(), SCRIPT, small)
