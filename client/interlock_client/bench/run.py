"""A whole benchmark: one question first, then each load, with the server's counters around it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from interlock.protocols.open_inference_pb2_grpc import SERVICE
from interlock.types import ModelRef

from interlock_client import _inference
from interlock_client._access import Tls
from interlock_client._address import INFERENCE
from interlock_client._channel import DEFAULT_RETRIES, dial
from interlock_client._connection import SyncConnection
from interlock_client._flow import Call, Flow
from interlock_client._infer import infer_result
from interlock_client.bench import statistics
from interlock_client.bench.fleet import Fleet
from interlock_client.bench.plan import Load
from interlock_client.bench.result import BenchResult, LoadResult, load_result
from interlock_client.bench.tensors import Given, Shapes, questions

_ASK_S: Final = 10.0
_TICK_S: Final = 0.1

Progress = Callable[[Load, float, float], None]
"""Called while a load runs, with the seconds that are over and those that it takes in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a benchmark is asked to do."""

    ref: ModelRef
    address: str | None
    loads: Sequence[Load]
    given: Given
    shapes: Shapes
    batch: int | None
    duration_s: float
    warmup_s: float
    timeout_s: float
    processes: int
    connections: int
    seed: int
    tls: Tls | None = None
    token: str | None = field(default=None, repr=False)


def run(settings: Settings, progress: Progress) -> BenchResult:
    """Run it; raises what the first question raises, InvalidInput, ServerUnreachable, InternalError."""
    line = dial(
        INFERENCE,
        settings.address,
        retries=DEFAULT_RETRIES,
        tls=settings.tls,
        credentials=None,
        options=(),
        token=settings.token,
    )
    connection = SyncConnection(line, SERVICE, tuple)
    taken = datetime.now(UTC)
    try:
        known = connection.run(_inference.metadata(settings.ref), _ASK_S)
        asked = questions(
            settings.ref,
            known.signature,
            settings.given,
            settings.shapes,
            batch=settings.batch,
            seed=settings.seed,
        )
        # A request that is wrong should be refused here, in the server's words, and not a million times.
        connection.run(_once(asked.requests[0]), max(_ASK_S, settings.timeout_s))
        with (
            tempfile.TemporaryDirectory(prefix="interlock-bench-") as folder,
            Fleet(
                address=line.target,
                requests=asked.requests,
                folder=Path(folder),
                processes=settings.processes,
                connections=settings.connections,
                timeout_s=settings.timeout_s,
                seed=settings.seed,
                tls=settings.tls,
                token=line.token,
            ) as fleet,
        ):
            found = [_load(settings, load, fleet, connection, asked.rows, progress) for load in settings.loads]
    finally:
        connection.close()
    return BenchResult(
        ref=str(settings.ref),
        address=line.target,
        taken=taken,
        inputs=asked.shapes,
        rows=asked.rows,
        request_bytes=len(asked.requests[0]),
        processes=settings.processes,
        connections=settings.connections,
        warmup_s=settings.warmup_s,
        loads=tuple(found),
    )


def _once(request: bytes) -> Flow[None]:
    answer = yield Call("ModelInfer", request)
    infer_result(answer.data, answer.trailing)


def _load(
    settings: Settings, load: Load, fleet: Fleet, connection: SyncConnection, rows: int, progress: Progress
) -> LoadResult:
    whole_s = settings.warmup_s + settings.duration_s
    window = fleet.start(load, warmup_s=settings.warmup_s, duration_s=settings.duration_s)
    _wait(load, window.start_s, window.from_s, whole_s, progress)
    before = connection.run(statistics.read(settings.ref), _ASK_S)
    _wait(load, window.start_s, window.until_s, whole_s, progress)
    after = connection.run(statistics.read(settings.ref), _ASK_S)
    tally = fleet.gather(window)
    server = statistics.between(before, after)
    return load_result(load, tally, rows=rows, warmup_s=settings.warmup_s, server=server)


def _wait(load: Load, start_s: float, until_s: float, whole_s: float, progress: Progress) -> None:
    while (left_s := until_s - time.monotonic()) > 0:
        progress(load, max(0.0, time.monotonic() - start_s), whole_s)
        time.sleep(min(_TICK_S, left_s))
