"""A storage whose process dies at a chosen commit, before or after the database made it durable."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.machine.bench import CrashError

from opentsm.tsm.ports.unit_of_work import Storage, UnitOfWork


@dataclass
class CommitFault:
    """Die at the `at`-th commit from now (0: never); `durable` says whether it still takes effect."""

    at: int = 0
    durable: bool = False
    commits: int = 0

    async def commit(self, really: UnitOfWork) -> None:
        self.commits += 1
        if self.commits != self.at:
            await really.commit()
            return
        if self.durable:
            await really.commit()
        raise CrashError


class DyingUnitOfWork:
    """Everything of a unit of work, but its commit may be the last thing that the process does."""

    def __init__(self, really: UnitOfWork, fault: CommitFault) -> None:
        self._really = really
        self._fault = fault

    def __getattr__(self, name: str) -> object:
        return getattr(self._really, name)

    async def commit(self) -> None:
        await self._fault.commit(self._really)


class DyingStorage:
    """A storage with a fault in its commits."""

    def __init__(self, really: Storage, fault: CommitFault) -> None:
        self._really = really
        self._fault = fault

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[UnitOfWork]:
        async with self._really.transaction() as tx:
            yield DyingUnitOfWork(tx, self._fault)  # type: ignore[misc]
