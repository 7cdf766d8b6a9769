"""The client library against a server made of answers: tokens, retries, events, polling, errors."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from opentsm import sdk
from opentsm.sdk.errors import error_class

Json = dict[str, Any]
Answer = httpx.Response | Exception
FAST = sdk.Patience(attempts=4, first_s=0.0, cap_s=0.0)
START = {"processId": "p1", "callerId": "AB", "startDate": "2026-01-02T03:04:05.006Z"}
RESULT: Json = {
    "processInfo": {
        "processId": "p1",
        "executionStatus": 0,
        "executionMessage": "",
        "startDate": "2026-01-02T03:04:05.006Z",
        "endDate": "2026-01-02T03:04:06.000Z",
    },
    "serviceInstanceState": 21,
    "technicalInformation": {"serviceId": "s1", "serviceVersionTag": "1.0.0"},
    "serviceCommandResults": [{"commandExecutionStatus": 0, "personalizationResults": []}],
    "reader": "eSE1",
}
INSTANCE: Json = {"id": "i1", "state": 1, "technicalInformation": {"serviceId": "s1"}, "reader": "eSE1"}


def process(progress: int = 0, result: Json | None = None, operation: int = 10) -> Json:
    return {**START, "progress": progress, "operation": operation, "result": result}


def answer(document: object, status: int = 200) -> httpx.Response:
    return httpx.Response(status, json=document)


def refusal(status: int, number: int, message: str = "no") -> httpx.Response:
    document = {
        "title": "t",
        "detail": "d",
        "code": "c",
        "request_id": "r1",
        "advice": "do it",
        "tsm_error": {"type": number, "name": "N", "message": message},
    }
    return httpx.Response(status, json=document, headers={"Content-Type": "application/problem+json"})


def events(*named: tuple[str, object]) -> httpx.Response:
    text = ": hello\n\n" + "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in named)
    return httpx.Response(200, content=text.encode(), headers={"Content-Type": "text/event-stream"})


def progress(percent: int, operation: int = 10) -> tuple[str, object]:
    return "onProcessProgress", {"processId": "p1", "progress": percent, "operation": operation}


class Server:
    """Gives its answers in turn, and remembers the requests."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        found = self.answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    @property
    def lines(self) -> list[str]:
        return [f"{request.method} {request.url.raw_path.decode()}" for request in self.requests]


def issued(token: str, seconds: float = 100.0) -> httpx.Response:
    return answer({"token": token, "id": "ab", "expires_in": seconds}, 201)


class Told(sdk.ProcessListener):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.notices: list[object] = []

    def on_process_start(self, process_start_info: sdk.ProcessStart) -> None:
        self.notices.append(("start", process_start_info.process_id, process_start_info.caller_id))

    def on_process_progress(self, process_progress_info: sdk.ProcessProgress) -> None:
        self.notices.append((process_progress_info.progress, process_progress_info.operation.value))

    def on_process_result(self, result: sdk.ProcessResult) -> None:
        self.notices.append(("result", result.process_info.execution_status))


def service(
    server: Server, *, events: bool = True, access: Callable[[], str | Awaitable[str]] = lambda: "access"
) -> sdk.TsmApiService:
    made = sdk.TsmApiService(
        "https://tsm.example",
        device_token=lambda: "device",
        patience=FAST,
        events=events,
        transport=httpx.MockTransport(server),
    )
    made.set_access_token(access)
    return made


async def test_create_when_answered_then_an_instance_and_both_tokens_and_a_key_were_sent() -> None:
    server = Server(answer(INSTANCE, 201))
    async with service(server) as tsm:
        found = await tsm.create_service_instance("s1", "1.0.0")
    assert found.state is sdk.ServiceInstanceState.NOT_DEPLOYED
    assert found.technical_information.service_id == "s1"
    (request,) = server.requests
    assert server.lines == ["POST /v1/device-api/service-instances"]
    assert json.loads(request.content) == {"serviceId": "s1", "version": "1.0.0"}
    assert request.headers["Authorization"] == "Bearer access"
    assert request.headers["Device-Authorization"] == "Bearer device"
    assert request.headers["Idempotency-Key"]


async def test_token_callback_when_several_requests_are_sent_then_called_for_each() -> None:
    asked: list[int] = []

    async def give() -> str:
        asked.append(1)
        return f"token-{len(asked)}"

    server = Server(answer({"serviceInstances": [INSTANCE]}), answer({"serviceInstances": []}))
    async with service(server, access=give) as tsm:
        assert [one.id for one in await tsm.get_service_instances("s 1")] == ["i1"]
        assert await tsm.get_service_instances("s 1") == []
    assert [r.headers["Authorization"] for r in server.requests] == ["Bearer token-1", "Bearer token-2"]
    assert server.lines[0] == "GET /v1/device-api/service-instances?serviceId=s+1"


async def test_token_callback_when_it_fails_or_is_missing_then_not_authenticated_and_nothing_is_sent() -> (
    None
):
    def broken() -> str:
        raise OSError("no network")

    server = Server()
    async with service(server, access=broken) as tsm:
        with pytest.raises(sdk.NotAuthenticatedError, match="could not retrieve access token"):
            await tsm.get_service_instances("s1")
    bare = sdk.TsmApiService(
        "https://tsm.example", device_token=lambda: "d", transport=httpx.MockTransport(server)
    )
    async with bare:
        with pytest.raises(sdk.NotAuthenticatedError):
            await bare.get_service_instances("s1")
    assert server.requests == []


async def test_deploy_when_events_come_then_the_listener_is_told_in_order_and_the_result_returned() -> None:
    stream = events(("onProcessStart", START), progress(40), progress(90, 13), ("onProcessResult", RESULT))
    server, told = Server(answer(process(), 202), stream), Told()
    commands: list[sdk.ServiceCommand] = [
        sdk.InstallServiceCommand(),
        sdk.PersonalizeServiceCommand(personalization_data={"name": "Ada"}),
        sdk.ActivateServiceCommand(suspension_control=True),
    ]
    async with service(server) as tsm:
        result = await tsm.deploy_service("i/1", commands, True, told)
    assert told.notices == [("start", "p1", "AB"), (40, 10), (90, 13), ("result", 0)]
    assert result.service_instance_state is sdk.ServiceInstanceState.OPERATIONAL
    assert result.reader == "eSE1"
    assert json.loads(server.requests[0].content) == {
        "serviceCommands": [
            {"type": "install", "installationData": {}},
            {"type": "personalize", "personalizationData": {"name": "Ada"}},
            {"type": "activate", "suspensionControl": True},
        ],
        "finalizeDeployment": True,
    }
    assert server.lines == [
        "POST /v1/device-api/service-instances/i%2F1/deployments",
        "GET /v1/device-api/processes/p1/events",
    ]


async def test_events_when_the_stream_breaks_then_taken_up_again_and_nothing_is_told_twice() -> None:
    first = events(("onProcessStart", START), progress(10), progress(40))
    again = events(("onProcessStart", START), progress(40), progress(30), ("onProcessResult", RESULT))
    server = Server(answer(process(), 202), first, httpx.ReadError("cut"), again)
    told = Told()
    async with service(server) as tsm:
        await tsm.terminate_service("i1", told)
    assert told.notices == [("start", "p1", "AB"), (10, 10), (40, 10), ("result", 0)]


@pytest.mark.parametrize("events_wanted", [True, False])
async def test_process_when_no_events_come_through_then_polled(events_wanted: bool) -> None:
    polls = [answer(process(30)), answer(process(30)), answer(process(100, RESULT, 13))]
    page = [httpx.Response(200, text="<html>", headers={"Content-Type": "text/html"})]
    server, told = Server(answer(process(), 202), *(page if events_wanted else []), *polls), Told()
    async with service(server, events=events_wanted) as tsm:
        await tsm.update_service("i1", "2.0.0", [sdk.InstallServiceCommand()], False, told)
    assert told.notices == [("start", "p1", "AB"), (0, 10), (30, 10), (100, 13), ("result", 0)]
    assert server.lines[-1] == "GET /v1/device-api/processes/p1?wait=25"


async def test_events_when_streams_never_hold_then_polled() -> None:
    broken = [httpx.ConnectError("no")] * FAST.attempts
    server = Server(answer(process(), 202), *broken, answer(process(100, RESULT)))
    async with service(server) as tsm:
        await tsm.suspend_or_resume_service("i1", True)
    assert json.loads(server.requests[0].content) == {"suspensionControl": True}
    assert server.lines[-1].endswith("?wait=25")


async def test_process_when_it_fails_then_the_error_of_its_number_holds_the_result() -> None:
    info = {**RESULT["processInfo"], "executionStatus": 7, "executionMessage": "Secure component error: full"}
    failed = {**RESULT, "processInfo": info, "serviceInstanceState": 25}
    failed["serviceCommandResults"] = [{"commandExecutionStatus": 1}, {"commandExecutionStatus": 2}]
    server, told = Server(answer(process(), 202), events(("onProcessResult", failed))), Told()
    async with service(server) as tsm:
        with pytest.raises(sdk.SecureComponentError, match="full") as raised:
            await tsm.deploy_service("i1", [sdk.InstallServiceCommand()], False, told)
    assert raised.value.result is not None
    assert raised.value.result.service_instance_state is sdk.ServiceInstanceState.IN_ERROR
    statuses = [one.command_execution_status for one in raised.value.result.service_command_results]
    assert statuses == [sdk.CommandExecutionStatus.FAILED, sdk.CommandExecutionStatus.NOT_EXECUTED]
    assert told.notices[-1] == ("result", 7)


async def test_start_when_the_listener_refuses_it_then_the_process_is_cancelled() -> None:
    class Refuses(sdk.ProcessListener):
        def on_process_start(self, process_start_info: sdk.ProcessStart) -> None:
            raise RuntimeError("the app is going down")

    server = Server(answer(process(), 202), answer(process(), 202))
    async with service(server) as tsm:
        with pytest.raises(RuntimeError, match="going down"):
            await tsm.terminate_service("i1", Refuses())
    assert server.lines[-1] == "POST /v1/device-api/processes/p1/cancellations"


@pytest.mark.parametrize("number", [*range(1, 21), 100])
async def test_refusal_when_it_has_a_number_then_its_own_class(number: int) -> None:
    async with service(Server(refusal(409, number, "Not allowed: x"))) as tsm:
        with pytest.raises(sdk.TsmApiError) as raised:
            await tsm.create_service_instance("s1", "1.0.0")
    assert raised.value.error_type.value == number
    assert type(raised.value) is error_class(number)
    assert (raised.value.message, raised.value.advice) == ("Not allowed: x", "do it")
    assert raised.value.request_id == "r1"
    assert len({error_class(n) for n in [*range(1, 21), 100]}) == 21


async def test_refusal_when_it_is_no_document_of_the_tsm_then_still_an_error() -> None:
    async with service(Server(httpx.Response(404, text="nothing here"))) as tsm:
        with pytest.raises(sdk.UnspecifiedError, match="404"):
            await tsm.get_service_instances("s1")
    async with service(Server(httpx.Response(200, text="{}"))) as tsm:
        with pytest.raises(sdk.TsmInternalError):
            await tsm.get_service_instances("s1")


async def test_request_when_no_answer_comes_then_repeated_with_the_same_key() -> None:
    server = Server(
        httpx.ConnectError("no"),
        httpx.Response(503, text="later", headers={"Retry-After": "0"}),
        answer(INSTANCE, 201),
    )
    async with service(server) as tsm:
        await tsm.create_service_instance("s1", "1.0.0")
    keys = {request.headers["Idempotency-Key"] for request in server.requests}
    assert len(server.requests) == 3
    assert len(keys) == 1


async def test_request_when_no_answer_ever_comes_then_the_last_failure() -> None:
    async with service(Server(*[httpx.ConnectError("down")] * FAST.attempts)) as tsm:
        with pytest.raises(sdk.NetworkConnectionError, match="down"):
            await tsm.get_service_instances("s1")
    overloaded = [refusal(503, 18)] * FAST.attempts
    async with service(Server(*overloaded)) as tsm:
        with pytest.raises(sdk.OverloadProtectionError):
            await tsm.get_service_instances("s1")


async def test_checks_when_answered_then_version_and_technical_information() -> None:
    deployment = {
        "deploymentAvailable": True,
        "version": "1.3.0",
        "newTechnicalInformation": {"flavorId": "f"},
    }
    server = Server(answer(deployment), answer({"updateAvailable": False}))
    async with service(server) as tsm:
        found = await tsm.check_service_deployment_available("s1", "1.x.x")
        update = await tsm.check_service_update_available("i1", "x.x.x")
    assert found.version == "1.3.0"
    assert found.new_technical_information is not None
    assert found.new_technical_information.flavor_id == "f"
    assert not update.update_available
    assert update.new_version == ""
    assert server.lines == [
        "GET /v1/device-api/services/s1/deployment-available?version=1.x.x",
        "GET /v1/device-api/service-instances/i1/update-available?newVersion=x.x.x",
    ]


async def test_form_when_answered_then_fields_and_words() -> None:
    field = {
        "name": "door",
        "type": "ascii",
        "min": 0,
        "max": 8,
        "secret": False,
        "title": {"en": "Entrance"},
        "hint": {},
        "characters": "",
        "choices": [{"value": "MAIN", "title": {"en": "Main entrance"}}],
    }
    form = {
        "serviceId": "s1",
        "version": "1.0.0",
        "fields": [field],
        "messages": {"success": {"en": "Ready."}},
        "complete": True,
    }
    server = Server(answer(form))
    async with service(server) as tsm:
        found = await tsm.get_service_form("s1", "1.x.x")
    assert (found.fields[0].choices[0].value, found.messages["success"]["en"]) == ("MAIN", "Ready.")
    assert server.lines == ["GET /v1/device-api/services/s1/form?version=1.x.x"]


def test_client_when_tokens_would_travel_in_the_clear_then_refused() -> None:
    for url in ("http://tsm.example", "ftp://localhost", "tsm.example"):
        with pytest.raises(sdk.InvalidArgumentError):
            sdk.TsmApiService(url, device_token=lambda: "d")


def test_personalization_data_when_shown_then_names_only() -> None:
    assert "1234" not in repr(sdk.PersonalizeServiceCommand(personalization_data={"pin": "1234"}))


class Lingering(httpx.AsyncByteStream):
    """A stream whose end takes the loop some turns, as that of a real connection."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            yield self._data
        finally:
            for _ in range(2000):
                await asyncio.sleep(0)


def test_blocking_service_when_closed_after_a_process_then_no_task_is_left_pending(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = events(("onProcessStart", START), ("onProcessResult", RESULT))
    lingering = httpx.Response(200, headers=told.headers, stream=Lingering(told.content))
    server = Server(answer(process(), 202), lingering)
    tsm = sdk.BlockingTsmApiService(
        "https://tsm.example",
        device_token=lambda: "device",
        patience=FAST,
        transport=httpx.MockTransport(server),
    )
    tsm.set_access_token(lambda: "access")
    tsm.terminate_service("i1")
    tsm.close()
    gc.collect()
    assert caplog.messages == []  # asyncio tells of a task that is destroyed while it is pending


def test_blocking_service_when_called_without_a_loop_then_the_same_calls_and_errors() -> None:
    stream = events(("onProcessStart", START), progress(50), ("onProcessResult", RESULT))
    server = Server(
        answer(INSTANCE, 201), answer(process(), 202), stream, refusal(409, 13, "Not allowed: now")
    )
    told = Told()
    with sdk.BlockingTsmApiService(
        "https://tsm.example",
        device_token=lambda: "device",
        patience=FAST,
        transport=httpx.MockTransport(server),
    ) as tsm:
        tsm.set_access_token(lambda: "access")
        instance = tsm.create_service_instance("s1", "1.0.0")
        result = tsm.deploy_service(instance.id, [sdk.InstallServiceCommand()], False, told)
        assert result.process_info.process_id == "p1"
        with pytest.raises(sdk.NotAllowedError):
            tsm.terminate_service(instance.id)
    assert told.notices == [("start", "p1", "AB"), (50, 10), ("result", 0)]
    tsm.close()


async def test_process_when_an_app_comes_back_then_followed_to_its_end() -> None:
    server, told = Server(answer(process(60)), events(progress(70), ("onProcessResult", RESULT))), Told()
    async with service(server) as tsm:
        result = await asyncio.wait_for(tsm.follow_process("p1", told), 60)
    assert result.process_info.execution_status == 0
    assert told.notices == [("start", "p1", "AB"), (70, 10), ("result", 0)]


async def test_self_service_when_used_then_the_device_fetches_one_token_and_keeps_it() -> None:
    listed: Json = {"serviceInstances": []}
    server = Server(issued("own"), answer(listed), answer(listed))
    tsm = service(server)
    tokens = tsm.use_self_service("s1")
    for _ in range(2):
        assert await tsm.get_service_instances("s1") == []
    fetched, *calls = server.requests
    assert (fetched.url.path, json.loads(fetched.content)) == (
        "/v1/self-service-tokens",
        {"service_id": "s1"},
    )
    assert fetched.headers["Authorization"] == "Bearer device"
    assert "Device-Authorization" not in fetched.headers
    assert [call.headers["Authorization"] for call in calls] == ["Bearer own"] * 2
    assert tokens.held is not None
    assert "own" not in repr(tokens.held)


async def test_self_service_when_the_token_nears_its_end_then_renewed_and_a_kept_one_is_used() -> None:
    now = [1000.0]
    server = Server(issued("second"), issued("third"))
    backend = service(server)._backend
    held = sdk.HeldToken("first", renew_at=1010.0)
    tokens = sdk.SelfServiceToken(backend, {"service_id": "s1"}, held, lambda: now[0])
    found = []
    for now[0] in (1000.0, 1010.0, 1099.0, 1100.0):
        found.append(await tokens())
    assert found == ["first", "second", "second", "third"]


async def test_self_service_when_asked_at_once_then_fetched_once() -> None:
    server = Server(issued("own"))
    tokens = service(server).use_self_service(service_instance_id="i1")
    assert list(await asyncio.gather(tokens(), tokens())) == ["own", "own"]
    assert json.loads(server.requests[0].content) == {"service_instance_id": "i1"}


async def test_self_service_when_refused_then_the_errors_of_the_calls_and_429_is_final() -> None:
    for status, number, kind in (
        (404, 17, sdk.NotFoundError),
        (409, 13, sdk.NotAllowedError),
        (429, 18, sdk.OverloadProtectionError),
    ):
        server = Server(refusal(status, number))
        tsm = service(server)
        tsm.use_self_service("s1")
        with pytest.raises(kind):
            await tsm.get_service_instances("s1")
        assert len(server.requests) == 1
    with pytest.raises(sdk.InvalidArgumentError):
        service(Server()).use_self_service()
    with pytest.raises(sdk.InvalidArgumentError):
        service(Server()).use_self_service("s1", service_instance_id="i1")
