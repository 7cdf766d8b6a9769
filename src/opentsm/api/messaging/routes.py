"""The routes under `/v1/messaging/`: one POST a function, with the standard's envelope around every answer.

`FunctionCallIdentifier` is what `Idempotency-Key` is elsewhere: the transaction that carries a call out also
writes its identifier, and a repeated call is answered anew from what was done.
"""

import hashlib
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router
from litestar.exceptions import ClientException, HTTPException, SerializationException
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter

from opentsm.api.authentication import BearerAuthentication, Caller
from opentsm.api.bodies import PARTY_BYTES
from opentsm.api.container import Services, container_of
from opentsm.api.drain import MAX_WAIT_S, Waits
from opentsm.api.json_request import read_json
from opentsm.api.messaging.functions import FUNCTIONS
from opentsm.api.messaging.records import (
    ExecutionStatus,
    Message,
    RequestMessage,
    ResponseMessage,
    StatusCode,
)
from opentsm.api.messaging.status_codes import subject_and_reason
from opentsm.api.messaging.table import Call, Function, Reply
from opentsm.api.problems import Problem, problem_response
from opentsm.api.v1 import exactness
from opentsm.tsm.kernel.documents import from_json
from opentsm.tsm.kernel.errors import IdempotencyConflictError, TsmError
from opentsm.tsm.roles.hub.once import Claim, Deed

PATH = "/v1/messaging"
AnyRequest = Request[Any, Any, Any]
Wait = Annotated[
    float | None,
    QueryParameter(ge=0, le=MAX_WAIT_S, description="seconds to wait for what takes longer"),
]
_LOOKS = 2


def router() -> Router:
    """Return the routes; `description.py` describes them, from the same table."""
    return Router(
        PATH,
        route_handlers=[_handler(function) for function in FUNCTIONS],
        middleware=[BearerAuthentication, exactness.Exactness],
        exception_handlers={Exception: failed},
        request_max_body_size=PARTY_BYTES,
        include_in_schema=False,
    )


def _handler(function: Function) -> HTTPRouteHandler:
    async def serve(
        request: AnyRequest, principal: Caller, container: Services, drain: Waits, wait: Wait = None
    ) -> Response[bytes]:
        started = container.world.now()
        body = await _body(request, function.takes)
        assert isinstance(body, RequestMessage)
        call = Call(principal, container, drain, wait, body.ValidityPeriod)
        reply = await _carried_out(function, call, body)
        return _answer(reply, started, container.world.now(), body.FunctionCallIdentifier)

    return HTTPRouteHandler(
        f"/{function.name}",
        http_method="POST",
        status_code=200,
        name=f"messaging{function.name}",
        opt={"call_identifier": True},
    )(serve)


async def _body(request: AnyRequest, kind: type[Message]) -> Message:
    named = request.headers.get("content-type")
    if named is not None and named.partition(";")[0].strip().lower() != "application/json":
        raise HTTPException("The body must be application/json.", status_code=415)
    try:
        found: Message = read_json(await request.body(), kind)
    except SerializationException as error:
        raise ClientException(str(error)) from error
    return found


async def _carried_out(function: Function, call: Call, body: RequestMessage) -> Reply:
    if function.ask is not None:
        return await function.ask(call, body)
    assert function.act is not None
    assert function.tell is not None
    if body.FunctionCallIdentifier is None:
        return await function.tell(call, await function.act(call, body))
    claim = _claim(function, call, body, body.FunctionCallIdentifier)
    subject = await _subject(call, claim)
    if subject is None:
        subject = await _once(function, call, body, claim)
    return await function.tell(call, subject)


async def _once(function: Function, call: Call, body: RequestMessage, claim: Claim) -> str:
    """Act under a claim; a twin that was faster may also show as a conflict with what it did."""
    assert function.act is not None
    try:
        return await function.act(call.on(call.container.once(claim)), body)
    except TsmError:
        found = None if claim.made else await _subject(call, claim)
        if found is None:
            raise
        return found


def _claim(function: Function, call: Call, body: RequestMessage, identifier: str) -> Claim:
    key = hashlib.sha256(f"messaging:{identifier}".encode()).hexdigest()
    document = msgspec.json.encode(body, order="sorted")
    digest = hashlib.sha256(function.name.encode() + b"\0" + document).digest()
    return Claim(tenant_id=call.principal.tenant_id, key=key, digest=digest)


async def _subject(call: Call, claim: Claim) -> str | None:
    """Return what an earlier call of this identifier did, if there was one.

    Raises:
        IdempotencyConflictError: that was another call.
    """
    async with call.container.storage.transaction() as tx:
        found = await tx.idempotency.find(claim.tenant_id, claim.key)
    if found is None:
        return None
    digest, _, deed = found
    if digest != claim.digest:
        raise IdempotencyConflictError(
            "The FunctionCallIdentifier was used for another call.",
            advice="Use a new one for a new call.",
            field="/FunctionCallIdentifier",
        )
    return from_json(Deed, deed).subject


# --- answers -----------------------------------------------------------------------------------------------


def _answer(
    reply: Reply, started: datetime, ended: datetime, identifier: str | None = None
) -> Response[bytes]:
    code = None
    if reply.code:
        subject, reason = subject_and_reason(reply.code)
        code = StatusCode(
            Subject=subject,
            Reason=reason,
            SubjectIdentifier=reply.subject or None,
            Message=reply.message or None,
        )
    document = ResponseMessage(
        FunctionCallIdentifier=identifier,
        ProcessingStart=started,
        ProcessingEnd=ended,
        FunctionExecutionStatus=ExecutionStatus(Status=reply.status, StatusCodeData=code),
        ResponseData=None if reply.data is None else msgspec.Raw(msgspec.json.encode(reply.data)),
    )
    return Response(
        msgspec.json.encode(document),
        status_code=reply.http,
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def failed(request: AnyRequest, error: Exception) -> Response[bytes]:
    """Turn any error into an envelope; its words and its HTTP status are the problem document's."""
    told = problem_response(request, error)
    problem: Problem = told.content
    message = " ".join(filter(None, (problem.detail, problem.advice)))
    expired = problem.code == "expired"
    reply = Reply(
        status="Expired" if expired else "Failed",
        code=problem.code,
        subject=problem.field or "",
        message=f"{message} ({problem.request_id})",
        http=problem.status,
    )
    now = container_of(request.scope).world.now()
    response = _answer(reply, now, now)
    response.headers.update(told.headers)
    return response
