"""Changes that are one transaction and move no alias: pins, alias removals, retirements, deletions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from interlock_registry.domain import Attempt, Committed
from interlock_registry.registry import Registry

from interlock_server.control.adoption import Adoption
from interlock_server.control.database import Database
from interlock_server.control.mutations import Mutations
from interlock_server.control.replica import Replica
from interlock_server.control.trusted import check_trusted


class Changing:
    """The use cases that change what is kept, or drop what nothing refers to."""

    def __init__(self, database: Database, mutations: Mutations, replica: Replica, adoption: Adoption) -> None:
        self._database = database
        self._mutations = mutations
        self._replica = replica
        self._adoption = adoption

    async def pin(self, attempt: Attempt) -> None:
        """Keep a version loaded without an alias; raises NotTrusted where policy refuses its signatures."""

        async def trusted() -> None:
            found = await self._database.read(lambda registry: registry.desired_version(attempt.model, attempt.version))
            check_trusted(self._replica.spec(found), "pinned")

        await self.change(attempt, lambda registry: registry.pin(attempt), trusted)

    async def change(
        self,
        attempt: Attempt,
        write: Callable[[Registry], Committed],
        check: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Make a change that is one transaction; `check` may refuse it before."""

        async def work() -> str:
            if check is not None:
                await check()
            await self._adoption.adopt(await self._database.write(write))
            return "{}"

        await self._mutations.run(attempt, work)
