"""Run the benchmark: `python -m tests.bench.switch`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from tests.bench.machine import this_machine, warning
from tests.bench.switch.report import Report, grid
from tests.bench.switch.scenario import BIG, TINY, Outcome, Plan, Scenario
from tests.screen import screen


@click.command()
@click.option("--pairs", default=50, show_default=True, help="Promote/rollback pairs per model and load.")
@click.option("--seconds", default=1.2, show_default=True, help="Time between two switches.")
@click.option("--clients", default=16, show_default=True, help="Concurrent clients, each with its own connection.")
@click.option("--processes", default=2, show_default=True, help="Processes that the clients are spread over.")
@click.option("--only", type=click.Choice([BIG.name, TINY.name]), help="Switch one model only.")
@click.option("--quick", is_flag=True, help="One pair of each, one process: a check that it works.")
@click.option(
    "--out", default="bench-out", show_default=True, type=click.Path(path_type=Path), help="Folder for the JSON file."
)
def main(pairs: int, seconds: float, clients: int, processes: int, only: str | None, quick: bool, out: Path) -> None:
    """Promote and roll back under load; exit 1 if a request failed, an answer was wrong or the rate did not hold."""
    machine = this_machine()
    plan = Plan(pairs=pairs, gap_s=seconds, clients=clients, processes=processes)
    if quick:
        plan = Plan(pairs=1, gap_s=0.8, clients=4, processes=1)
    console = Console(stderr=True)
    outcomes: list[Outcome] = []
    with Progress(console=console) as progress:
        for subject in (BIG, TINY):
            if only in (None, subject.name):
                with tempfile.TemporaryDirectory(prefix="interlock-bench-") as folder:
                    outcomes.append(Scenario(subject, plan, Path(folder), progress).run())
    problems = tuple(problem for outcome in outcomes for problem in outcome.problems())
    report = Report(machine=machine, plan=plan, outcomes=tuple(outcomes), problems=problems)
    path = out / "switch.json"
    report.write(path)
    wide = screen()
    wide.print(grid(report).table())
    wide.print(f"{machine.processor}, {machine.cores} cores, load before {machine.load_average:.2f}; all in {path}")
    disturbed = max(max(each.closed_loop.others_cores, each.half_load.others_cores) for each in outcomes)
    if warning(disturbed):
        wide.print(f"[yellow]{warning(disturbed)}[/yellow]")
    for problem in problems:
        click.echo(f"problem: {problem}", err=True)
    for outcome in outcomes:
        for incident in outcome.incidents:
            click.echo(f"  {outcome.model} at {incident.at:.3f}: {incident.kind}: {incident.what}", err=True)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
