from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
from interlock_server.control import caretaking
from interlock_server.control.caretaking import Caretaker
from interlock_server.process import deaths
from interlock_server.process.deaths import Death
from interlock_server.process.notes import Note
from interlock_server.snapshot import VersionKey
from interlock_server.vitals import HealthLimits

from tests.support import eventually_async
from tests.unit.server.rig import Rig
from tests.unit.server.test_reconciler import promote_elsewhere


def quarantine(version: int, runtime_dir: Path) -> None:
    """Record that a version of m has brought down as many workers as that takes."""
    for request in (1, 2, 3):
        note = Note(f"m@{version}", (request,), request)
        deaths.write(str(runtime_dir), Death(f"worker-{request}", request, -signal.SIGSEGV, 0.0, (note,)))


async def test_a_version_that_somebody_wants_again_meanwhile_is_not_taken_away(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for scale in (1.0, 2.0):
        await rig.promote(await rig.add(scale=scale))
    quarantine(2, tmp_path)
    caretaker = Caretaker(str(tmp_path), rig.replica, lambda: HealthLimits(60.0, 60.0, 0), clock=lambda: 1.0)
    asked = 0

    async def gone(key: VersionKey) -> bool:
        nonlocal asked
        asked += 1
        caretaker.pardon(key)  # as a promote does, while the fleet is heard
        return True

    monkeypatch.setattr(caretaking, "_LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(rig.membership, "gone_from_half", gone)
    caretaker.start(rig.switching, rig.membership)
    try:
        await eventually_async(lambda: asked == 1 and not caretaker._quarantined.is_set(), "it has looked round")
    finally:
        await caretaker.close()
    assert ("rollback", "ok") not in await rig.events()
    assert rig.live() == 2


async def test_an_alias_that_cannot_fall_back_fills_the_history_with_no_event_a_second(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.membership.shared = False  # no worker has really crashed, so a fleet would see the version served still
    broken = await rig.add(content=b"this can be loaded no more")
    await asyncio.to_thread(promote_elsewhere, rig, broken)
    await eventually_async(lambda: rig.replica.aliases() != (), "it is taken over")
    await rig.promote(await rig.add())
    quarantine(2, tmp_path)
    monkeypatch.setattr(caretaking, "_LOOK_EVERY_S", 0.001)
    seconds = 0.0

    def clock() -> float:
        nonlocal seconds
        seconds += 1.0  # with each look, however long an attempt takes here
        return seconds

    async def tried() -> list[str]:
        return [outcome for action, outcome in await rig.events() if action == "rollback"]

    async def tried_twice() -> bool:
        return len(await tried()) >= 2

    caretaker = Caretaker(str(tmp_path), rig.replica, lambda: HealthLimits(60.0, 60.0, 0), clock=clock)
    caretaker.start(rig.switching, rig.membership)
    try:
        await eventually_async(tried_twice, "it tried, and tried again")
        since = seconds
        await eventually_async(lambda: seconds > since + 100, "it went on looking")
    finally:
        await caretaker.close()
    outcomes = await tried()
    assert len(outcomes) <= 9, "a second after the first, 2 s after the second, 4 s after the third"
    assert set(outcomes) == {"PREPARE_FAILED"}
