"""Run the demo: `make demo`, or `python -m examples.digits_demo` from the project's root."""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from interlock_client import Admin, Client, InterlockError, Switch, __version__
from interlock_client.torch import export
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from examples.digits_demo import report, training
from examples.digits_demo.load import MODEL, Checker, Load
from examples.digits_demo.outcome import Outcome, Phase, SwitchTime, faults
from examples.digits_demo.service import Server, ServerFailed
from examples.digits_demo.training import Digits, Trained

_OUTPUT: Final = "scores"
_BATCH: Final = 30
_LOG_WIDTH: Final = 110


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    out: Path
    seconds: float
    rate: float
    min_rate: float


def main() -> int:
    """Run the main job; return 0 only if every promise held."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    # In a log, where rich cannot know the width, the table would lose its columns.
    console = Console() if sys.stdout.isatty() else Console(width=_LOG_WIDTH)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    try:
        with (
            Progress(*columns, console=console) as progress,
            tempfile.TemporaryDirectory(prefix="interlock-demo-") as data,
        ):
            digits, versions = _train(progress)
            _export(progress, options.out, digits, versions)
            with Server(Path(data), options.out / "server.log") as server:
                outcome = _Run(options, progress, digits, versions).play(server)
                stopped_s = server.stop()
    except (InterlockError, ServerFailed) as error:
        console.print(f"[bold red]The demo failed:[/] {error}", highlight=False)
        return 1
    return _conclude(console, options, outcome, stopped_s)


def _options() -> Options:
    parser = argparse.ArgumentParser(prog="digits_demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo-out"), help="where models, log and page go")
    parser.add_argument("--seconds", type=float, default=6.0, help="load on each version, in seconds")
    parser.add_argument("--rate", type=float, default=200.0, help="requests per second that are sent")
    parser.add_argument("--min-rate", type=float, default=50.0, help="requests per second that must be reached")
    found = parser.parse_args()
    if found.seconds <= 0 or not 0 < found.min_rate <= found.rate:
        parser.error("--seconds must be above 0, and --min-rate above 0 and at most --rate")
    return Options(found.out, found.seconds, found.rate, found.min_rate)


def _train(progress: Progress) -> tuple[Digits, list[Trained]]:
    digits = training.load()
    mixed = training.mix_up(digits.train_labels)
    found = []
    for number, labels, note in ((1, digits.train_labels, "true labels"), (2, mixed, "partly wrong labels")):
        task = progress.add_task(f"train version {number} ({note})", total=training.EPOCHS)
        found.append(training.train(digits, labels, number, partial(progress.advance, task)))
        progress.console.print(
            f"version {number}: {found[-1].accuracy:.2%} of {len(digits.test_labels)} held-out images"
        )
    return digits, found


def _export(progress: Progress, out: Path, digits: Digits, versions: list[Trained]) -> None:
    task = progress.add_task("export to ONNX, prove parity", total=len(versions))
    example = torch.from_numpy(digits.train_images[:32])
    for number, trained in enumerate(versions, 1):
        result = export(trained.model, _model_path(out, number), {"image": example}, output_names=[_OUTPUT])
        progress.console.print(
            f"version {number}: PyTorch and ONNX Runtime agree on {result.compared} batches, "
            f"at most {result.max_abs:.1e} apart"
        )
        progress.advance(task)


def _model_path(out: Path, number: int) -> Path:
    return out / f"digits-v{number}.onnx"


class _Run:
    """The serving part: register, promote, load, promote, roll back."""

    def __init__(self, options: Options, progress: Progress, digits: Digits, versions: list[Trained]) -> None:
        self._options = options
        self._progress = progress
        self._digits = digits
        self._versions = versions
        self._checker = Checker(digits, {number: each.answers for number, each in enumerate(versions, 1)})

    def play(self, server: Server) -> Outcome:
        addresses = server.addresses
        self._progress.console.print(f"interlock serve is ready on {addresses.inference}, with nothing registered")
        with Admin(addresses.admin) as admin, Client(addresses.inference, retries=0) as client:
            self._register(admin)
            admin.promote(MODEL, 1, reason="first version")
            with Load(addresses.inference, self._digits, self._checker, self._options.rate) as load:
                phases = self._phases(admin, client, load)
            return Outcome(
                phases=phases,
                answers=load.answers(),
                min_rate=self._options.min_rate,
                trained_accuracy=[each.accuracy for each in self._versions],
                live_at_end=admin.show(MODEL).version,
            )

    def _register(self, admin: Admin) -> None:
        task = self._progress.add_task("register both versions", total=len(self._versions))
        for number in range(1, len(self._versions) + 1):
            path = _model_path(self._options.out, number)
            note = "true labels" if number == 1 else "new labels"
            version = admin.register(MODEL, path, golden=path.with_suffix(".npz"), note=note)
            if version.version != number or not version.proven:
                raise ServerFailed(f"{path.name} was registered as {version.version}, proven={version.proven}")
            self._progress.advance(task)

    def _phases(self, admin: Admin, client: Client, load: Load) -> list[Phase]:
        first_accuracy = self._under_load(client, load, "load on version 1")
        promote = _timed("promote", lambda: admin.promote(MODEL, 2, reason="trained on the new labels"))
        second_accuracy = self._under_load(client, load, "load on version 2")
        rollback = _timed("rollback", lambda: admin.rollback(MODEL, reason="accuracy fell"))
        last_accuracy = self._under_load(client, load, "load after the rollback")
        end_s = time.perf_counter()
        self._progress.console.print(
            f"accuracy {first_accuracy:.2%} → {second_accuracy:.2%} after the promote → {last_accuracy:.2%} "
            "after the rollback"
        )
        return [
            Phase("version 1", 1, load.started_s, promote.asked_s, promote.acknowledged_s, first_accuracy, None),
            Phase(
                "promote to 2",
                2,
                promote.acknowledged_s,
                rollback.asked_s,
                rollback.acknowledged_s,
                second_accuracy,
                promote,
            ),
            Phase("rollback to 1", 1, rollback.acknowledged_s, end_s, end_s, last_accuracy, rollback),
        ]

    def _under_load(self, client: Client, load: Load, title: str) -> float:
        """Keep the load up for the phase's seconds; meanwhile ask for every held-out image and return the accuracy."""
        started_s, before = time.perf_counter(), load.sent
        task = self._progress.add_task(title, total=round(self._options.seconds * self._options.rate))
        images = self._digits.test_images
        scores = [
            client.infer(MODEL, {"image": images[at : at + _BATCH]})[_OUTPUT] for at in range(0, len(images), _BATCH)
        ]
        while (left_s := started_s + self._options.seconds - time.perf_counter()) > 0:
            time.sleep(min(0.1, left_s))
            self._progress.update(task, completed=load.sent - before)
        self._progress.update(task, total=load.sent - before, completed=load.sent - before)
        return training.accuracy(np.concatenate(scores), self._digits.test_labels)


def _timed(action: str, call: Callable[[], Switch]) -> SwitchTime:
    asked_s = time.perf_counter()
    switch = call()
    acknowledged_s = time.perf_counter()
    return SwitchTime(action, switch.to_version, asked_s, acknowledged_s, switch.prepare_s, switch.commit_s)


def _conclude(console: Console, options: Options, outcome: Outcome, stopped_s: float) -> int:
    table = Table(title="Two versions of a digit classifier under constant load", title_justify="left", box=SIMPLE_HEAD)
    for index, heading in enumerate(report.HEADINGS):
        table.add_column(heading, justify="right" if index else "left", no_wrap=True)
    for row in report.rows(outcome):
        table.add_row(*row)
    console.print(table)
    notes = [
        f"interlock {__version__}, torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}",
        f"{options.rate:g} requests/s sent, at least {options.min_rate:g} promised; retries off; "
        f"the server stopped {stopped_s:.1f} s after SIGTERM with exit status 0",
    ]
    page = options.out / "report.html"
    page.write_text(report.render(outcome, notes), encoding="utf-8")
    found = faults(outcome)
    for fault in found:
        console.print(f"[bold red]✗[/] {fault}", highlight=False)
    if not found:
        console.print("[bold green]✓[/] no request failed, no answer was wrong, version 1 is back", highlight=False)
    console.print(f"The page is {page}", highlight=False)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
