"""Scripts of a provider's own TSM on an arranged card: headers against the matrix of rights."""

import pytest
from tests.unit.tsm.roles.hub.test_arranged_permission import SERVICE, permission
from tests.unit.tsm.roles.hub.test_topology_arranged import CENTRAL, ISD, ISSUER, OTHER, THIRD

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.gp import commands
from opentsm.tsm.domain.conversation import ScriptFormat, ScriptLimits
from opentsm.tsm.engine.script_rules import Kind, Position, Reach, ScriptRefusedError, check_script
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.roles.hub.arrangements.script_rights import check_rights

APPLICATION = Aid.from_hex("F04F54535001")
LIMITS = ScriptLimits(apdus=20, script_bytes=4000, response_bytes=20000)
SECURED = 0x84


def wrapped(ins: int, p1: int, p2: int = 0x00) -> CommandApdu:
    """Make a command as it looks inside a session: header in the clear, data that nobody can read."""
    return CommandApdu(SECURED, ins, p1, p2, bytes(16))


def check(owner: TenantId, domain: Aid, *sent: CommandApdu) -> None:
    """Check a script that selects a domain and sends commands."""
    reach = Reach(
        own={domain: (Kind.SECURITY_DOMAIN, True)},
        others=frozenset(),
        domain_of={domain: domain},
        keys={domain: (0x31,)},
    )
    raw = [one.to_bytes() for one in (commands.select(domain), *sent)]
    checked = check_script(raw, Position(), reach, LIMITS, ScriptFormat.EXPANDED)
    check_rights(checked, owner, permission(OTHER))


# configuration 700, a provider's domain without Delegated Management: keys and personal data are its own
ALLOWED = {
    "PUT KEY": wrapped(0xD8, 0x31, 0x81),
    "STORE DATA": wrapped(0xE2, 0x80),
    "INSTALL for personalization": wrapped(0xE6, 0x20),
    "DELETE, of a key perhaps": wrapped(0xE4, 0x00),
    "SET STATUS of an application": wrapped(0xF0, 0x40, 0x80),
    "GET STATUS": wrapped(0xF2, 0x40),
    "GET DATA": wrapped(0xCA, 0x00, 0xE0),
}
REFUSED = {
    "INSTALL for load": wrapped(0xE6, 0x02),
    "INSTALL for install": wrapped(0xE6, 0x04),
    "INSTALL for install and make selectable": wrapped(0xE6, 0x0C),
    "INSTALL for install, of several": wrapped(0xE6, 0x84),
    "INSTALL for extradition": wrapped(0xE6, 0x10),
    "INSTALL for registry update": wrapped(0xE6, 0x40),
    "INSTALL for nothing": wrapped(0xE6, 0x00),
    "LOAD": wrapped(0xE8, 0x00),
    "SET STATUS of the card": wrapped(0xF0, 0x80, 0x7F),
    "an instruction that nobody knows": wrapped(0x2C, 0x00),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_script_when_the_provider_may_then_passed(name: str) -> None:
    check(OTHER, SERVICE, ALLOWED[name])


@pytest.mark.parametrize("name", REFUSED)
def test_script_when_the_provider_may_not_then_the_command_is_named(name: str) -> None:
    with pytest.raises(ScriptRefusedError, match="arrangement") as caught:
        check(OTHER, SERVICE, ALLOWED["GET STATUS"], REFUSED[name])
    assert caught.value.field == "/CommandAPDU/2"


def test_script_when_the_party_has_no_key_of_the_domain_then_refused() -> None:
    for owner, domain in ((THIRD, SERVICE), (OTHER, CENTRAL), (OTHER, ISD)):
        with pytest.raises(ScriptRefusedError):
            check(owner, domain, ALLOWED["PUT KEY"])


def test_script_when_the_issuer_locks_its_card_then_passed() -> None:
    check(ISSUER, ISD, REFUSED["SET STATUS of the card"])
