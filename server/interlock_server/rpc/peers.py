"""A worker's end of the internal services of the replica's other workers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from interlock.errors import DeadlineExceeded, InterlockError, PrepareFailed, WorkerUnavailable
from interlock.model import ServableStatus

from interlock_server.rpc.worker_link import Preparation, WorkerLink, WorkerReport
from interlock_server.snapshot import VersionSpec

log = logging.getLogger("interlock.peers")

_TIMEOUT_S: Final = 1.0
"""A worker that does not answer by then hangs: the control process will kill it."""
_BEYOND_S: Final = 1.0
"""What the answer of a load may take beyond the load's own time."""

T = TypeVar("T")


class Peers:
    """The other workers of this replica; one that does not answer is left out. Made and used on one event loop."""

    def __init__(self, links: Sequence[WorkerLink]) -> None:
        """Take a link to each of them."""
        self._links = links

    def __len__(self) -> int:
        return len(self._links)

    async def collect(self, method: str, request: bytes) -> tuple[bytes, ...]:
        """Return what they answer to a method of the inference port, each for itself; refusals are left out."""
        found = await asyncio.gather(*(self._try_ask(link, method, request) for link in self._links))
        return tuple(answer for answer in found if answer is not None)

    async def tell(self, method: str, request: bytes) -> None:
        """Have each of them change what a method changes; raises the first refusal, after all have answered."""
        asked = [self._answered(link, lambda link: link.ask(method, request, _TIMEOUT_S)) for link in self._links]
        for outcome in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def servables(self) -> tuple[tuple[ServableStatus, ...], ...]:
        """Return what each of them has loaded; one that takes no calls on the port yet is left out."""
        asked = (self._answered(link, lambda link: link.report(_TIMEOUT_S)) for link in self._links)
        reports: list[WorkerReport | None] = await asyncio.gather(*asked)
        return tuple(report.status.servables for report in reports if report is not None and report.settled)

    async def load(self, spec: VersionSpec, timeout_s: float) -> None:
        """Have a version loaded by each of them that keeps it; raises PrepareFailed."""

        async def prepare(link: WorkerLink) -> Preparation:
            return await link.prepare(spec, timeout_s + _BEYOND_S, if_kept=True)

        asked = (self._answered(link, prepare) for link in self._links)
        for link, prepared in zip(self._links, await asyncio.gather(*asked), strict=True):
            if prepared is not None and not prepared.ready and not prepared.dropped:
                raise PrepareFailed(spec.model, spec.version, f"{link.name}: {prepared.reason}")

    async def close(self) -> None:
        """Close the links. Idempotent."""
        for link in self._links:
            await link.close()

    async def _try_ask(self, link: WorkerLink, method: str, request: bytes) -> bytes | None:
        try:
            return await self._answered(link, lambda link: link.ask(method, request, _TIMEOUT_S))
        except InterlockError as error:
            log.debug("%s does not answer %s: %s", link.name, method, error.message)
            return None

    @staticmethod
    async def _answered(link: WorkerLink, call: Callable[[WorkerLink], Awaitable[T]]) -> T | None:
        try:
            return await call(link)
        except WorkerUnavailable:  # it ended, and will come back
            return None
        except DeadlineExceeded:
            log.warning("%s hangs and is left out", link.name)
            return None
