"""Run the benchmark: `python -m tests.bench.infer`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.progress import Progress

from tests import models
from tests.bench.infer import targets
from tests.bench.infer.measure import Measured, measure, middle
from tests.bench.infer.report import Report, grid
from tests.bench.load import questions
from tests.bench.machine import this_machine, warning

_WIDTH: Final = 10
_HIDDEN: Final = 20
_IN_FLIGHT: Final = (1, 8, 32)


def run(depths: Sequence[int], rounds: int, seconds: float, folder: Path, progress: Progress) -> list[Measured]:
    """Measure every server at every depth, in turns, so that a change of the machine's mood meets all of them."""
    model = models.write(folder / "tiny.onnx", models.mlp(_WIDTH, _HIDDEN, 10, 1))
    asked = folder / "questions.npz"
    questions.make({1: model}, _WIDTH).save(asked)
    found: list[Measured] = []
    with ExitStack() as stack:
        running = [
            stack.enter_context(server)
            for server in (targets.interlock(folder, model), targets.bare(model), targets.echo())
        ]
        bar = progress.add_task("measuring", total=rounds * len(depths) * len(running))
        for _ in range(rounds):
            for in_flight in depths:
                for target in running:
                    found.append(measure(target, in_flight, asked, folder, seconds))
                    progress.advance(bar)
    return found


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Times that every measurement is repeated.")
@click.option("--seconds", default=3.0, show_default=True, help="Length of one measurement.")
@click.option("--quick", is_flag=True, help="One second of 8 in flight: a check that it works, not a measurement.")
@click.option(
    "--out", default="bench-out", show_default=True, type=click.Path(path_type=Path), help="Folder for the JSON file."
)
def main(rounds: int, seconds: float, quick: bool, out: Path) -> None:
    """Measure what a tiny request costs; exit 1 if a request failed or an answer was wrong."""
    machine = this_machine()
    depths, rounds, seconds = ((8,), 1, 1.0) if quick else (_IN_FLIGHT, rounds, seconds)
    with (
        tempfile.TemporaryDirectory(prefix="interlock-bench-") as folder,
        Progress(console=Console(stderr=True)) as bar,
    ):
        every_round = run(depths, rounds, seconds, Path(folder), bar)
    kinds = dict.fromkeys((each.in_flight, each.target) for each in every_round)
    measured = [middle([each for each in every_round if (each.in_flight, each.target) == kind]) for kind in kinds]
    report = Report(
        machine=machine,
        rounds=rounds,
        seconds=seconds,
        measured=tuple(measured),
        every_round=tuple(every_round),
    )
    path = out / "infer.json"
    report.write(path)
    wide = Console(width=None if sys.stdout.isatty() else 120)
    wide.print(grid(report).table())
    wide.print(f"{machine.processor}, {machine.cores} cores, load before {machine.load_average:.2f}; all in {path}")
    disturbed = max(each.others_cores for each in measured)
    if warning(disturbed):
        wide.print(f"[yellow]{warning(disturbed)}[/yellow]")
    bad = [each for each in measured if each.failed or each.wrong]
    for each in bad:
        click.echo(
            f"problem: {each.target}, {each.in_flight} in flight: {each.failed} failed, {each.wrong} wrong", err=True
        )
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
