"""Requests an operation, follows it to its end, and keeps what it cost."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Final

from opentsm.demo.cards import DemoCard
from opentsm.demo.errors import DemoError
from opentsm.demo.http_api import Caller, Json
from opentsm.demo.teller import Teller

TIMEOUT_S: Final = 60.0
_ENDED: Final = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})
_SHOWN: Final = ("id", "type", "state", "apdus", "round_trips", "bytes", "duration_ms", "plan")


@dataclass(slots=True)
class Operations:
    """All operations of the story."""

    teller: Teller
    documents: list[Json] = field(default_factory=list)

    async def run(
        self, text: str, caller: Caller, card: DemoCard, request: Awaitable[Json], *, service: str = ""
    ) -> Json:
        """Follow one operation while its card is kept from terminals.

        Args:
            text: the line of the story.
            caller: who asked for it.
            card: where it happens.
            request: asks for it, and gives the operation.
            service: name of the service.

        Raises:
            DemoError: it did not succeed.
        """
        async with card.lock:
            with self.teller.operation(text) as line:
                operation = await request
                line.show(text, operation)
                try:
                    async with asyncio.timeout(TIMEOUT_S):
                        while operation["state"] not in _ENDED:
                            operation = await caller.follow(operation)
                            line.show(text, operation)
                except TimeoutError:
                    raise DemoError(
                        f"the operation is still {operation['state']} after {TIMEOUT_S:.0f} s",
                        advice="the machine may be overloaded: try again when it is not",
                    ) from None
                self.note(operation, card, service)
                _require_success(operation)
        return operation

    def note(self, operation: Json, card: DemoCard, service: str = "") -> None:
        """Keep what an ended operation cost."""
        shown = {name: operation[name] for name in _SHOWN}
        self.documents.append({**shown, "service": service, "card": card.name, "se_id": card.id})


def _require_success(operation: Json) -> None:
    if operation["state"] == "SUCCEEDED":
        return
    failure = operation["failure"] or {}
    where = f" at «{failure['step']}»" if failure.get("step") else ""
    word = f", status word {failure['status_word']}" if failure.get("status_word") else ""
    raise DemoError(
        f"{operation['type']} {operation['state']}{where}: {failure.get('detail', 'no reason given')}{word}",
        advice=str(failure.get("advice") or ""),
    )
