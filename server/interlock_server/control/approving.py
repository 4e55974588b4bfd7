"""Approvals: who may move an alias on only when others agree, and their agreement."""

from __future__ import annotations

from interlock.approval import Approval, needed
from interlock.errors import FailedPrecondition
from interlock_registry.documents import ApprovalAnswer
from interlock_registry.domain import Attempt, Page

from interlock_server.control.database import Database
from interlock_server.control.mutations import Mutations
from interlock_server.settings import Settings


class Approving:
    """The use cases about approvals."""

    def __init__(self, settings: Settings, database: Database, mutations: Mutations) -> None:
        self._settings = settings
        self._database = database
        self._mutations = mutations

    @property
    def rules(self) -> tuple[str, ...]:
        """Which aliases want how many approvals."""
        return tuple(map(str, self._settings.approval_rules))

    def needed(self, model: str, alias: str) -> int:
        """Return how many approvals a promote takes."""
        return needed(self._settings.approval_rules, model, alias)

    async def approve(self, attempt: Attempt) -> Approval:
        """Agree, as the attempt's actor, that its alias may move on to its version."""

        async def work() -> str:
            self._check(attempt)
            lifetime_s = self._settings.approval_expires_s
            return await self._database.write(lambda registry: registry.approvals.give(attempt, lifetime_s=lifetime_s))

        return await self._told(await self._mutations.run(attempt, work))

    async def withdraw(self, attempt: Attempt) -> Approval:
        """Take back what the attempt's actor has agreed to."""

        async def work() -> str:
            self._check(attempt)
            return await self._database.write(lambda registry: registry.approvals.withdraw(attempt))

        return await self._told(await self._mutations.run(attempt, work))

    async def all(self, model: str | None, page_size: int, page_token: str) -> Page[Approval]:
        """List approvals, the newest first."""
        return await self._database.read(
            lambda registry: registry.approvals.all(model, page_size=page_size, page_token=page_token)
        )

    async def _told(self, answer: str) -> Approval:
        seq = ApprovalAnswer.from_json(answer).seq
        return await self._database.read(lambda registry: registry.approvals.one(seq))

    def _check(self, attempt: Attempt) -> None:
        if self._settings.auth == "off":
            raise FailedPrecondition(
                f"this server does not know who calls, so {attempt.actor} cannot approve anything; "
                "start it with --auth on"
            )
