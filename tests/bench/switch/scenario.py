"""One model on a fresh server: its versions, a load, promotes and rollbacks under it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from interlock_client import Admin
from rich.progress import Progress

from tests import models
from tests.bench.load import questions
from tests.bench.load.fleet import Load
from tests.bench.load.questions import Questions
from tests.bench.load.records import Incident, Records
from tests.bench.machine import busy, family, others_cores
from tests.bench.switch.analysis import PROMOTE, ROLLBACK, WINDOW_S, Figures, SwitchEvent, figures, quiet_windows
from tests.server import Server

_WARM_S: Final = 2.0
_MARGIN_S: Final = 300.0
"""What a load may outlast its plan by before it ends by itself."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to switch, in two versions that answer differently."""

    name: str
    width: int
    hidden: int
    layers: int
    min_rate: float
    """Answers in every whole second of the closed loop: low enough for a busy machine, too high for an outage."""

    def file(self, seed: int) -> bytes:
        """Return one version's ONNX file."""
        return models.mlp(self.width, self.hidden, 10, self.layers, seed)


TINY: Final = Subject("tiny", 10, 20, 1, min_rate=50.0)
BIG: Final = Subject("mlp-100mb", 64, 2560, 5, min_rate=10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much to do."""

    pairs: int
    gap_s: float
    """Between a switch's acknowledgement and the next switch."""
    clients: int
    processes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One model's figures under both loads."""

    model: str
    file_bytes: int
    min_rate: float
    closed_loop: Figures
    half_load: Figures
    incidents: tuple[Incident, ...]

    def problems(self) -> list[str]:
        """Return what makes the run fail: anything a caller would call an outage. Latency targets are not among it."""
        found: list[str] = []
        for each in (self.closed_loop, self.half_load):
            where = f"{self.model}, {each.load}"
            counts = {"failed": each.failed, "wrong-version": each.wrong, "stale": each.stale, "lagging": each.lagging}
            found += [f"{where}: {count} {what}" for what, count in counts.items() if count]
        if self.closed_loop.slowest_second < self.min_rate:
            found.append(
                f"{self.model}: a second had {self.closed_loop.slowest_second} answers, under {self.min_rate:g}"
            )
        return found


class Scenario:
    """Runs one subject on one server."""

    def __init__(self, subject: Subject, plan: Plan, folder: Path, progress: Progress) -> None:
        self._subject = subject
        self._plan = plan
        self._folder = folder
        self._questions = folder / "questions.npz"
        self._progress = progress

    def run(self) -> Outcome:
        """Register two versions, then switch under a closed loop and again at half its rate."""
        files = {
            number: models.write(self._folder / f"{number}.onnx", self._subject.file(seed=number)) for number in (1, 2)
        }
        asked = questions.make(files, self._subject.width)
        asked.save(self._questions)
        with Server(self._folder / "data") as server, server.admin() as admin:
            for number, path in files.items():
                golden = _golden(self._folder / f"{number}.npz", asked, number)
                admin.register(self._subject.name, path, golden=golden)
            admin.promote(self._subject.name, 1)
            full, rate, first = self._phase(server, admin, 0.0)
            half, _, second = self._phase(server, admin, rate / 2)
        return Outcome(
            model=self._subject.name,
            file_bytes=files[1].stat().st_size,
            min_rate=self._subject.min_rate,
            closed_loop=full,
            half_load=half,
            incidents=(first.incidents + second.incidents)[:20],
        )

    def _phase(self, server: Server, admin: Admin, rate: float) -> tuple[Figures, float, Records]:
        """Switch back and forth under one load; return its figures and the rate of its quiet time."""
        plan = self._plan
        planned_s = _WARM_S + plan.pairs * 2 * (plan.gap_s + 1.0)
        load = Load(
            address=server.grpc,
            model=self._subject.name,
            questions=self._questions,
            folder=self._folder,
            clients=plan.clients,
            processes=plan.processes,
            rate=rate,
            max_s=planned_s + _MARGIN_S,
        )
        text = f"{plan.clients} clients, paced {rate:.0f}/s" if rate else f"{plan.clients} clients, closed loop"
        events: list[SwitchEvent] = []
        bar = self._progress.add_task(f"{self._subject.name}: {text}", total=plan.pairs)
        with load:
            time.sleep(_WARM_S)
            assert server.process is not None
            pids = [os.getpid(), *family(server.process.pid), *load.pids]
            before = busy(pids)
            for _ in range(plan.pairs):
                time.sleep(plan.gap_s)
                events.append(self._timed(PROMOTE, admin))
                time.sleep(plan.gap_s)
                events.append(self._timed(ROLLBACK, admin))
                self._progress.advance(bar)
            time.sleep(max(plan.gap_s, WINDOW_S))
            after = busy(pids)
            records = load.stop()
        found = figures(text, records, events, before.at, after.at, others_cores(before, after))
        return found, _quiet_rate(records, events, before.at), records

    def _timed(self, action: str, admin: Admin) -> SwitchEvent:
        name = self._subject.name
        started = time.monotonic()
        done = admin.promote(name, 2) if action == PROMOTE else admin.rollback(name)
        return SwitchEvent(
            action=action,
            started=started,
            acknowledged=time.monotonic(),
            from_version=done.from_version,
            to_version=done.to_version,
            resident=done.resident,
            prepare_s=done.prepare_s,
            commit_s=done.commit_s,
            lagging=len(done.lagging),
        )


def _quiet_rate(records: Records, events: list[SwitchEvent], begin: float) -> float:
    windows = quiet_windows(events, begin)
    inside = sum(np.count_nonzero((records.ended >= each.start) & (records.ended < each.end)) for each in windows)
    return float(inside / sum(each.end - each.start for each in windows))


def _golden(path: Path, asked: Questions, version: int) -> Path:
    """Golden samples of a version: four of the questions, with what ONNX Runtime answers here."""
    return models.golden_file(path, [({"x": asked.inputs[:4]}, {"y": asked.answers[version][:4]})])
