from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from interlock.errors import GenerationConflict, InterlockError, RegistryUnavailable
from interlock_registry.domain import Action
from interlock_registry.registry import Registry

from tests.unit.registry.builders import MODEL, Desk, attempt

RACER = """
import sys
from interlock.errors import GenerationConflict
from interlock_registry.domain import Action
from interlock_registry.registry import Registry
from tests.unit.registry.builders import Desk, attempt

registry = Registry.open(sys.argv[1])
won = lost = 0
print("ready", flush=True)
sys.stdin.readline()
for turn in range(40):
    version = 1 + turn % 2
    try:
        move = registry.plan_promote("digits", version)
        registry.commit_move(move, attempt(Action.PROMOTE, version=version, alias="stable"), "{}")
        won += not move.is_noop
    except GenerationConflict as error:
        registry.refuse(attempt(Action.PROMOTE, version=version, alias="stable"), error)
        lost += 1
registry.close()
print(won, lost)
"""


def test_of_two_processes_that_move_one_alias_one_wins_each_generation(desk: Desk) -> None:
    desk.register()
    desk.register()
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, desk.place.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    results = [tuple(map(int, racer.communicate(timeout=60)[0].split())) for racer in racers]
    won = sum(result[0] for result in results)
    alias = desk.registry.alias(MODEL, "stable")
    assert alias is not None
    assert alias.generation == won
    report = desk.registry.verify_chain()
    assert (report.is_whole, report.events) == (True, 2 + 80)


def test_threads_register_without_losing_or_repeating_a_number(desk: Desk) -> None:
    start = threading.Barrier(4)

    def register(_: int) -> list[int]:
        start.wait(60)
        return [desk.register().version.version for _ in range(10)]

    with ThreadPoolExecutor(4) as pool:
        numbers = [number for found in pool.map(register, range(4)) for number in found]
    assert sorted(numbers) == list(range(1, 41))
    assert desk.registry.verify_chain().is_whole


def test_readers_see_one_moment_while_aliases_move(desk: Desk) -> None:
    desk.register()
    desk.register()
    desk.promote(1)
    stop = threading.Event()
    torn: list[object] = []

    def read() -> None:
        while not stop.is_set():
            (model,) = desk.registry.desired().models
            (alias,), (route,) = model.aliases, model.routes
            if (alias.version, alias.generation) != (route.targets[0].version, route.generation):
                torn.append((alias, route))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(60):
        desk.promote(2)
        desk.rollback()
    stop.set()
    for reader in readers:
        reader.join(60)
    assert torn == []


def test_a_short_lock_of_another_process_is_waited_for(desk: Desk) -> None:
    desk.register()
    held = desk.place.locked()
    held.__enter__()
    release = threading.Timer(0.3, held.__exit__, [None, None, None])
    release.start()
    assert desk.pin(1).desired.pins == (1,)
    release.join()


@pytest.mark.slow
def test_a_lock_that_never_ends_is_an_error_in_bounded_time(desk: Desk) -> None:
    desk.register()
    with desk.place.locked():
        with pytest.raises(RegistryUnavailable, match=r"database is locked|lock timeout"):
            desk.pin(1)
        assert desk.registry.desired_model(MODEL).pins == ()
    assert desk.pin(1).desired.pins == (1,)


def test_a_retirement_and_a_promote_of_one_version_cannot_both_win(desk: Desk) -> None:
    desk.register()
    other = Desk(Registry.open(desk.place.url), desk.place)
    for version in range(2, 22):
        desk.register()
        start = threading.Barrier(2)

        def promote(number: int = version, start: threading.Barrier = start) -> str:
            start.wait(60)
            try:
                desk.promote(number)
            except InterlockError as error:
                return error.reason
            return "ok"

        def retire(number: int = version, start: threading.Barrier = start) -> str:
            start.wait(60)
            try:
                other.registry.retire(attempt(Action.RETIRE, version=number))
            except InterlockError as error:
                return error.reason
            return "ok"

        with ThreadPoolExecutor(2) as pool:
            outcomes = (pool.submit(promote), pool.submit(retire))
            assert {each.result(60) for each in outcomes} in ({"ok", "VERSION_IN_USE"}, {"VERSION_NOT_SERVABLE", "ok"})
    other.registry.close()


def test_the_loser_of_a_race_learns_the_generation_that_won(desk: Desk) -> None:
    desk.register()
    desk.register()
    other = Registry.open(desk.place.url)
    plan = other.plan_promote(MODEL, 2)
    desk.promote(1)
    with pytest.raises(GenerationConflict) as caught:
        other.commit_move(plan, attempt(Action.PROMOTE, version=2, alias="stable"), "{}")
    assert (caught.value.facts["expected"], caught.value.facts["actual"]) == ("0", "1")
    other.close()
