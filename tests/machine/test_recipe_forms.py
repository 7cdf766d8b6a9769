"""A service that asks its end user: the form, the service's parameters, and what gets onto the card.

The recipe is the example of docs/reference/personalization.md.
"""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.machine.provider_bench import BADGE, Json, ProviderBench
from tests.unit.vse.card_host import CardHost

from opentsm.card.crypto.kdf import sp800_108_cmac
from opentsm.card.crypto.secret import Secret
from opentsm.demo.terminals import door
from opentsm.tsm.domain.operation import OperationState, OperationType
from opentsm.tsm.domain.service import InstanceState
from opentsm.tsm.kernel.errors import InvalidInputError, NotFoundError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.vse.faults import TornError

PAGE = Path(__file__).parents[2] / "docs/reference/personalization.md"
MASTER = bytes(range(16))
DATA = {"door": "MAIN", "name": "Zoë 张"}


def documented(title: str) -> Any:
    """The recipe in the page's section of this title."""
    section = PAGE.read_text("utf-8").split(f"## {title}\n", 1)[1]
    found = re.search(r"```(?:json|text)\n(.*?)```", section, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[ProviderBench]:
    made = ProviderBench(dsn, tmp_path)
    await made.open()
    await made.seed()
    for name in ("badge-reader", "badge-proof"):
        await made.repository.scripts.import_application_key(made.provider, name, Secret(MASTER))
    yield made
    await made.close()


async def published(bench: ProviderBench, **changes: Json) -> Json:
    return await bench.publish(
        recipe=documented("A service without a provider's system"),
        service={"spParameters": {"site": "BERLIN", "floor": "1"}, **changes.get("service", {})},
        flavor={"spParameters": {"floor": "3"}},
    )


async def test_form_when_asked_for_then_the_users_fields_and_words(bench: ProviderBench) -> None:
    made = await published(bench)
    service = str(made["service"]["id"])
    form = await bench.repository.form(bench.provider, service, None, bench.profile_name)
    assert (form.version, form.flavor_id, form.complete) == ("1.0.0", made["flavor"]["id"], True)
    assert [(one.name, one.type, one.min, one.max) for one in form.fields] == [
        ("door", "ascii", 0, 8),
        ("name", "text", 1, 32),
    ]
    door_field, name = form.fields
    assert [one.value for one in door_field.choices] == ["MAIN", "SIDE"]
    assert name.title["de"] == "Ihr Name"
    assert set(form.messages) == {"success", "failure"}
    with pytest.raises(NotFoundError):
        await bench.repository.form(TenantId("other"), service, None, bench.profile_name)


async def test_data_when_only_the_users_are_given_then_the_service_gets_onto_the_card(
    bench: ProviderBench,
) -> None:
    _, operation = await bench.deploy_service(await published(bench), DATA)
    assert operation.state is OperationState.SUCCEEDED, operation.failure
    host = CardHost(bench.card)

    async def exchange(raw: bytes) -> bytes:
        return host.card.transmit(raw)

    def keys_of(badge_id: bytes) -> door.BadgeKeys:
        key = Secret(sp800_108_cmac(MASTER, b"OpenTSM app1", badge_id, 128))
        return door.BadgeKeys(key, key)

    opened = await door.open_door(exchange, BADGE, bytes(16), keys_of)
    # the flavor's parameter replaces the service's
    assert opened.rights == b"BERLIN/3/MAIN/" + "Zoë 张".encode()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"door": "BACK", "name": "A"}, "door is none of the choices"),
        ({"door": "MAIN", "name": "x" * 33}, "name must be printable characters, in UTF-8"),
        ({"door": "MAIN", "name": "a\nb"}, "name must be printable characters"),
        ({"door": "MAIN"}, "name is missing"),
    ],
)
async def test_data_when_the_user_gave_others_then_refused_with_the_field(
    bench: ProviderBench, data: dict[str, str], words: str
) -> None:
    with pytest.raises(InvalidInputError, match=words):
        await bench.deploy_service(await published(bench), data)


async def test_parameter_when_the_service_has_none_then_refused_before_anything_is_sent(
    bench: ProviderBench,
) -> None:
    made = await published(bench, service={"spParameters": {}})
    with pytest.raises(InvalidInputError, match="the service's parameter site"):
        await bench.deploy_service(made, DATA)
    assert bench.device.sent == 0


async def with_commands(bench: ProviderBench, *commands: Json) -> Json:
    recipe = documented("A service without a provider's system") | {"commands": list(commands)}
    return await bench.publish(recipe=recipe, service={"spParameters": {"site": "B", "floor": "1"}})


async def test_commands_when_a_recipe_has_them_then_sent_and_their_answers_kept(bench: ProviderBench) -> None:
    instance, operation = await bench.deploy_service(
        await with_commands(bench, *documented("Commands")), DATA
    )
    assert operation.state is OperationState.SUCCEEDED, operation.failure
    assert [(one.application, one.tag, one.command, one.response) for one in instance.kept_answers] == [
        (BADGE, "limit", "80E2880007600201057FFF00", "9000"),
        (BADGE, "tries", "80CA9F1700", "9F1701059000"),
    ]
    again = await bench.requests.change(bench.principal, instance.id, OperationType.ROTATE_KEYS)
    asked = [ins for ins, _ in bench.device.trace].count(0xCA)
    assert (await bench.run(again.id)).state is OperationState.SUCCEEDED
    assert not [line for line in (await bench.operation(again.id)).plan if "send commands" in line]
    assert asked


async def test_commands_when_the_application_refuses_one_then_in_error(bench: ProviderBench) -> None:
    unknown = {"to": "application", "cla": "80", "ins": "CA", "p1": "9F", "p2": "18", "le": 256}
    instance, operation = await bench.deploy_service(await with_commands(bench, unknown), DATA)
    assert operation.failure is not None
    assert (operation.state, operation.failure.status_word) == (OperationState.FAILED, "6A88")
    assert instance.state is InstanceState.IN_ERROR


async def test_commands_when_an_answer_is_lost_then_sent_again(bench: ProviderBench) -> None:
    made = await with_commands(bench, *documented("Commands"))
    await bench.deploy_service(made, DATA)
    last = bench.device.sent
    await bench.new_card()

    def torn(sent: int) -> None:
        if sent == last:
            raise TornError

    bench.device.after = torn
    instance, operation = await bench.deploy_service(made, DATA)
    assert operation.state is OperationState.SUCCEEDED, operation.failure
    assert [one.tag for one in instance.kept_answers] == ["limit", "tries"]
    assert bench.device.sent > last
