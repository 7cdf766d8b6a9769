"""A command with a token that was torn: the registry says whether it took effect (GPCS 2.3.1 §9.1.3, §11.4).

Reading before repeating is enough: what GET STATUS shows as done is not ordered again, and what it does not
show is ordered with the same token.
"""

from collections.abc import Callable

import pytest
from tests.conformance.delegation import (
    SECOND,
    delegated,
    delegated_load,
    delete_fields,
    enter,
    extradition_fields,
    install_fields,
    scheme,
    signed_delete,
    signed_install,
)
from tests.unit.vse.card_host import INSTANCE, SSD, SSD2, CardHost

from opentsm.card.codec.apdu import CommandApdu

SIGNER = scheme("P-256").signer
INSTALL = signed_install(0x0C, 0x00, install_fields(), SIGNER)
DELETE = signed_delete(0x00, delete_fields(SECOND), SIGNER)
EXTRADITION = signed_install(0x10, 0x00, extradition_fields(SECOND, SSD2), SIGNER)


def installed(host: CardHost) -> bool:
    return bytes(INSTANCE) in host.states()


def deleted(host: CardHost) -> bool:
    return bytes(SECOND) not in host.states()


def extradited(host: CardHost) -> bool:
    return host.field_of(SECOND, 0xCC) == SSD2


def power_cycle(host: CardHost) -> None:
    host.card.power_off()
    host.card.power_on()


@pytest.mark.parametrize("executed", [False, True], ids=["cut before", "cut after"])
@pytest.mark.parametrize(
    ("command", "done"),
    [(INSTALL, installed), (DELETE, deleted), (EXTRADITION, extradited)],
    ids=["install", "delete", "extradition"],
)
def test_token_command_when_torn_is_settled_by_the_registry(
    command: CommandApdu, done: Callable[[CardHost], bool], executed: bool
) -> None:
    host = delegated()
    delegated_load(host, SIGNER)
    host.ok(signed_install(0x0C, 0x00, install_fields(SECOND), SIGNER))
    if executed:
        host.send(command)  # and nobody sees the answer
    power_cycle(host)
    enter(host)
    assert done(host) is executed
    enter(host, SSD)
    # A blind repetition would be refused, whatever the token, and read as a failure of what succeeded.
    again = host.sw(command)
    assert (again == 0x9000) is not executed
    enter(host)
    assert done(host)
