"""Kill -9 at any moment of a promote or a rollback: the alias is old or new, and every acknowledged change is there."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from interlock.model import EventFilter
from interlock_registry.domain import Action, Recalled
from interlock_registry.registry import Registry

from tests.databases import Cluster, Place, SqlitePlace
from tests.unit.registry.builders import MODEL, Desk, attempt

MOVER = """
import sys
from interlock_registry.domain import Action, Recalled
from interlock_registry.registry import Registry
from tests.unit.registry.builders import attempt

registry = Registry.open(sys.argv[1])
start = registry.alias("digits", "stable").generation
print("asked", start, flush=True)
for turn in range(start, start + int(sys.argv[2])):
    if turn % 2:
        action, move = Action.PROMOTE, registry.plan_promote("digits", 2)
    else:
        action, move = Action.ROLLBACK, registry.plan_rollback("digits")
    key = f"k-{move.generation_after}"
    asked = attempt(action, version=move.to_version, alias="stable", key=key, request_hash=key)
    print("asked", move.generation_after, flush=True)
    registry.commit_move(move, asked, '{"generation":%d}' % move.generation_after)
    print("acknowledged", move.generation_after, flush=True)
"""


@pytest.fixture
def prepared(tmp_path: Path) -> SqlitePlace:
    """A registry whose alias is at generation 1, on version 1; odd generations are on 1, even ones on 2."""
    place = SqlitePlace(tmp_path / "registry.db")
    prepare(place)
    return place


def prepare(place: Place) -> None:
    desk = Desk(Registry.open(place.url), place)
    desk.register()
    desk.register()
    desk.promote(1)
    desk.registry.close()


def check(place: Place, said: list[str]) -> None:
    asked = max(int(line.split()[1]) for line in said if line.startswith("asked"))
    acknowledged = [int(line.split()[1]) for line in said if line.startswith("acknowledged")]
    registry = Registry.open(place.url)
    (model,) = registry.desired().models
    (alias,), (route,) = model.aliases, model.routes
    assert max(acknowledged, default=1) <= alias.generation <= asked
    on_first = alias.generation % 2 == 1
    assert (alias.version, alias.stack) == ((1, ()) if on_first else (2, (1,)))
    assert (route.generation, route.targets[0].version) == (alias.generation, alias.version)
    assert [each.version for each in model.keep] == ([1] if on_first else [1, 2])
    for generation in acknowledged:
        action = Action.ROLLBACK if generation % 2 else Action.PROMOTE
        key = f"k-{generation}"
        answer = registry.recall(attempt(action, version=0, key=key, request_hash=key))
        assert answer == Recalled(f'{{"generation":{generation}}}')
    report = registry.verify_chain()
    assert report.is_whole, report.why
    # Two registrations, and one event for each generation: none is missing, none is there twice.
    assert report.events == 2 + alias.generation
    assert registry.events(EventFilter(model=MODEL)).items[0].to_version == alias.version
    registry.close()


def whole_lines(text: str) -> list[str]:
    """What a child said before it died, without the line that it died in."""
    return [line for line in text.split("\n")[:-1] if len(line.split()) == 2]


def test_a_kill_at_any_moment_leaves_the_old_alias_or_the_new(prepared: SqlitePlace) -> None:
    kill_often(prepared, times=6)


def test_a_kill_at_any_moment_leaves_the_old_alias_or_the_new_in_postgresql(cluster: Cluster) -> None:
    place = cluster.new()
    prepare(place)
    kill_often(place, times=4)
    place.server.drop(place.name)


def kill_often(place: Place, times: int) -> None:
    dice = random.Random(7)
    for _ in range(times):
        child = subprocess.Popen([sys.executable, "-c", MOVER, place.url, "100000"], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        found = child.stdout.readline()
        threading.Event().wait(dice.uniform(0, 0.05))
        child.send_signal(signal.SIGKILL)
        # Not communicate(): what was read together with the first line, it would not know of.
        found += child.stdout.read()
        child.wait(60)
        child.stdout.close()
        check(place, whole_lines(found))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync", "write"])
def test_a_kill_at_each_system_call_leaves_the_old_alias_or_the_new(
    prepared: SqlitePlace, call: str, tmp_path: Path
) -> None:
    assert shutil.which("strace") is not None, "strace is missing; install Debian's package strace"
    copy = tmp_path / "copy" / "registry.db"
    for number in range(1, 16):
        shutil.rmtree(copy.parent, ignore_errors=True)
        copy.parent.mkdir()
        for each in prepared.path.parent.glob("registry.db*"):
            shutil.copy(each, copy.parent)
        command = ["strace", "-f", "-qq", "-o", str(tmp_path / "trace"), "-e", f"trace={call}"]
        command += [
            "-e",
            f"inject={call}:signal=KILL:when={number}",
            sys.executable,
            "-c",
            MOVER,
            f"sqlite:///{copy}",
            "8",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        check(SqlitePlace(copy), whole_lines("asked 1\n" + done.stdout))
