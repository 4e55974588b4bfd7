"""What the server counted while a load ran: its ModelStatistics before and after, and their difference."""

from __future__ import annotations

from dataclasses import dataclass

from interlock.errors import InterlockError
from interlock.protocols import open_inference_pb2 as pb
from interlock.types import ModelRef

from interlock_client._flow import Flow, ask


@dataclass(frozen=True, slots=True)
class Counters:
    """Sums since a server's start, over the versions of one model."""

    rows: int = 0
    runs: int = 0
    requests: int = 0
    queue_ns: int = 0
    run_ns: int = 0


@dataclass(frozen=True, slots=True)
class ServerSide:
    """What all callers of a model together gave the server to do meanwhile; means for each request."""

    runs: int
    rows_per_run: float
    """How many rows the server joined into one run."""
    queue_s: float
    run_s: float


def read(ref: ModelRef) -> Flow[Counters | None]:
    """Ask for a model's counters; None where the server has none, as some of other makers."""
    try:
        answer = yield from ask(
            "ModelStatistics", pb.ModelStatisticsRequest(name=ref.model), pb.ModelStatisticsResponse
        )
    except InterlockError:
        return None
    return counters(answer.message)


def counters(reply: pb.ModelStatisticsResponse) -> Counters:
    """Add up a reply's versions."""
    found = reply.model_stats
    return Counters(
        rows=sum(each.inference_count for each in found),
        runs=sum(each.execution_count for each in found),
        requests=sum(each.inference_stats.success.count for each in found),
        queue_ns=sum(each.inference_stats.queue.ns for each in found),
        run_ns=sum(each.inference_stats.compute_infer.ns for each in found),
    )


def between(before: Counters | None, after: Counters | None) -> ServerSide | None:
    """Return what happened between two readings; None without both, without a run, or across a restart."""
    if before is None or after is None:
        return None
    runs, requests = after.runs - before.runs, after.requests - before.requests
    if runs <= 0 or requests <= 0:
        return None
    return ServerSide(
        runs=runs,
        rows_per_run=(after.rows - before.rows) / runs,
        queue_s=(after.queue_ns - before.queue_ns) / requests / 1e9,
        run_s=(after.run_ns - before.run_ns) / requests / 1e9,
    )
