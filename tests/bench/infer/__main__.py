"""Run the benchmark: `python -m tests.bench.infer`."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import click
from interlock_server.front import native

from tests.bench.infer import parts, tiny
from tests.bench.infer.analyzed import perf_analyzed
from tests.bench.infer.counting import counting
from tests.bench.infer.cycles import cycles
from tests.bench.infer.held import tls
from tests.bench.infer.large import large
from tests.bench.infer.line import Line, grid
from tests.bench.infer.overload import overload
from tests.bench.infer.perf_analyzer import ProgramMissing
from tests.bench.infer.report import Report
from tests.bench.infer.sdk import sdk
from tests.bench.infer.startup import many
from tests.bench.machine import busy, others_cores, this_machine, warning
from tests.screen import screen

_TINY: Final = "tiny"
_PARTS: Final[Mapping[str, Callable[[Path, float], list[Line]]]] = {
    "large": large,
    "resnet": parts.resnet,
    "transformer": parts.transformer,
    "batching": parts.batching,
    "overload": overload,
    "many": many,
    "sdk": sdk,
    "tls": tls,
    "counting": counting,
    "cycles": cycles,
}
_BY_NAME: Final[Mapping[str, Callable[[Path, float], list[Line]]]] = {"perf-analyzer": perf_analyzed}
"""Parts that run only where they are asked for: this one installs a program."""


@click.command()
@click.option(
    "--only",
    type=click.Choice([_TINY, *_PARTS, *_BY_NAME]),
    multiple=True,
    help="A part to run; may be repeated.  [default: all but perf-analyzer, about 8 minutes]",
)
@click.option("--rounds", default=3, show_default=True, help="Times that the tiny model's measurements are repeated.")
@click.option("--seconds", default=3.0, show_default=True, help="Length of one measurement.")
@click.option("--quick", is_flag=True, help="A moment of tiny at 8 in flight: a check that it works, no measurement.")
@click.option(
    "--front", "fronts", type=click.Choice(tiny.FRONTS), multiple=True, help="Of tiny, only this; may be repeated."
)
@click.option(
    "--out", default="bench-out", show_default=True, type=click.Path(path_type=Path), help="Folder for the results."
)
def main(only: Sequence[str], rounds: int, seconds: float, quick: bool, fronts: Sequence[str], out: Path) -> None:
    """Measure the inference path beside bare servers and loops; exit 1 if a request of tiny failed or was wrong."""
    os.environ["GRPC_VERBOSITY"] = "NONE"
    machine = this_machine()
    wide = screen()
    depths, rounds, seconds = ((8,), 1, 0.2) if quick else (tiny.IN_FLIGHT, rounds, seconds)
    wanted = [_TINY] if quick else only or [_TINY, *_PARTS]
    every_round: list[tiny.Measured] = []
    measured: list[tiny.Measured] = []
    lines: list[Line] = []
    for part in wanted:
        before = busy([])
        with tempfile.TemporaryDirectory(prefix="interlock-bench-") as folder:
            if part == _TINY:
                if left_out := native.missing():
                    wide.print(f"the front native is left out: {left_out}")
                every_round = tiny.measure(depths, rounds, seconds, Path(folder), fronts or tiny.FRONTS)
                measured = tiny.medians(every_round)
                found = tiny.lines(measured)
            else:
                try:
                    found = {**_PARTS, **_BY_NAME}[part](Path(folder), seconds)
                except ProgramMissing as error:
                    raise click.ClickException(str(error)) from error
        wide.print(grid(found).table())
        wide.print(f"{part}: {others_cores(before, busy([])):.2f} cores were busy, this benchmark's among them")
        lines += found
    report = Report(
        machine=machine,
        rounds=rounds,
        seconds=seconds,
        measured=tuple(measured),
        every_round=tuple(every_round),
        ratios=tuple(tiny.ratios(measured)),
        lines=tuple(lines),
    )
    path = out / "infer.json"
    report.write(path)
    wide.print(f"{machine.processor}, {machine.cores} cores, load before {machine.load_average:.2f}; all in {path}")
    disturbed = warning(max((each.others_cores or 0.0 for each in lines), default=0.0))
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
