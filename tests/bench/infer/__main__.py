"""Run the benchmark: `python -m tests.bench.infer`."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from tests import models
from tests.bench.infer import parts, targets
from tests.bench.infer.held import tls
from tests.bench.infer.line import Line, grid
from tests.bench.infer.measure import Measured, measure, middle
from tests.bench.infer.report import Report, tiny
from tests.bench.infer.sdk import sdk
from tests.bench.infer.startup import many
from tests.bench.load import questions
from tests.bench.machine import busy, others_cores, this_machine, warning

_WIDTH: Final = 10
_HIDDEN: Final = 20
_IN_FLIGHT: Final = (1, 8, 32, 64)
_TINY: Final = "tiny"
_PARTS: Final[Mapping[str, Callable[[Path, float], list[Line]]]] = {
    "large": parts.large,
    "resnet": parts.resnet,
    "transformer": parts.transformer,
    "batching": parts.batching,
    "overload": parts.overload,
    "many": many,
    "sdk": sdk,
    "tls": tls,
}


def measure_tiny(depths: Sequence[int], rounds: int, seconds: float, folder: Path) -> list[Measured]:
    """Measure every server at every depth, in turns, so that a change of the machine's mood meets all of them."""
    model = models.write(folder / "tiny.onnx", models.mlp(_WIDTH, _HIDDEN, 10, 1))
    asked = folder / "questions.npz"
    questions.make({1: model}, _WIDTH).save(asked)
    found: list[Measured] = []
    with ExitStack() as stack:
        running = [
            stack.enter_context(server)
            for server in (
                targets.interlock(folder, model, "core"),
                targets.interlock(folder, model, "aio"),
                targets.bare(model),
                targets.echo(),
            )
        ]
        for _ in range(rounds):
            for in_flight in depths:
                found += [measure(target, in_flight, asked, folder, seconds) for target in running]
    return found


@click.command()
@click.option(
    "--only",
    type=click.Choice([_TINY, *_PARTS]),
    multiple=True,
    help="A part to run; may be repeated.  [default: all of them, about 8 minutes]",
)
@click.option("--rounds", default=3, show_default=True, help="Times that the tiny model's measurements are repeated.")
@click.option("--seconds", default=3.0, show_default=True, help="Length of one measurement.")
@click.option("--quick", is_flag=True, help="One second of tiny at 8 in flight: a check that it works, no measurement.")
@click.option(
    "--out", default="bench-out", show_default=True, type=click.Path(path_type=Path), help="Folder for the results."
)
def main(only: Sequence[str], rounds: int, seconds: float, quick: bool, out: Path) -> None:
    """Measure the inference path beside bare servers and loops; exit 1 if a request of tiny failed or was wrong."""
    os.environ["GRPC_VERBOSITY"] = "NONE"
    machine = this_machine()
    wide = Console(width=None if sys.stdout.isatty() else 160)
    depths, rounds, seconds = ((8,), 1, 1.0) if quick else (_IN_FLIGHT, rounds, seconds)
    wanted = [_TINY] if quick else only or [_TINY, *_PARTS]
    every_round: list[Measured] = []
    measured: list[Measured] = []
    lines: list[Line] = []
    for part in wanted:
        before = busy([])
        with tempfile.TemporaryDirectory(prefix="interlock-bench-") as folder:
            if part == _TINY:
                every_round = measure_tiny(depths, rounds, seconds, Path(folder))
                kinds = dict.fromkeys((each.in_flight, each.target) for each in every_round)
                measured = [middle([x for x in every_round if (x.in_flight, x.target) == kind]) for kind in kinds]
                found = tiny(measured)
            else:
                found = _PARTS[part](Path(folder), seconds)
        wide.print(grid(found).table())
        wide.print(f"{part}: {others_cores(before, busy([])):.2f} cores were busy, this benchmark's among them")
        lines += found
    report = Report(
        machine=machine,
        rounds=rounds,
        seconds=seconds,
        measured=tuple(measured),
        every_round=tuple(every_round),
        lines=tuple(lines),
    )
    path = out / "infer.json"
    report.write(path)
    wide.print(f"{machine.processor}, {machine.cores} cores, load before {machine.load_average:.2f}; all in {path}")
    disturbed = warning(max((each.others_cores for each in measured), default=0.0))
    if disturbed:
        wide.print(f"[yellow]{disturbed}[/yellow]")
    bad = [each for each in measured if each.failed or each.wrong]
    for each in bad:
        click.echo(
            f"problem: {each.target}, {each.in_flight} in flight: {each.failed} failed, {each.wrong} wrong", err=True
        )
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
