"""A race of two processes: one registers and deletes the same bytes, the other collects garbage without any grace."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests import tied
from tests.databases import Place
from tests.progress import progress
from tests.races.arena import Result
from tests.support import eventually
from tests.unit.registry.builders import Desk
from tests.unit.registry.warehouse import Warehouse

RACE = "register-collect"
_EVERY = 4
"""After so many rounds everything is collected; else a registration comes before the collector, or into its work."""

_COLLECTOR = """
import sys
from pathlib import Path
from interlock_registry.artifacts import LocalArtifactStore
from interlock_registry.collector import Collector
from interlock_registry.domain import Action
from interlock_registry.registry import Registry
from tests.unit.registry.builders import attempt

collector = Collector(Registry.open(sys.argv[1]).blobs, LocalArtifactStore(Path(sys.argv[2])), grace_s=0)
print("ready", flush=True)
while True:
    collector.collect(attempt(Action.COLLECT, model=""))
"""


def collecting(warehouse: Warehouse) -> subprocess.Popen[str]:
    """Start a process that collects garbage, without any grace, over and over."""
    process = subprocess.Popen(
        [sys.executable, "-c", _COLLECTOR, warehouse.desk.place.url, str(warehouse.root / "blobs")],
        stdout=subprocess.PIPE,
        text=True,
    )
    tied.tie(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def run(place: Place, folder: Path, rounds: int) -> Result:
    """Run the race in a registry, with an artifact store in `folder`."""
    desk = Desk.at(place)
    try:
        return against_a_collector(Warehouse.at(desk, folder), rounds)
    finally:
        desk.registry.close()


def against_a_collector(warehouse: Warehouse, rounds: int) -> Result:
    """Register and delete the same bytes so many times; whatever a version has must be there while it lives."""
    result = Result(RACE)
    collector = collecting(warehouse)
    try:
        with progress(RACE, rounds, "rounds") as tell:
            for version in range(1, rounds + 1):
                _round(warehouse, version, result)
                tell(version)
    finally:
        collector.kill()
        collector.communicate(timeout=10)
    if not warehouse.registry.verify_chain().is_whole:
        result.violations.append("the history is not whole")
    return result


def _round(warehouse: Warehouse, version: int, result: Result) -> None:
    left = len(warehouse.names())
    result.endings["some of it was left" if left else "all of it was collected"] += 1
    registered = warehouse.register("graph", "weights")
    result.rounds += 1
    if registered.version.version != version:
        result.violations.append(f"round {version}: it became version {registered.version.version}")
    whole = [*warehouse.has("graph", "weights", "golden of graph")]
    if not all((*whole, warehouse.store.has(registered.version.digest))):
        result.violations.append(f"round {version}: a version without its blobs: {whole}")
    warehouse.drop(version)
    if version % _EVERY == 0:
        eventually(lambda: warehouse.names() == set(), "everything is collected")
