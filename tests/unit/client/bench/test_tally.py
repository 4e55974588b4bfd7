"""What is counted, and what becomes of it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from interlock.protocols import open_inference_pb2 as pb
from interlock_client.bench.caller import answering_version
from interlock_client.bench.plan import Load, Window
from interlock_client.bench.result import BenchResult, load_result, remarks
from interlock_client.bench.statistics import Counters, ServerSide, between
from interlock_client.bench.tally import Tally
from interlock_client.cli import render_bench
from interlock_client.cli.bench_page import page

WINDOW = Window(start_s=9.0, from_s=10.0, until_s=12.0)


def seen() -> Tally:
    tally = Tally(WINDOW)
    tally.answered(9.5, 9.6, "1", 0.01, 0.02)  # warm-up
    tally.answered(10.0, 10.1, "1", 0.01, 0.02)
    tally.answered(11.9, 14.0, "2", None, None)
    tally.failed(11.0, "UNAVAILABLE", "gone <b>")
    tally.failed(11.5, "UNAVAILABLE", "still gone")
    tally.failed(12.0, "UNAVAILABLE", "after the end")
    tally.cpu_s = 0.6
    return tally


def result(load: Load, tally: Tally, server: ServerSide | None = None) -> BenchResult:
    return BenchResult(
        ref="m:stable",
        address="127.0.0.1:8001",
        taken=datetime(2026, 1, 2, tzinfo=UTC),
        inputs=("x FP32[3, 2]",),
        rows=3,
        request_bytes=60,
        processes=1,
        connections=1,
        warmup_s=1.0,
        loads=(load_result(load, tally, rows=3, warmup_s=1.0, server=server),),
    )


def test_requests_count_by_when_they_were_due_however_late_they_are_answered() -> None:
    found = load_result(Load(2), seen(), rows=3, warmup_s=1.0, server=None)
    assert (found.requests, found.answered, found.failed) == (4, 2, 2)
    assert (found.rate, found.rows_rate) == (1.0, 3.0)
    assert found.client_cores == pytest.approx(0.2)
    assert found.latency.max_s == pytest.approx(2.1)
    assert [(x.status, x.count, x.message) for x in found.failures] == [("UNAVAILABLE", 2, "gone <b>")]
    assert [(x.version, x.latency.count, x.queue is None) for x in found.versions] == [("1", 1, False), ("2", 1, True)]
    assert sum(x.failed for x in found.timeline) == 2
    assert sum(x.count for x in found.histogram) == 2
    assert found.timeline[0].p50_s == pytest.approx(0.1, rel=0.01)


def test_the_tallies_of_two_processes_add_up() -> None:
    both = Tally(WINDOW)
    for _ in range(2):
        both.add(Tally.from_json(WINDOW, json.loads(json.dumps(seen().to_json()))))
    found = load_result(Load(2), both, rows=1, warmup_s=1.0, server=None)
    assert (found.answered, found.failed) == (4, 4)
    assert found.client_cores == pytest.approx(0.4)
    assert found.timeline[0].rate == pytest.approx(60.0)


def test_latency_of_an_open_loop_holds_the_wait_of_the_sender_too() -> None:
    tally = Tally(WINDOW)
    tally.sent(10.0, 10.5)
    tally.answered(10.0, 10.6, "1", 0.0, 0.0)
    found = result(Load(rate=5.0), tally)
    assert found.loads[0].latency.p50_s == pytest.approx(0.6)
    assert found.loads[0].lag is not None and found.loads[0].lag.p99_s == pytest.approx(0.5)
    assert any("went out 500 ms late" in each for each in remarks(found))


def test_a_load_that_fills_its_processes_is_said_to_be_the_limit() -> None:
    tally = seen()
    assert not any("may be the limit" in each for each in remarks(result(Load(1), tally)))
    tally.cpu_s = 2.9
    assert any("2 ×" not in each and "may be the limit" in each for each in remarks(result(Load(1), tally)))


def test_the_page_is_whole_escapes_what_servers_say_and_loads_nothing() -> None:
    found = page(result(Load(2), seen(), ServerSide(10, 2.5, 0.001, 0.002)))
    assert found.startswith("<!doctype html>") and found.rstrip().endswith("</html>")
    assert "gone &lt;b&gt;" in found and "gone <b>" not in found
    assert found.count("<svg") == 4 and "2 in flight" in found
    assert "http" not in found.replace("http-equiv", "") and "<script" not in found
    several = result(Load(2), seen())
    several = replace(several, loads=several.loads * 2)
    assert page(several).count("<svg") == 5


def test_a_page_of_failures_alone_has_no_plots() -> None:
    tally = Tally(WINDOW)
    tally.failed(10.5, "UNAVAILABLE", "gone")
    found = page(result(Load(2), tally))
    assert "<svg" not in found and "UNAVAILABLE" in found
    assert render_bench.loads(result(Load(2), tally))[0][4:9] == ("-", "-", "-", "-", "-")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (Counters(), Counters(rows=30, runs=10, requests=20, queue_ns=20_000_000, run_ns=40_000_000), (10, 3.0, 0.001)),
        (Counters(rows=5, runs=5, requests=5), Counters(rows=9, runs=7, requests=7), (2, 2.0, 0.0)),
        (None, Counters(), None),
        (Counters(), None, None),
        (Counters(runs=5, requests=5), Counters(runs=5, requests=5), None),
        (Counters(runs=5, requests=5), Counters(runs=1, requests=1), None),
    ],
)
def test_server_counters_are_differences(
    before: Counters | None, after: Counters | None, expected: tuple[int, float, float] | None
) -> None:
    found = between(before, after)
    assert (found and (found.runs, found.rows_per_run, found.queue_s)) == expected


@pytest.mark.parametrize("name", ["m", "m" * 127, "m" * 128, ""])
@pytest.mark.parametrize("version", ["3", "", "12345"])
def test_the_answering_version_is_read_from_an_answers_first_bytes(name: str, version: str) -> None:
    answer = pb.ModelInferResponse(model_name=name, model_version=version, id="request")
    answer.outputs.add(name="y", datatype="FP32", shape=[1, 2])
    answer.raw_output_contents.append(b"\x12" * 8)
    assert answering_version(answer.SerializeToString()) == version


def test_durations_are_milliseconds_with_three_digits_that_count() -> None:
    assert [render_bench.millis(x) for x in (0.00123, 0.01234, 0.1234, 12.0)] == ["1.23", "12.3", "123", "12000"]
    assert render_bench.millis(-1.0) == "-"
