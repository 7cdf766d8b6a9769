"""Idempotency-Key on every POST: the same key and request give the stored answer again.

The transaction that carries a request out also writes its key and what it did (`tsm.roles.hub.once`); the
answer is added afterwards. Twins in two processes and a crash in between therefore never carry a request out
twice: a key without an answer is answered anew from what was done.

Only success is kept: a refused request changed nothing and may be repeated. Answers that hold a secret
(`opt["secret_answer"]`) are sealed under a key that follows from the caller's own token, which the server
does not know. Source: draft-ietf-httpapi-idempotency-key-header.
"""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, cast

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from litestar import Request, Response
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from opentsm.api.authentication import bearer_token
from opentsm.api.bodies import read_body
from opentsm.api.container import CLAIM, ApiContainer, container_of
from opentsm.api.v1.recall import recall
from opentsm.tsm.domain.tenant import Principal
from opentsm.tsm.kernel.documents import from_json
from opentsm.tsm.kernel.errors import (
    ConflictError,
    IdempotencyConflictError,
    InvalidInputError,
    StaleVersionError,
)
from opentsm.tsm.roles.hub.once import Claim, Deed

HEADER = "Idempotency-Key"
SECRET_ANSWER = {"secret_answer": True}
STREAMED = {"streamed": True}
Recall: TypeAlias = Callable[[ApiContainer, HTTPScope, Deed], Awaitable[Response[Any] | None]]
LOCATED = {"located": True}  # what is made has a path of its own
MAX_KEY = 200
_LOOKS = 10  # for the answer of a twin that is about to be stored
_LOOK_AGAIN_S = 0.2
_DONE = 0  # the status of a request that was carried out and whose answer is not stored yet
_NONCE = bytes(12)  # every sealing key seals one answer


class StoredAnswer(msgspec.Struct, frozen=True):
    """An answer as it is given again."""

    headers: list[tuple[str, str]]
    body: bytes

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class AnswerLostError(ConflictError):
    """The request was carried out, but its answer held a secret and is lost."""

    code = "answer_lost"


class Idempotency:
    """Middleware behind the authentication; requests without the header pass through."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._locks: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, from the store if it was answered before."""
        key = _key(scope)
        principal = scope.get("user")
        if key is None or not isinstance(principal, Principal):
            await self._app(scope, receive, send)
            return
        http = cast("HTTPScope", scope)
        attempt = _Attempt(container_of(scope), http, principal, key, await read_body(http, receive))
        async with self._alone(principal.tenant_id, attempt.key):
            if not await attempt.replay(send):
                await self._first_time(attempt, send)

    async def _first_time(self, attempt: "_Attempt", send: Send) -> None:
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        attempt.scope["state"][CLAIM] = attempt.claim
        await self._app(attempt.scope, attempt.receive, keep)
        # a twin's deed can also show as a conflict with what it made
        if not attempt.claim.made and not _succeeded(messages) and await attempt.replay(send):
            return
        await attempt.remember(messages)
        for message in messages:
            await send(message)

    @asynccontextmanager
    async def _alone(self, tenant_id: str, key: str) -> AsyncIterator[None]:
        """Let twins of one request wait for each other."""
        name = (tenant_id, key)
        lock = self._locks[name]
        try:
            async with lock:
                yield
        finally:
            if not lock.locked():
                self._locks.pop(name, None)


class _Attempt:
    """One request with an idempotency key."""

    def __init__(
        self, container: ApiContainer, scope: HTTPScope, principal: Principal, key: str, body: bytes
    ) -> None:
        self.scope = scope
        # only its digest is stored: some callers make the key of what they send
        self.key = hashlib.sha256(f"{principal.device_id or ''}:{key}".encode()).hexdigest()
        self._container = container
        self._storage = container.storage
        self._principal = principal
        self._tenant_id = principal.tenant_id
        self._body = body
        self._sent = False
        target = f"{scope['method']} {scope['path']}?".encode() + scope["query_string"]
        self._digest = hashlib.sha256(hashlib.sha256(target).digest() + body).digest()
        self.claim = Claim(tenant_id=self._tenant_id, key=self.key, digest=self._digest)

    async def receive(self) -> Any:
        """Give the body that was read to the application."""
        if self._sent:
            return {"type": "http.disconnect"}
        self._sent = True
        return {"type": "http.request", "body": self._body, "more_body": False}

    async def replay(self, send: Send) -> bool:
        """Send the stored answer, if there is one, or make it anew.

        Raises:
            IdempotencyConflictError: the key was used for another request.
            AnswerLostError: the answer can be neither found nor made anew.
        """
        for _ in range(_LOOKS):
            found = await self._found()
            if found is None:
                return False
            status, response = found
            if status != _DONE:
                await self._send(send, status, response)
                return True
            if await self._made_anew(send, from_json(Deed, response)):
                return True
            await asyncio.sleep(_LOOK_AGAIN_S)
        raise AnswerLostError(
            advice="Use a new key; what the first request made can be listed, and revoked.", field=HEADER
        )

    async def _found(self) -> tuple[int, bytes] | None:
        async with self._storage.transaction() as tx:
            found = await tx.idempotency.find(self._tenant_id, self.key)
        if found is None:
            return None
        digest, status, response = found
        if digest != self._digest:
            raise IdempotencyConflictError(advice="Use a new key for a new request.", field=HEADER)
        return status, response

    async def _made_anew(self, send: Send, deed: Deed) -> bool:
        options = self.scope["route_handler"].opt
        own: Recall | None = options.get("recall")
        if own is not None:
            response = await own(self._container, self.scope, deed)
        else:
            response = await recall(
                self._container, self._principal, deed, with_instance=bool(options.get("with_instance"))
            )
        if response is None:
            return False
        response.headers["Idempotency-Replayed"] = "true"
        request: Request[Any, Any, Any] = Request(self.scope)
        await response.to_asgi_response(app=None, request=request)(self.scope, self.receive, send)
        return True

    async def _send(self, send: Send, status: int, response: bytes) -> None:
        answer = msgspec.msgpack.decode(self._opened(response), type=StoredAnswer)
        headers = [(name.encode(), value.encode()) for name, value in answer.headers]
        headers.append((b"idempotency-replayed", b"true"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body, "more_body": False})

    async def remember(self, messages: list[Message]) -> None:
        """Keep a successful answer."""
        start = next((m for m in messages if m["type"] == "http.response.start"), None)
        if start is None or not _succeeded(messages):
            return
        headers = [(name.decode(), value.decode()) for name, value in start["headers"]]
        body = b"".join(m["body"] for m in messages if m["type"] == "http.response.body")
        sealed = self._sealed(msgspec.msgpack.encode(StoredAnswer(headers=headers, body=body)))
        try:
            async with self._storage.transaction() as tx:
                await tx.idempotency.put(self._tenant_id, self.key, self._digest, start["status"], sealed)
                await tx.commit()
        except StaleVersionError:
            return  # a twin in another process was faster, or the database is away: this answer is good too

    def _sealed(self, answer: bytes) -> bytes:
        return AESGCM(self._secret()).encrypt(_NONCE, answer, self._digest) if self._is_secret else answer

    def _opened(self, stored: bytes) -> bytes:
        if not self._is_secret:
            return stored
        try:
            return AESGCM(self._secret()).decrypt(_NONCE, stored, self._digest)
        except InvalidTag as error:
            raise IdempotencyConflictError(
                "The key was used with another token, and the answer held a secret.",
                advice="Use a new key.",
                field=HEADER,
            ) from error

    @property
    def _is_secret(self) -> bool:
        return bool(self.scope["route_handler"].opt.get("secret_answer"))

    def _secret(self) -> bytes:
        token = bearer_token(self.scope["headers"])
        return HKDF(SHA256(), 32, salt=self._digest, info=self.key.encode()).derive(token.encode())


def _succeeded(messages: list[Message]) -> bool:
    return any(m["type"] == "http.response.start" and 200 <= m["status"] < 300 for m in messages)


def _key(scope: Scope) -> str | None:
    if (
        scope["type"] != ScopeType.HTTP
        or scope["method"] != "POST"
        or scope["route_handler"].opt.get("streamed")
    ):
        return None
    values = [value for name, value in scope["headers"] if name.lower() == HEADER.lower().encode()]
    if not values:
        return None
    key = values[0].decode("latin-1")
    if len(values) > 1 or not 1 <= len(key) <= MAX_KEY or not all("!" <= c <= "~" for c in key):
        raise InvalidInputError(f"{HEADER} must be 1 to {MAX_KEY} visible ASCII characters.", field=HEADER)
    return key
