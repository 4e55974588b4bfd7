"""Methods that answer for all workers of a replica, whichever of them is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from google.protobuf.message import Message
from interlock.model import ServableState
from interlock.protocols import open_inference_pb2 as pb
from interlock.types import ModelRef

from interlock_server.front.seam import Call
from interlock_server.worker.agreement import AgreedPart, Agreement, Asked
from interlock_server.worker.call_tasks import CallTasks
from interlock_server.worker.catalog import Catalog
from interlock_server.worker.methods import SERVICE, Methods
from interlock_server.worker.peers import Peers
from interlock_server.worker.trace_budget import Budget, OwnBudget, SharedBudget

_AT_ONCE: Final = 64
"""Calls that may be under way; each waits for the other workers."""
_READY: Final = SERVICE + "ModelReady"
_STATISTICS: Final = SERVICE + "ModelStatistics"


class ReplicaWide:
    """Puts this worker's answers and the others' together. Made on the loop that it works on."""

    def __init__(self, catalog: Catalog, peers: Peers, agreed_path: str) -> None:
        """Take the catalog, the other workers, and the file of what all of them were told alike."""
        self._catalog = catalog
        self._peers = peers
        self._agreed_path = agreed_path
        self._tasks = CallTasks("calls that ask all workers", _AT_ONCE)
        self._agreement: Agreement | None = None

    @property
    def among_others(self) -> bool:
        """Whether there are other workers."""
        return len(self._peers) > 0

    def trace_budget(self) -> Budget:
        """Return what counts the requests that are still to be traced, for all workers together."""
        return SharedBudget(f"{self._agreed_path}.traces") if self.among_others else OwnBudget()

    def over(self, alone: Mapping[str, Callable[[bytes], Message]], parts: Sequence[AgreedPart]) -> Methods:
        """Return what takes the place of methods that this worker answers alone; nothing where it is the only one."""
        if not self.among_others:
            return Methods()
        agreement = self._agreement = Agreement(self._agreed_path, self._peers, parts)

        async def change(call: Call) -> Message:
            return await agreement.change(Asked(call.method, call.request))

        async def ready(call: Call) -> Message:
            here = alone[_READY](call.request)
            assert isinstance(here, pb.ModelReadyResponse)
            if here.ready:
                asked = pb.ModelReadyRequest.FromString(call.request)
                here.ready = await self._ready_elsewhere(ModelRef.from_wire(asked.name, asked.version))
            return here

        async def statistics(call: Call) -> Message:
            here = alone[_STATISTICS](call.request)
            assert isinstance(here, pb.ModelStatisticsResponse)
            elsewhere = await self._peers.collect(_STATISTICS, call.request)
            return summed_statistics([here, *map(pb.ModelStatisticsResponse.FromString, elsewhere)])

        works = {method: change for part in parts for method in part.agreed}
        works |= {_READY: ready, _STATISTICS: statistics}
        return Methods(calls={method: self._tasks.method(work) for method, work in works.items()})

    @asynccontextmanager
    async def joining(self) -> AsyncIterator[None]:
        """Take over what the other workers were told; while this is held, they are told nothing new."""
        if self._agreement is None:
            yield
            return
        async with self._agreement.joining():
            yield

    async def _ready_elsewhere(self, ref: ModelRef) -> bool:
        key = self._catalog.resolve(ref).servable.spec.key
        return all(
            any(
                (each.model, each.version) == (key.model, key.version) and each.state is ServableState.READY
                for each in worker
            )
            for worker in await self._peers.servables()
        )

    async def close(self) -> None:
        """End the calls that are under way. Idempotent."""
        await self._tasks.close()


def summed_statistics(workers: Iterable[pb.ModelStatisticsResponse]) -> pb.ModelStatisticsResponse:
    """Return the workers' statistics of each version, added up. Pure."""
    found: dict[tuple[str, str], pb.ModelStatistics] = {}
    for worker in workers:
        for each in worker.model_stats:
            known = found.get((each.name, each.version))
            if known is None:
                found[each.name, each.version] = each
            else:
                _add(known, each)
    ordered = sorted(found, key=lambda key: (key[0], int(key[1])))
    return pb.ModelStatisticsResponse(model_stats=[found[key] for key in ordered])


def _add(known: pb.ModelStatistics, more: pb.ModelStatistics) -> None:
    known.last_inference = max(known.last_inference, more.last_inference)
    known.inference_count += more.inference_count
    known.execution_count += more.execution_count
    ours, theirs = known.inference_stats, more.inference_stats
    for mine, other in (
        (ours.success, theirs.success),
        (ours.fail, theirs.fail),
        (ours.queue, theirs.queue),
        (ours.compute_input, theirs.compute_input),
        (ours.compute_infer, theirs.compute_infer),
        (ours.compute_output, theirs.compute_output),
    ):
        _lengthen(mine, other)
    batches = {each.batch_size: each for each in known.batch_stats}
    for batch in more.batch_stats:
        if batch.batch_size in batches:
            same = batches[batch.batch_size]
            _lengthen(same.compute_input, batch.compute_input)
            _lengthen(same.compute_infer, batch.compute_infer)
            _lengthen(same.compute_output, batch.compute_output)
        else:
            batches[batch.batch_size] = batch
    ordered = [batches[size] for size in sorted(batches)]
    copies = [pb.InferBatchStatistics.FromString(each.SerializeToString()) for each in ordered]
    del known.batch_stats[:]
    known.batch_stats.extend(copies)


def _lengthen(known: pb.StatisticDuration, more: pb.StatisticDuration) -> None:
    known.count += more.count
    known.ns += more.ns
