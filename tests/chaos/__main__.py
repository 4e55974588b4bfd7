"""`make chaos`: every fault several times under load; exits 1 if anything failed that should not have."""

from __future__ import annotations

import json
import random
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click
from rich.table import Table

from tests.bench.machine import this_machine
from tests.chaos.arena import CLIENTS, TIMEOUT_S, WORKERS, Arena
from tests.chaos.faults import FAULTS, Fault
from tests.screen import screen


@dataclass
class Row:
    """One line of the table."""

    fault: str
    times: int = 0
    sent: int = 0
    met: int = 0
    """Requests that the fault ended, in a way that it may."""
    failed: int = 0
    """Requests that should not have failed."""
    recovery_s: list[float] = field(default_factory=list)
    seconds: float = 0.0
    errors: list[str] = field(default_factory=list)


def run(arena: Arena, fault: Fault, row: Row) -> None:
    """Inject a fault once and add what came of it to its row."""
    recoveries: list[float] = []
    count = arena.measure(lambda: recoveries.append(fault.inject(arena)))
    met = [error for error in count.failures if isinstance(error, fault.may_fail)]
    wrong = [error for error in count.failures if not isinstance(error, fault.may_fail)]
    row.times += 1
    row.sent += count.sent
    row.met += len(met)
    row.failed += len(wrong)
    row.recovery_s += [round(each, 3) for each in recoveries]
    row.seconds += count.seconds
    row.errors += [repr(error)[:200] for error in wrong[:3]]


def chaos(folder: Path, faults: list[Fault], times: int, seed: int) -> list[Row]:
    """Inject each of the faults so often, in a random order; returns a row for each."""
    rows = {fault.name: Row(fault.name) for fault in faults}
    turns = [fault for fault in faults for _ in range(times)]
    random.Random(seed).shuffle(turns)
    with Arena(folder) as arena:
        for fault in turns:
            run(arena, fault, rows[fault.name])
    return list(rows.values())


@click.command()
@click.option("--times", default=3, show_default=True, help="How often each fault is injected.")
@click.option("--fault", "names", multiple=True, help="Only faults with this in their name.")
@click.option("--min-rate", default=100.0, show_default=True, help="Requests a second that the load must come to.")
@click.option("--seed", default=0, show_default=True, help="Of the order.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("bench-out/chaos.json"), show_default=True)
def main(times: int, names: tuple[str, ...], min_rate: float, seed: int, out: Path) -> None:
    """Hurt a server of two workers under load, and print what came of it."""
    faults = [each for each in FAULTS if not names or any(name in each.name for name in names)]
    machine = this_machine()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        rows = chaos(Path(folder), faults, times, seed)
    rate = sum(row.sent for row in rows) / sum(row.seconds for row in rows)
    table = Table(title=f"{WORKERS} workers, {CLIENTS} clients without retries, {rate:.0f} requests/s")
    for head in ("fault", "times", "sent", "ended by it", "failed", "recovery s, median and longest"):
        table.add_column(head, justify="left" if head == "fault" else "right")
    for row in rows:
        ordered = sorted(row.recovery_s)
        recovery = f"{ordered[len(ordered) // 2]:.2f}, {ordered[-1]:.2f}"
        table.add_row(row.fault, str(row.times), str(row.sent), str(row.met), str(row.failed), recovery)
    screen().print(table)
    for row in rows:
        for error in row.errors:
            print(f"{row.fault}: {error}")
    out.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "machine": asdict(machine),
        "clients": CLIENTS,
        "timeout_s": TIMEOUT_S,
        "rate": rate,
        "min_rate": min_rate,
        "rows": [asdict(row) for row in rows],
    }
    out.write_text(json.dumps(report, indent=1) + "\n")
    if rate < min_rate:
        print(f"the load was too thin to prove anything: {rate:.0f} requests/s, wanted {min_rate:.0f}")
    sys.exit(1 if rate < min_rate or any(row.failed for row in rows) else 0)


if __name__ == "__main__":
    main()
