"""A tiny model on every front, beside servers that do no more than they must: what the server itself costs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import grpc
from interlock_client.bench.plan import Load
from interlock_server.front import native

from tests import models
from tests.bench.infer import targets
from tests.bench.infer.drive import drive
from tests.bench.infer.line import Line
from tests.bench.infer.targets import BARE, ECHO, Target
from tests.bench.load import questions
from tests.bench.load.client import METHOD
from tests.bench.load.questions import Questions, WrongAnswer

IN_FLIGHT: Final = (1, 8, 32, 64)
FRONTS: Final = ("core", "aio", "native")
_WIDTH: Final = 10
_HIDDEN: Final = 20
_ON_ONE_CONNECTION: Final = 6
"""Requests in flight on one connection, as NVIDIA's perf_analyzer has them."""
_TIMEOUT_S: Final = 10.0
_WARM_S: Final = 0.7
FROM: Final = 8
"""Requests in flight from which on a front has a target."""
MOST_OF_ECHO: Final = {"core": 0.65, "native": 0.45}
TARGETS_US: Final = {"core": {1: 220, 8: 90, 32: 70, 64: 65}, "native": {1: 170, 8: 65, 32: 48, 64: 40}}
"""What a request may cost on the machine that the targets are for, where an echo of grpcio's costs 156."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one load on one server gave."""

    target: str
    in_flight: int
    answered: int
    failed: int
    wrong: int
    rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """Processor time of all of the server's processes, per request, in microseconds."""
    others_cores: float
    """Cores that other work on the machine took meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratios:
    """What a front costs a request, as a multiple of what others cost one in the same run."""

    front: str
    in_flight: int
    of_grpcio_echo: float
    of_its_own_echo: float
    """The same front with nothing behind it."""
    of_bare_server: float
    """The same model behind 20 lines of grpc.aio."""


def measure(
    depths: Sequence[int], rounds: int, seconds: float, folder: Path, fronts: Sequence[str] = FRONTS
) -> list[Measured]:
    """Measure every server at every depth, in turns, so that a change of the machine's mood meets all of them."""
    model = models.write(folder / "tiny.onnx", models.mlp(_WIDTH, _HIDDEN, 10, 1))
    asked = questions.make({1: model}, _WIDTH)
    requests = asked.requests(targets.MODEL)
    found: list[Measured] = []
    with ExitStack() as stack:
        running = [stack.enter_context(server) for server in _servers(folder, model, fronts)]
        wrong = {target.name: _wrong(target, asked) if target.checked else 0 for target in running}
        for _ in range(rounds):
            for in_flight in depths:
                for target in running:
                    driven = drive(
                        target.address,
                        requests,
                        Load(in_flight),
                        target.pids,
                        seconds,
                        connections=-(-in_flight // _ON_ONE_CONNECTION),
                        timeout_s=_TIMEOUT_S,
                        warm_s=min(_WARM_S, seconds),
                    )
                    found.append(
                        Measured(
                            target=target.name,
                            in_flight=in_flight,
                            answered=driven.answered,
                            failed=driven.failed,
                            wrong=wrong[target.name],
                            rate=driven.rate,
                            p50_ms=driven.p50_ms,
                            p99_ms=driven.p99_ms,
                            cpu_us=driven.cpu_us,
                            others_cores=driven.others_cores,
                        )
                    )
    return found


def _servers(folder: Path, model: Path, fronts: Sequence[str]) -> list[targets.Starting]:
    """Return every server, not yet started; the front native where its package is."""
    fronts = [front for front in fronts if front != "native" or not native.missing()]
    return [
        *(targets.interlock(folder, model, front) for front in fronts),
        *(targets.front_echo(front) for front in fronts),
        targets.bare(model),
        targets.echo(),
        targets.aio_echo(),
    ]


def _wrong(target: Target, asked: Questions) -> int:
    """Ask every question once and return how many answers are wrong."""
    wrong = 0
    with grpc.insecure_channel(target.address) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        for number, request in enumerate(asked.requests(targets.MODEL)):
            try:
                asked.check(number, call(request, timeout=_TIMEOUT_S, wait_for_ready=True))
            except WrongAnswer:
                wrong += 1
    return wrong


def medians(every_round: Sequence[Measured]) -> list[Measured]:
    """Return the medians of the rounds of each measurement, and the sums of what they count."""
    kinds = dict.fromkeys((each.in_flight, each.target) for each in every_round)
    return [_middle([x for x in every_round if (x.in_flight, x.target) == kind]) for kind in kinds]


def _middle(rounds: Sequence[Measured]) -> Measured:
    first = rounds[0]
    return Measured(
        target=first.target,
        in_flight=first.in_flight,
        answered=sum(each.answered for each in rounds),
        failed=sum(each.failed for each in rounds),
        wrong=first.wrong,
        rate=median(each.rate for each in rounds),
        p50_ms=median(each.p50_ms for each in rounds),
        p99_ms=median(each.p99_ms for each in rounds),
        cpu_us=median(each.cpu_us for each in rounds),
        others_cores=median(each.others_cores for each in rounds),
    )


def ratios(measured: Sequence[Measured]) -> list[Ratios]:
    """Return what each front costs over the servers beside it."""
    cost = {(each.target, each.in_flight): each.cpu_us for each in measured}
    return [
        Ratios(
            front=front,
            in_flight=each.in_flight,
            of_grpcio_echo=each.cpu_us / cost[ECHO, each.in_flight],
            of_its_own_echo=each.cpu_us / cost[targets.echo_on(front), each.in_flight],
            of_bare_server=each.cpu_us / cost[BARE, each.in_flight],
        )
        for each in measured
        if (front := targets.front_of(each.target))
    ]


def lines(measured: Sequence[Measured]) -> list[Line]:
    """Return the figures as lines: the cost of each server over that of grpcio's echo."""
    cost = {(each.target, each.in_flight): each.cpu_us for each in measured}
    over = {(each.front, each.in_flight): each for each in ratios(measured)}
    found: list[Line] = []
    for each in measured:
        front, echo_us = targets.front_of(each.target), cost[ECHO, each.in_flight]
        mine = over.get((front, each.in_flight))
        note = ""
        if mine is not None:
            note = f"{mine.of_its_own_echo:.2f} × its own echo, {mine.of_bare_server:.2f} × the bare server"
            aim = TARGETS_US.get(front, {}).get(each.in_flight)
            note += f"; target there ≤ {aim} µs" if aim else ""
        found.append(
            Line(
                part="tiny",
                case=f"{each.in_flight} in flight",
                server=each.target,
                rate=each.rate,
                p50_ms=each.p50_ms,
                p99_ms=each.p99_ms,
                cpu_us=each.cpu_us,
                others_cores=each.others_cores,
                failed=each.failed,
                ratio=None if each.target == ECHO else each.cpu_us / echo_us,
                over="" if each.target == ECHO else "CPU of grpcio's echo",
                target=MOST_OF_ECHO.get(front) if each.in_flight >= FROM else None,
                note=note,
            )
        )
    return found
