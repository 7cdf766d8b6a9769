"""What a party of another TSM may send in its session: nothing that leaves it, or tries another's keys."""

import pytest

from opentsm.card.codec.aid import Aid
from opentsm.tsm.adapters.peers.relayed import objection_to_body, objection_to_opening
from opentsm.tsm.domain.exchange import Command, Expected
from opentsm.tsm.engine.sessions import PlannedSession, SessionKind
from opentsm.tsm.kernel.ids import TenantId

OWN, ISSUERS = "F04F54534DF001", "A000000151000000"


def session(kind: SessionKind) -> PlannedSession:
    own = Aid.from_hex(OWN)
    return PlannedSession(
        kind=kind, owner_id=TenantId("provider"), selected=own, key_sd=own, kvn=0x34, steps=()
    )


def select(aid: str, head: str = "00A40400") -> str:
    return f"{head}{len(aid) // 2:02X}{aid}"


def update(kvn: int) -> str:
    return f"8050{kvn:02X}00080102030405060708"


def commands(*apdus: str) -> tuple[Command, ...]:
    return tuple(Command(apdu=one, expected=Expected(status_words=("9000",)), meaning="x") for one in apdus)


def opening(kind: SessionKind, *apdus: str) -> str | None:
    return objection_to_opening(commands(*apdus), session(kind))


def test_opening_when_it_is_the_sessions_own_then_sent() -> None:
    assert opening(SessionKind.SECURE_CHANNEL, select(OWN), update(0x34)) is None
    assert opening(SessionKind.PLAIN, select(OWN), "00B0000000") is None
    # INITIALIZE of a purse has the instruction of INITIALIZE UPDATE, and another P2
    assert opening(SessionKind.PLAIN, select(OWN), "8050000205" + "00" * 5) is None
    assert opening(SessionKind.CONTINUED) is None


@pytest.mark.parametrize(
    "apdus",
    [
        (),
        (select(OWN),),
        (update(0x34),),
        (update(0x34), select(OWN)),
        (select(ISSUERS), update(0x34)),
        (select(OWN[:-2]), update(0x34)),
        (select(OWN, "00A40402"), update(0x34)),
        (select(OWN, "01A40400"), update(0x34)),
        (select(OWN), update(0x30)),
        (select(OWN), update(0)),
        (select(OWN), update(0x34), update(0x34)),
        (select(OWN), update(0x34), select(ISSUERS)),
        (select(OWN), update(0x34), "0070000001"),
        ("none", "none"),
    ],
    ids=[
        "nothing", "no session", "no selection", "turned round", "issuer's domain", "partial name",
        "next occurrence", "other channel", "issuer's version", "any version", "twice", "selects again",
        "opens a channel", "no command",
    ],
)  # fmt: skip
def test_opening_when_it_is_not_the_sessions_own_then_not_sent(apdus: tuple[str, ...]) -> None:
    assert opening(SessionKind.SECURE_CHANNEL, *apdus) is not None


def test_plain_opening_when_it_tries_keys_then_not_sent() -> None:
    assert opening(SessionKind.PLAIN, select(OWN), update(0x34)) is not None
    assert opening(SessionKind.PLAIN, select(ISSUERS), "00B0000000") is not None


@pytest.mark.parametrize(
    "apdu",
    [select(ISSUERS), select(OWN), update(0x30), "0070000001", "8170000001", "81CA006600", "zz", "00"],
    ids=["select", "select again", "keys", "channel", "class 81", "other channel", "no hex", "short"],
)
def test_body_when_it_leaves_the_session_then_not_sent(apdu: str) -> None:
    good = "84820100100102030405060708090A0B0C0D0E0F10"
    assert objection_to_body(commands(good)) is None
    assert objection_to_body(commands(good, apdu)) is not None
