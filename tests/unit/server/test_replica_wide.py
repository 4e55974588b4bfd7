"""What several workers answer together: sums, one index, one set of settings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from google.protobuf.message import Message
from interlock.errors import AlreadyExists, InterlockError, InvalidArgument
from interlock.model import ServableState, ServableStatus
from interlock.protocols import open_inference_pb2 as pb
from interlock_server.control.worker_metrics import Scraped, WorkerMetrics
from interlock_server.repository_index import in_all_workers
from interlock_server.snapshot import VersionSpec
from interlock_server.worker.agreement import Agreement, Asked
from interlock_server.worker.replica_wide import summed_statistics

# --- statistics ---


def statistics(version: str, requests: int, batches: Mapping[int, int], *, last: int = 1) -> pb.ModelStatistics:
    def duration(count: int) -> pb.StatisticDuration:
        return pb.StatisticDuration(count=count, ns=10 * count)

    return pb.ModelStatistics(
        name="m",
        version=version,
        last_inference=last,
        inference_count=2 * requests,
        execution_count=sum(batches.values()),
        inference_stats=pb.InferStatistics(success=duration(requests), fail=duration(1), queue=duration(requests)),
        batch_stats=[
            pb.InferBatchStatistics(batch_size=size, compute_infer=duration(count)) for size, count in batches.items()
        ],
    )


def test_statistics_of_a_version_are_added_up_over_the_workers() -> None:
    here = pb.ModelStatisticsResponse(
        model_stats=[statistics("10", 1, {1: 1}), statistics("2", 5, {1: 3, 4: 1}, last=9)]
    )
    there = pb.ModelStatisticsResponse(model_stats=[statistics("2", 7, {2: 2, 4: 1}, last=4)])
    both = summed_statistics([here, there])
    assert [each.version for each in both.model_stats] == ["2", "10"]
    second = both.model_stats[0]
    assert (second.last_inference, second.inference_count, second.execution_count) == (9, 24, 7)
    assert second.inference_stats.success == pb.StatisticDuration(count=12, ns=120)
    assert second.inference_stats.fail == pb.StatisticDuration(count=2, ns=20)
    assert [(each.batch_size, each.compute_infer.count) for each in second.batch_stats] == [(1, 3), (2, 2), (4, 2)]


# --- the index ---


@pytest.mark.parametrize(
    ("states", "shown"),
    [
        ([ServableState.READY, ServableState.READY], ServableState.READY),
        ([ServableState.READY, ServableState.WARMING], ServableState.WARMING),
        ([ServableState.FAILED, ServableState.READY], ServableState.FAILED),
        ([ServableState.LOADING, ServableState.FAILED], ServableState.FAILED),
        ([ServableState.READY, ServableState.DRAINING], ServableState.DRAINING),
    ],
)
def test_a_version_is_as_ready_as_where_it_is_the_least_so(
    states: Sequence[ServableState], shown: ServableState
) -> None:
    workers = [[ServableStatus("m", 1, state, state.value, "CPU", 0, 0.1)] for state in states]
    (found,) = in_all_workers(workers)
    assert (found.state, found.reason) == (shown, shown.value)


# --- metrics ---

TEXT = """# HELP requests_total Requests.
# TYPE requests_total counter
requests_total{{model="m"}} {requests}
# HELP seconds Time.
# TYPE seconds histogram
seconds_bucket{{le="1.0"}} {requests}
seconds_bucket{{le="+Inf"}} {requests}
seconds_count {requests}
seconds_sum 1.5
# HELP in_flight Now.
# TYPE in_flight gauge
in_flight {in_flight}
"""


def scraped(worker: str, pid: int, requests: float, in_flight: float = 0.0) -> Scraped:
    return Scraped(worker, pid, TEXT.format(requests=requests, in_flight=in_flight).encode())


def value(text: bytes, series: str) -> float:
    (line,) = [line for line in text.decode().splitlines() if line.startswith(f"{series} ")]
    return float(line.rpartition(" ")[2])


def test_metrics_are_added_up_and_never_fall_when_a_worker_ends() -> None:
    metrics = WorkerMetrics()
    text = metrics.text([scraped("worker-0", 1, 10.0, 1.0), scraped("worker-1", 2, 5.0, 2.0)])
    assert text.decode().count("# TYPE requests_total counter") == 1
    assert value(text, 'requests_total{model="m"}') == 15
    assert value(text, 'seconds_bucket{le="1.0"}') == 15
    assert (value(text, "seconds_sum"), value(text, "in_flight")) == (3.0, 3.0)
    away = metrics.text([scraped("worker-0", 1, 11.0)])
    assert value(away, 'requests_total{model="m"}') == 16
    assert value(away, "in_flight") == 0, "what has ended has nothing in flight"
    again = metrics.text([scraped("worker-0", 1, 11.0), scraped("worker-1", 3, 1.0)])
    assert value(again, 'requests_total{model="m"}') == 17
    assert value(again, "seconds_sum") == 4.5


# --- what all workers were told alike ---


class Names:
    """A part that keeps a set of names; which ones it refuses is given."""

    def __init__(self, refused: str = "") -> None:
        self.known: set[str] = set()
        self._refused = refused

    @property
    def agreed(self) -> Mapping[str, Callable[[bytes], Message]]:
        return {"add": self._add, "remove": self._remove}

    def _add(self, data: bytes) -> Message:
        name = data.decode()
        if name in self.known:
            raise AlreadyExists(name)
        if name == self._refused:
            raise InvalidArgument(name)
        self.known.add(name)
        return pb.SystemSharedMemoryRegisterResponse()

    def _remove(self, data: bytes) -> Message:
        self.known.discard(data.decode())
        return pb.SystemSharedMemoryUnregisterResponse()

    def state(self) -> Sequence[Asked]:
        return [Asked("add", name.encode()) for name in sorted(self.known)]

    def restore(self, asked: Asked) -> None:
        self._add(asked.request)

    def undo(self, asked: Asked) -> Asked | None:
        return Asked("remove", asked.request) if asked.method == "add" else None


class Neighbours:
    """The other workers' parts, told as the internal service would."""

    def __init__(self, *parts: Names) -> None:
        self._parts = parts
        self.telling = 0
        self.at_once = 0

    def __len__(self) -> int:
        return len(self._parts)

    async def tell(self, method: str, request: bytes) -> None:
        self.telling += 1
        self.at_once = max(self.at_once, self.telling)
        refusals: list[InterlockError] = []
        for part in self._parts:
            await asyncio.sleep(0)
            try:
                part.agreed[method](request)
            except InterlockError as error:
                refusals.append(error)
        self.telling -= 1
        if refusals:
            raise refusals[0]

    async def collect(self, method: str, request: bytes) -> tuple[bytes, ...]:
        return ()

    async def servables(self) -> tuple[tuple[ServableStatus, ...], ...]:
        return ()

    async def load(self, spec: VersionSpec, timeout_s: float) -> None:
        return


async def test_what_one_worker_refuses_is_taken_back_in_all(tmp_path: Path) -> None:
    here, there, third = Names(), Names(refused="bad"), Names()
    agreement = Agreement(str(tmp_path / "agreed"), Neighbours(there, third), [here])
    await agreement.change(Asked("add", b"good"))
    with pytest.raises(InvalidArgument, match="bad"):
        await agreement.change(Asked("add", b"bad"))
    assert here.known == there.known == third.known == {"good"}
    with pytest.raises(AlreadyExists):
        await agreement.change(Asked("add", b"good"))
    assert here.known == there.known == third.known == {"good"}


async def test_changes_are_made_one_at_a_time_whichever_worker_is_told(tmp_path: Path) -> None:
    parts = [Names(), Names()]
    neighbours = Neighbours(parts[1])
    path = str(tmp_path / "agreed")
    agreements = [Agreement(path, neighbours, [parts[0]]) for _ in range(3)]
    changes = [
        each.change(Asked("add", f"{number}-{index}".encode()))
        for number in range(4)
        for index, each in enumerate(agreements)
    ]
    await asyncio.gather(*changes)
    assert neighbours.at_once == 1
    assert parts[0].known == parts[1].known and len(parts[0].known) == 12


async def test_a_worker_that_joins_later_takes_over_what_it_can(tmp_path: Path) -> None:
    path = str(tmp_path / "agreed")
    here = Names()
    agreement = Agreement(path, Neighbours(), [here])
    for name in (b"a", b"gone", b"z"):
        await agreement.change(Asked("add", name))
    late = Names(refused="gone")
    async with Agreement(path, Neighbours(), [late]).joining():
        assert late.known == {"a", "z"}
        waiting = asyncio.create_task(agreement.change(Asked("add", b"new")))
        done, _ = await asyncio.wait([waiting], timeout=0.05)
        assert not done, "nothing is agreed on while somebody joins"
    await waiting
    first = Names()
    async with Agreement(str(tmp_path / "none"), Neighbours(), [first]).joining():
        assert first.known == set()
