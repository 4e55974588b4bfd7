"""The targets' own comparison by perf_analyzer: each front beside grpcio's echo, ResNet-50 beside a bare loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
from interlock.model import ServingConfig
from interlock_server.front import native

from tests import models
from tests.bench import artifacts
from tests.bench.infer import perf_analyzer, targets
from tests.bench.infer.bare_loop import Bare, best
from tests.bench.infer.drive import Driven
from tests.bench.infer.line import Line
from tests.bench.infer.parts import Model, line, over_loop, serving, ways_to_serve
from tests.bench.infer.perf_analyzer import Program, analyze
from tests.bench.infer.targets import ECHO
from tests.bench.infer.tiny import FROM, IN_FLIGHT, MOST_OF_ECHO, TARGETS_US

_PART: Final = "perf-analyzer"
_ROUNDS: Final = 2
_LARGE_WIDTH: Final = 150_000
"""FP32 values of 600 KB."""
_LARGE_US: Final = 530
_WARM_S: Final = 0.9
_RESNET: Final = "resnet"


def perf_analyzed(folder: Path, seconds: float) -> list[Line]:
    """Have perf_analyzer measure the fronts with a tiny model and with 600 KB, and ResNet-50.

    Raises ProgramMissing.
    """
    program = perf_analyzer.set_up()
    return [*_fronts(program, folder, seconds), *_resnet(program, folder, seconds)]


@dataclass(frozen=True, slots=True)
class _Asked:
    """One server, and a model that it is asked for."""

    server: str
    address: str
    pids: tuple[int, ...]


def _fronts(program: Program, folder: Path, seconds: float) -> list[Line]:
    wanted = [
        Model("tiny", models.mlp(10, 20, 10, 1), ServingConfig(max_batch_size=64)),
        Model("large", models.mlp(_LARGE_WIDTH, 1, 1, 1), ServingConfig(max_batch_size=4)),
    ]
    fronts = ["core", "aio"] + ([] if native.missing() else ["native"])
    found: list[Line] = []
    with ExitStack() as stack:
        asked = [_Asked(ECHO, *_whereabouts(stack.enter_context(targets.echo())))]
        for front in fronts:
            address, pids = stack.enter_context(serving(folder / front, wanted, "--front", front))
            asked.append(_Asked(f"{targets.INTERLOCK} {front}", address, pids))
        for front in fronts:
            asked.append(_Asked(targets.echo_on(front), *_whereabouts(stack.enter_context(targets.front_echo(front)))))
        run = partial(analyze, program, folder=folder)
        for each in asked:
            for model in wanted:
                run(each.address, model.name, 8, each.pids, _WARM_S)
        for name, depths in (("tiny", IN_FLIGHT), ("large", (1, 4))):
            for in_flight in depths:
                rounds: Mapping[str, list[Driven]] = {each.server: [] for each in asked}
                for _ in range(_ROUNDS):
                    for each in asked:
                        rounds[each.server].append(run(each.address, name, in_flight, each.pids, seconds))
                found += _compared(name, in_flight, {server: _middle(each) for server, each in rounds.items()})
    return found


def _whereabouts(target: targets.Target) -> tuple[str, tuple[int, ...]]:
    return target.address, target.pids


def _compared(model: str, in_flight: int, taken: Mapping[str, Driven]) -> list[Line]:
    echo_us = taken[ECHO].cpu_us
    found: list[Line] = []
    for server, each in taken.items():
        front = targets.front_of(server)
        target, aim = None, None
        if front and model == "tiny":
            target = MOST_OF_ECHO.get(front) if in_flight >= FROM else None
            aim = TARGETS_US.get(front, {}).get(in_flight)
        elif front == "core" and in_flight == 1:
            aim = _LARGE_US
        note = f"{each.cpu_us / taken[targets.echo_on(front)].cpu_us:.2f} × its own echo" if front else ""
        what = model if model == "tiny" else "600 KB"
        found.append(
            line(
                _PART,
                f"{what}, {in_flight} in flight",
                server,
                each,
                ratio=None if server == ECHO else each.cpu_us / echo_us,
                over="" if server == ECHO else "CPU of grpcio's echo",
                target=target,
                note=f"{note}; target there ≤ {aim} µs" if aim else note,
            )
        )
    return found


def _middle(rounds: Sequence[Driven]) -> Driven:
    return Driven(
        answered=sum(each.answered for each in rounds),
        failed=0,
        failures=(),
        rate=median(each.rate for each in rounds),
        p50_ms=median(each.p50_ms for each in rounds),
        p99_ms=median(each.p99_ms for each in rounds),
        cpu_us=median(each.cpu_us for each in rounds),
        others_cores=median(each.others_cores for each in rounds),
    )


def _resnet(program: Program, folder: Path, seconds: float) -> list[Line]:
    file = artifacts.network(0)
    path = models.write(folder / "bare.onnx", file)
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224), np.float32)
    wanted = ways_to_serve(_RESNET, file)
    found: list[Line] = []
    with serving(folder / _RESNET, wanted) as (address, pids):
        for in_flight in (4, 1):
            rounds: Mapping[str, list[Driven]] = {model.name: [] for model in wanted}
            loops: list[Bare] = []
            for _ in range(_ROUNDS):
                loops.append(best(path, x, in_flight, seconds))
                for name, taken in rounds.items():
                    taken.append(analyze(program, address, name, in_flight, pids, 2 * seconds, folder))
            bare = Bare(loops[0].how, median(each.rate for each in loops), median(each.p50_ms for each in loops))
            case = f"{_RESNET}, {in_flight} in flight"
            server = f"bare loop, {bare.how}"
            found.append(Line(part=_PART, case=case, server=server, rate=bare.rate, p50_ms=bare.p50_ms))
            for model in wanted:
                ours = _middle(rounds[model.name])
                found.append(over_loop(_PART, case, model, ours, bare, alone=in_flight == 1))
    return found
