"""`make soak`: random promotes, rollbacks, uploads and kills under load, for minutes; what it costs must not grow.

Exits 1 if a request failed that no kill had met, or if memory or file descriptors grew.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

import click
from interlock.errors import InterlockError, Unavailable
from interlock_client import Admin

from tests import models
from tests.chaos.arena import Arena
from tests.progress import progress
from tests.support import eventually
from tests.system.stories import control_pid, pid_or_zero

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_WEIGHTS: Final = {"promote": 40, "rollback": 40, "upload": 10, "kill a worker": 6, "kill control": 2}
_EXPECTED: Final = {"NOTHING_TO_ROLL_BACK", "ALREADY_SERVED"}
MOST_GROWTH: Final = 1.05


@dataclass(frozen=True, slots=True)
class Held:
    """What all processes of a server hold."""

    rss_bytes: int
    descriptors: int


@dataclass
class Report:
    """What a soak came to."""

    seconds: float = 0.0
    sent: int = 0
    ended_by_kills: int = 0
    failed: int = 0
    deeds: dict[str, int] = field(default_factory=Counter)
    refused: dict[str, int] = field(default_factory=Counter)
    start: Held = Held(0, 0)
    end: Held = Held(0, 0)
    errors: list[str] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """Memory at the end over memory at the start."""
        return self.end.rss_bytes / max(1, self.start.rss_bytes)


class Soak:
    """One server, and somebody who does things to it at random."""

    def __init__(self, arena: Arena, dice: random.Random, tell: Callable[[int], None]) -> None:
        self._arena = arena
        self._tell = tell
        self._dice = dice
        self.report = Report()
        self._uploads = 0

    def run(self, seconds: float) -> Report:
        """Do things for so long; memory is counted from a tenth of the time on, when everything was done once."""
        arena, report = self._arena, self.report
        for deed in _WEIGHTS:
            self._do(deed)
        began = time.monotonic()
        warm = False
        while (spent := time.monotonic() - began) < seconds:
            self._tell(round(spent))
            if not warm and spent >= seconds / 10:
                report.start, warm = self._settled(), True
            self._do(self._dice.choices([*_WEIGHTS], [*_WEIGHTS.values()])[0])
            time.sleep(self._dice.uniform(0.0, 0.4))
        report.end = self._settled()
        report.seconds = time.monotonic() - began
        arena.load.check_answers(at_least=1)
        report.sent = len(arena.load.answers) + len(arena.load.failures)
        for failure in arena.load.failures:
            if isinstance(failure.error, Unavailable):
                report.ended_by_kills += 1
            else:
                report.failed += 1
                report.errors.append(repr(failure.error)[:200])
        return report

    def _do(self, deed: str) -> None:
        self.report.deeds[deed] += 1
        try:
            if deed == "kill a worker":
                self._kill_worker()
            elif deed == "kill control":
                self._kill_control()
            else:
                with self._arena.server.admin() as admin:
                    self._change(admin, deed)
        except InterlockError as error:
            if error.reason not in _EXPECTED:
                self.report.refused[f"{deed}: {error.reason}"] += 1

    def _change(self, admin: Admin, deed: str) -> None:
        if deed == "promote":
            admin.promote("m", self._dice.randint(1, 3), timeout=30)
        elif deed == "rollback":
            admin.rollback("m", timeout=30)
        else:
            self._uploads += 1
            file = models.write(
                self._arena.folder / f"upload-{self._uploads}.onnx", models.affine(scale=float(self._uploads))
            )
            version = admin.register("uploads", file, timeout=60).version
            admin.promote("uploads", version, timeout=60)

    def _kill_worker(self) -> None:
        before = self._arena.worker_pids()
        victim = self._dice.choice([pid for pid in before if pid])
        os.kill(victim, signal.SIGKILL)
        self._arena.until_replaced(before)

    def _kill_control(self) -> None:
        old = control_pid(self._arena.server)
        os.kill(old, signal.SIGKILL)
        eventually(lambda: pid_or_zero(self._arena.server, "control") not in (0, old), "a new control process", 60)
        eventually(self._arena.whole, "the replica is whole", 60)

    def _settled(self) -> Held:
        """Count what is held once nothing is loading or being unloaded."""
        self._arena.until_models_are_ready()
        self._arena.load.more(200)
        counted = [self._held()]
        # Versions that were dropped give their memory back a moment later.
        until = time.monotonic() + 4.0
        while time.monotonic() < until:
            time.sleep(0.2)
            counted.append(self._held())
        return min(counted, key=lambda held: held.rss_bytes)

    def _held(self) -> Held:
        assert self._arena.server.process is not None
        pids = [self._arena.server.process.pid, control_pid(self._arena.server), *self._arena.worker_pids()]
        rss = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
        return Held(rss * _PAGE_BYTES, sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids))


def soak(folder: Path, seconds: float, seed: int) -> Report:
    """Run a soak in a folder of its own."""
    with Arena(folder) as arena, progress("soak", round(seconds), "s") as tell:
        return Soak(arena, random.Random(seed), tell).run(seconds)


@click.command()
@click.option("--minutes", default=20.0, show_default=True, help="How long.")
@click.option("--seed", default=0, show_default=True, help="Of what is done when.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("bench-out/soak.json"), show_default=True)
def main(minutes: float, seed: int, out: Path) -> None:
    """Do things to a server at random, under load, and look what is left."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        report = soak(Path(folder), minutes * 60, seed)
    print(f"{report.seconds:.0f} s, {report.sent} requests, {dict(report.deeds)}")
    print(f"failed {report.failed}, ended by kills {report.ended_by_kills}, changes refused {dict(report.refused)}")
    mib = 1024 * 1024
    print(
        f"memory {report.start.rss_bytes / mib:.1f} → {report.end.rss_bytes / mib:.1f} MiB ({report.growth:.3f} ×), "
        f"file descriptors {report.start.descriptors} → {report.end.descriptors}"
    )
    for error in report.errors[:10]:
        print(f"    {error}")
    out.parent.mkdir(parents=True, exist_ok=True)
    told = asdict(replace(report, deeds=dict(report.deeds), refused=dict(report.refused)))
    out.write_text(json.dumps(told | {"growth": report.growth}, indent=1) + "\n")
    grown = report.growth > MOST_GROWTH or report.end.descriptors > report.start.descriptors * 1.1 + 8
    sys.exit(1 if report.failed or grown else 0)


if __name__ == "__main__":
    main()
