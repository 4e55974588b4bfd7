"""What replicas tell each other through the registry's database: heartbeats, rollouts, votes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from interlock.errors import Aborted, Preempted

from interlock_registry.chain import Draft
from interlock_registry.domain import Move
from interlock_registry.fleet import (
    LEASE_S,
    Census,
    FleetView,
    Heartbeat,
    Resident,
    Rollout,
    Verdict,
    Vote,
    judge,
)
from interlock_registry.sql.database import Database
from interlock_registry.sql.fleet import FleetRows
from interlock_registry.sql.writer import Writer

FORGOTTEN_AFTER_S: Final = 3600.0
"""A replica that has been silent for so long is no longer listed."""


class RolloutIncomplete(Exception):
    """A commit found that not every live replica is prepared, or no longer: wait on, and try again."""


@dataclass(frozen=True, slots=True)
class Fence:
    """What a commit in a fleet needs to be so, and does besides."""

    rollout: Rollout | None = None
    """What has prepared the fleet; it ends with the commit. None where nothing had to be prepared."""
    rolled_back_by: str = ""
    """Who overtakes all other rollouts of the alias with this; "" overtakes none."""


class Fleet:
    """Any thread may use it; every call blocks, and may raise RegistryUnavailable. Nothing here waits for a commit."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    # --- replicas ---

    def look(self) -> FleetView:
        """Return how far the registry is, who is there, and which rollouts run: cheap, for polling."""
        return self._database.read(
            lambda reader: FleetView(reader.state(), reader.fleet.replicas(), reader.fleet.rollouts())
        )

    def beat(self, said: Heartbeat, before: frozenset[Resident] | None) -> None:
        """Say that a replica is alive and how it stands; `before` is what this process said last to be resident."""
        self._database.note(lambda fleet: fleet.beat(said, before))
        self._database.checkpoint()

    def leave(self, replica: str) -> None:
        """Say that a replica stops: nobody waits for it any more."""
        self._database.note(lambda fleet: fleet.leave(replica))

    def censuses(self, model: str, versions: Collection[int]) -> tuple[Census, ...]:
        """Return of each version who has it loaded and warm, as far as the replicas said, all at one moment."""

        def work(fleet: FleetRows) -> tuple[Census, ...]:
            replicas = fleet.replicas()
            return tuple(Census(version, replicas, fleet.holders(model, version)) for version in versions)

        return self._database.read(lambda reader: work(reader.fleet))

    # --- rollouts ---

    def open(self, rollout: Rollout) -> None:
        """Ask every live replica to prepare a version."""
        self._database.note(lambda fleet: fleet.open(rollout, lease_s=LEASE_S))

    def renew(self, rollout: Rollout) -> None:
        """Prolong the lease; raises Aborted where it has run out, for others have cleaned up by then."""
        if not self._database.note(lambda fleet: fleet.renew(rollout.rollout, lease_s=LEASE_S)):
            raise _lease_lost(rollout)

    def progress(self, rollout: Rollout) -> Verdict:
        """Return where a rollout stands; raises Preempted, Aborted (its lease has run out)."""

        def work(fleet: FleetRows) -> Verdict:
            _check(fleet, rollout)
            return _judge(fleet, rollout)

        return self._database.read(lambda reader: work(reader.fleet))

    def vote(self, rollout: str, vote: Vote) -> None:
        """Say how preparing a rollout's version ended here."""
        self._database.note(lambda fleet: fleet.vote(rollout, vote))

    def end(self, rollout: str) -> None:
        """Give a rollout up: every replica drops what it has prepared for it. A second call does nothing."""
        self._database.note(lambda fleet: fleet.end(rollout))

    def sweep(self) -> tuple[Rollout, ...]:
        """End the rollouts that lost their coordinator, with one event each, and return them."""
        expired = self._database.read(lambda reader: reader.fleet.rollouts(expired=True))
        return tuple(each for each in expired if self._database.write(partial(self._bury, lost=each)))

    def tidy(self) -> None:
        """Drop what nobody needs any more: replicas gone for long, votes for rollouts that ended meanwhile."""

        def work(fleet: FleetRows) -> None:
            for replica in fleet.lost(silent_s=FORGOTTEN_AFTER_S):
                fleet.leave(replica)
            fleet.forget_stray_votes()

        self._database.note(work)

    def _bury(self, writer: Writer, *, lost: Rollout) -> bool:
        # Its coordinator may be back with a new lease, or another replica was here before.
        if writer.fleet.rollout(lost.rollout) is not None or not writer.fleet.end(lost.rollout):
            return False
        error = _lease_lost(lost)
        writer.record(
            Draft(
                time=self._clock(),
                actor=lost.actor,
                action=lost.action,
                model=lost.model,
                alias=lost.alias,
                from_version=0,
                to_version=lost.version,
                reason=lost.reason,
                request_id=lost.request_id,
                outcome=error.reason,
                detail=error.message,
            ),
            changes=False,
        )
        return True


def guard(writer: Writer, move: Move, fence: Fence) -> None:
    """Let a commit through only if its rollout still stands and every live replica is prepared, at this very moment.

    Raises RolloutIncomplete, Preempted, Aborted (the lease has run out).
    """
    if fence.rollout is not None:
        _check(writer.fleet, fence.rollout)
        if not _judge(writer.fleet, fence.rollout).may_commit:
            raise RolloutIncomplete
        writer.fleet.end(fence.rollout.rollout)
    if fence.rolled_back_by:
        by = f"a rollback by {fence.rolled_back_by} to version {move.to_version}"
        writer.fleet.overtake(move.model, move.alias, by=by)


def _check(fleet: FleetRows, rollout: Rollout) -> None:
    stored = fleet.rollout(rollout.rollout)
    if stored is None:
        raise _lease_lost(rollout)
    if stored.overtaken_by:
        raise Preempted(rollout.model, rollout.alias, stored.overtaken_by)


def _judge(fleet: FleetRows, rollout: Rollout) -> Verdict:
    return judge(fleet.replicas(), fleet.votes(rollout.rollout), coordinator=rollout.coordinator)


def _lease_lost(rollout: Rollout) -> Aborted:
    return Aborted(
        f"the {rollout.action} of {rollout.model}@{rollout.version} to alias {rollout.alias!r} was given up: the "
        f"replica that led it gave no sign of life for {LEASE_S:g} s; nothing was changed, so try again",
        facts={"model": rollout.model, "alias": rollout.alias, "coordinator": rollout.coordinator},
    )
