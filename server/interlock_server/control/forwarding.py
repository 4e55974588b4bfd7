"""Inference that arrives at the control process, handed to a worker."""

from __future__ import annotations

from collections.abc import Sequence

from interlock.errors import WorkerUnavailable

from interlock_server.control.workers import Workers
from interlock_server.rpc.inference_link import InferenceLink, Reply


class Forwarding:
    """Chooses a worker for each call: of those that answer, the one with the fewest calls of ours."""

    def __init__(self, links: Sequence[InferenceLink], workers: Workers, timeout_s: float) -> None:
        """Take the links in the order of the workers' indexes."""
        self._links = links
        self._workers = workers
        self.timeout_s = timeout_s
        self._in_flight = [0] * len(links)

    async def call(self, method: str, request: bytes) -> Reply:
        """Call a method of inference.GRPCInferenceService; raises what the worker answers, WorkerUnavailable."""
        answering = self._workers.reported.answering
        if not answering:
            raise WorkerUnavailable("no serving worker answers; try again in a moment")
        index = min(answering, key=self._in_flight.__getitem__)
        self._in_flight[index] += 1
        try:
            return await self._links[index].call(f"/inference.GRPCInferenceService/{method}", request, self.timeout_s)
        finally:
            self._in_flight[index] -= 1

    async def close(self) -> None:
        """Close the links. Idempotent."""
        for link in self._links:
            await link.close()
