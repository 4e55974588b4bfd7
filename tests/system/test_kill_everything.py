"""kill -9 of everything at random moments of promotes and rollbacks: nothing acknowledged is lost, nothing is torn."""

from __future__ import annotations

import math
import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from interlock.errors import InterlockError
from interlock.model import Alias, Event, Switch
from interlock_client import Admin
from interlock_registry.registry import Registry

from tests import databases
from tests.load import X
from tests.server import Server
from tests.support import eventually
from tests.system.stories import SCALES, register

VERSIONS = 3


@dataclass
class Story:
    """What a caller that makes changes knows: those that were acknowledged, and the one that was not."""

    acknowledged: list[Switch] = field(default_factory=list)
    refused: list[InterlockError] = field(default_factory=list)


def move_about(admin: Admin, story: Story, randomness: random.Random) -> None:
    """Promote and roll back until the server is gone."""
    while True:
        try:
            if randomness.random() < 0.5:
                story.acknowledged.append(admin.promote("m", randomness.randint(1, VERSIONS), timeout=60))
            else:
                story.acknowledged.append(admin.rollback("m", timeout=60))
        except InterlockError as error:
            if error.reason == "NOTHING_TO_ROLL_BACK":
                continue
            story.refused.append(error)
            return


def check(before: Alias, after: Alias, story: Story, events: list[Event]) -> None:
    """Hold what is there after the crash against what was acknowledged before it."""
    known = story.acknowledged[-1] if story.acknowledged else None
    if known is not None:
        assert after.generation >= known.generation
        if after.generation == known.generation:
            assert (after.version, after.stack) == (known.to_version, known.stack)
    generation = known.generation if known is not None else before.generation
    # At most the one change that was under way when everything died.
    assert after.generation - generation in (0, 1)
    assert after.version not in after.stack and len(set(after.stack)) == len(after.stack)

    # Each acknowledged move is in the history, in order, and the history leads to where the alias is.
    granted = [event for event in events if event.outcome == "ok" and event.action in ("promote", "rollback")]
    moves = [(event.from_version, event.to_version) for event in reversed(granted)]
    promised = [(switch.from_version, switch.to_version) for switch in story.acknowledged]
    tail = moves[len(moves) - len(promised) :]
    with_one_more = moves[len(moves) - len(promised) - 1 : -1]
    assert promised in (tail, with_one_more), f"acknowledged {promised[-5:]}, in the history {moves[-6:]}"
    assert moves[-1][1] == after.version


def alias_of(server: Server) -> Alias:
    return next(alias for alias in server.status().aliases if alias.alias == "stable")


def await_first_move(story: Story, mover: threading.Thread) -> None:
    eventually(lambda: bool(story.acknowledged) or not mover.is_alive(), "a first move")


def rounds(folder: Path, count: int, seconds: float = math.inf) -> int:
    """Kill and restart so often, or for so long; returns how often it was."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")  # shown when it fails
    randomness = random.Random(seed)
    until = time.monotonic() + seconds
    server = Server(folder / "data")
    server.start()
    with server.admin() as admin:
        register(admin, folder, VERSIONS)
        admin.promote("m", 1)
    done = 0
    acknowledged = 0
    while done < count and time.monotonic() < until:
        before = alias_of(server)
        story = Story()
        with server.admin() as admin:
            mover = threading.Thread(target=move_about, args=[admin, story, randomness], name="mover")
            mover.start()
            await_first_move(story, mover)
            mover.join(randomness.uniform(0.0, 0.6))
            server.kill_everything()
            mover.join(60)
        assert not mover.is_alive()

        registry = Registry.open(databases.of(folder / "data").url)
        try:
            report = registry.verify_chain()
        finally:
            registry.close()
        assert report.is_whole, report.why

        server.start()
        after = alias_of(server)
        with server.admin() as admin, server.client() as client:
            check(before, after, story, admin.log("m", limit=1000))
            result = client.infer("m", {"x": X})
        assert result.version == after.version
        np.testing.assert_array_equal(result["y"], X * np.float32(SCALES[after.version]))
        done += 1
        acknowledged += len(story.acknowledged)
    assert server.stop() == 0
    print(f"{done} kills, {acknowledged} acknowledged moves")
    assert acknowledged >= done, "the load was too thin to prove anything"
    return done


def test_no_acknowledged_move_is_lost_by_killing_everything(tmp_path: Path) -> None:
    assert rounds(tmp_path, count=2) == 2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_acknowledged_move_is_lost_by_killing_everything_often(tmp_path: Path) -> None:
    assert rounds(tmp_path, count=100, seconds=300) >= 30
