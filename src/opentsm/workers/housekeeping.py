"""Housekeeping: what a server does again and again, on every node, without being asked."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import structlog

from opentsm.tsm.bootstrap import Container, policy_of
from opentsm.tsm.kernel.errors import KeystoreError
from opentsm.tsm.ports.repositories import Expendable
from opentsm.tsm.roles.hub.retention import prune

log = structlog.get_logger("opentsm.housekeeping")

_KEYSTORES_S = 60.0


@dataclass(frozen=True, slots=True)
class Duty:
    """Something that is done at once, and again every `interval_s` seconds."""

    name: str
    interval_s: float
    work: Callable[[], Awaitable[None]]

    async def run(self, stop: asyncio.Event) -> None:
        """Do it until `stop` is set; an error ends the run."""
        while not stop.is_set():
            await self.work()
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self.interval_s)


Pruned = Callable[[Mapping[Expendable, int]], None]


def duties(parts: Container, on_pruned: Pruned | None = None) -> list[Duty]:
    """Return the duties of a server; `on_pruned` hears how much of each kind was removed."""
    return [retention_duty(parts, on_pruned), checkpoint_duty(parts), keystore_duty(parts)]


def retention_duty(parts: Container, on_pruned: Pruned | None = None) -> Duty:
    """Return the duty that removes what has served its purpose, and logs how much that was."""
    settings = parts.settings.retention

    async def work() -> None:
        removed = await prune(parts.storage, policy_of(settings), parts.world.now())
        if on_pruned is not None:
            on_pruned(removed)
        counts = {what.value: count for what, count in removed.items() if count}
        if counts:
            log.info("retention.pruned", **counts)

    return Duty("retention", settings.interval_s, work)


def checkpoint_duty(parts: Container) -> Duty:
    """Return the duty that signs where the audit stands.

    The log line is a copy of the checkpoint outside the database: kept elsewhere, it shows that the newest
    checkpoints were not removed.
    """

    async def work() -> None:
        written = await parts.write_checkpoint()
        if written is not None:
            log.info(
                "audit.checkpoint",
                number=written.number,
                heads=written.heads,
                digest=written.own_digest().hex(),
                signature=written.signature.hex(),
            )

    return Duty("audit checkpoint", parts.settings.retention.checkpoint_interval_s, work)


def keystore_duty(parts: Container) -> Duty:
    """Return the duty that forgets the keys that another process erased, of parties that nobody uses here."""

    async def work() -> None:
        try:
            await parts.refresh_keystores()
        except KeystoreError as error:  # whoever uses this keystore is told, and nobody else is to suffer
            log.error("keystore.unreadable", detail=error.detail)

    return Duty("keystores", _KEYSTORES_S, work)
