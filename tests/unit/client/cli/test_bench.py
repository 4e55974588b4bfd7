"""`interlock bench` against a server that does as it is told: what it reports is what was there."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from interlock.errors import QueueFull, Unimplemented
from interlock.protocols import open_inference_pb2 as oip

from tests.unit.client.cli.samples import Command
from tests.unit.client.scripted import SIGNATURE, ScriptedServer, multiply

QUICK = ("--duration", "0.5", "--warmup", "0")


@pytest.fixture
def model(server: ScriptedServer) -> ScriptedServer:
    """A server that has one model, and no statistics."""

    def unknown(*_: object) -> oip.ModelStatisticsResponse:
        raise Unimplemented("there are no statistics here")

    server.serve_model()
    server.behaviours["ModelStatistics"] = unknown
    return server


def full(*_: object) -> oip.ModelInferResponse:
    raise QueueFull("m", 3, 16, retry_after_s=0.1)


def fail_after(model: ScriptedServer, count: int, every: int = 1) -> None:
    """Answer so many requests, and then refuse each `every`th."""
    numbers = itertools.count(1)

    def infer(request: Any, context: grpc.ServicerContext) -> oip.ModelInferResponse:
        number = next(numbers)
        if number > count and number % every == 0:
            return full()
        return multiply(request, context, SIGNATURE, 3 + number % 2)

    model.behaviours["ModelInfer"] = infer


def test_answers_are_told_apart_by_version_and_failures_by_status(model: ScriptedServer, interlock: Command) -> None:
    fail_after(model, 3, every=5)
    for duration in ("0.5", "4", "30"):  # a machine that stands still for a while sends too little to tell anything
        args = ("--concurrency", "1,2", "--warmup", "0", "--duration", duration, "--processes", "2", "-o", "json")
        done = interlock("bench", "m", *args)
        assert done.code == 0, done.err
        found = json.loads(done.out)
        if all(load["requests"] >= 20 for load in found["loads"]):
            break
    else:
        pytest.fail("there was never time for 20 requests")
    assert (found["ref"], found["inputs"], found["rows"]) == ("m:stable", ["x FP32[1, 2]"], 1)
    for load in found["loads"]:
        assert load["requests"] == load["answered"] + load["failed"] > 0
        (failure,) = load["failures"]
        assert (failure["status"], failure["count"]) == ("RESOURCE_EXHAUSTED", load["failed"])
        assert "16" in failure["message"]
        assert {each["version"] for each in load["versions"]} == {"3", "4"}
        for each in load["versions"]:
            assert each["queue"]["p50_s"] == pytest.approx(250e-6, rel=0.01)
            assert each["run"]["p99_s"] == pytest.approx(1500e-6, rel=0.01)
        assert load["server"] is None


def test_an_open_loop_sends_what_is_due_and_counts_from_when_it_was(
    model: ScriptedServer, interlock: Command, tmp_path: Path
) -> None:
    page = tmp_path / "bench.html"
    args = ("--rate", "40,80", "--arrivals", "constant", "--warmup", "0.1", "--duration", "0.5", "--batch", "3")

    done = interlock("bench", "m", *args, "--html", page, "-o", "json")

    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["inputs"] == ["x FP32[3, 2]"]
    for load, due in zip(found["loads"], (20, 40), strict=True):
        assert abs(load["requests"] - due) <= 1  # rounding at the ends of the time
        assert load["rows_rate"] == pytest.approx(3 * load["rate"])
        assert load["lag"]["count"] == load["requests"]
        assert load["latency"]["max_s"] >= load["lag"]["p50_s"]
    assert page.read_text().count("<svg") == 5


def test_where_nothing_is_answered_the_table_is_shown_and_the_exit_is_1(
    model: ScriptedServer, interlock: Command
) -> None:
    fail_after(model, 1)

    done = interlock("bench", "m", "--concurrency", "2", *QUICK)

    assert done.code == 1
    assert "RESOURCE_EXHAUSTED" in done.out and "2 in flight" in done.out
    assert done.err.startswith("interlock: not one of ") and done.err.count("\n") == 1
    assert "RESOURCE_EXHAUSTED: " in done.err


def test_a_refusal_of_the_first_question_is_the_commands_own_and_no_load_is_made(
    model: ScriptedServer, interlock: Command
) -> None:
    model.behaviours["ModelInfer"] = full

    done = interlock("bench", "m")

    assert (done.code, done.out) == (1, "")
    assert model.calls == ["ModelMetadata", "ModelInfer"]
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["--concurrency", "1,x"], "'1,x' is not one or more whole numbers above 0 and up to 4096"),
        (["--concurrency", "0"], "is not one or more whole numbers"),
        (["--concurrency", "5000"], "up to 4096"),
        (["--rate", "-1"], "is not one or more numbers above 0"),
        (["--rate", "inf"], "is not one or more numbers above 0"),
        (["--rate", "5", "--concurrency", "1"], "give one of them"),
        (["--shape", "x=1,a"], "'1,a' are no sizes of 'x'"),
        (["--input", "x=[1,"], "is neither FILE.npy nor a JSON literal"),
        (["--arrivals", "bursts"], "'bursts' is not one of"),
    ],
)
def test_wrong_usage_asks_nobody(model: ScriptedServer, interlock: Command, args: list[str], why: str) -> None:
    done = interlock("bench", "m", *args)
    assert done.code == 2
    assert why in " ".join(done.err.split())
    assert model.calls == []
