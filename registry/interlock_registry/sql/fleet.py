"""Statements about replicas and rollouts, inside one transaction. They take no lock that a commit waits for."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, bindparam, delete, func, insert, select, tuple_, update
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from interlock_registry.fleet import LEASE_S, Heartbeat, ReplicaRecord, Resident, Rollout, Vote
from interlock_registry.sql import rows
from interlock_registry.sql import tables as t

_BATCH: Final = 500


class _Now(FunctionElement[datetime]):
    """The database's clock, to the millisecond at least."""

    type = t.Moment()
    inherit_cache = True


@compiles(_Now, "sqlite")
def _now_in_sqlite(element: _Now, compiler: SQLCompiler, **options: object) -> str:
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


@compiles(_Now, "postgresql")
def _now_in_postgresql(element: _Now, compiler: SQLCompiler, **options: object) -> str:
    return "clock_timestamp()"


_NOW: Final = select(_Now().label("now"))

_REPLICAS: Final = select(t.replicas, _Now().label("now")).order_by(t.replicas.c.address, t.replicas.c.replica)
_BOOT: Final = select(t.replicas.c.boot).where(t.replicas.c.replica == bindparam("the_replica"))
_SEE: Final = update(t.replicas).where(t.replicas.c.replica == bindparam("the_replica")).values(seen_at=_Now())
_MEET: Final = insert(t.replicas).values(seen_at=_Now())
_LEAVE: Final = delete(t.replicas).where(t.replicas.c.replica == bindparam("the_replica"))
_LOST: Final = select(t.replicas.c.replica).where(t.replicas.c.seen_at < bindparam("before"))

_HOLDERS: Final = select(t.residents.c.replica).where(
    t.residents.c.model == bindparam("model"), t.residents.c.version == bindparam("version")
)
_HOLD: Final = insert(t.residents)
_LET_GO: Final = delete(t.residents).where(
    t.residents.c.replica == bindparam("the_replica"),
    tuple_(t.residents.c.model, t.residents.c.version).in_(bindparam("the_versions", expanding=True)),
)
_LET_GO_ALL: Final = delete(t.residents).where(t.residents.c.replica == bindparam("the_replica"))

_ROLLOUTS: Final = select(t.rollouts).order_by(t.rollouts.c.rollout)
_ROLLOUT: Final = select(t.rollouts).where(t.rollouts.c.rollout == bindparam("rollout"))
_OPEN: Final = insert(t.rollouts)
_RENEW: Final = update(t.rollouts).where(t.rollouts.c.rollout == bindparam("the_rollout"))
_OVERTAKE: Final = update(t.rollouts).where(
    t.rollouts.c.model == bindparam("the_model"),
    t.rollouts.c.alias == bindparam("the_alias"),
    t.rollouts.c.overtaken_by == "",
)
_END: Final = delete(t.rollouts).where(t.rollouts.c.rollout == bindparam("the_rollout"))
_VOTES: Final = select(t.rollout_votes).where(t.rollout_votes.c.rollout == bindparam("rollout"))
_CAST: Final = insert(t.rollout_votes)
_RECAST: Final = update(t.rollout_votes).where(
    t.rollout_votes.c.rollout == bindparam("the_rollout"), t.rollout_votes.c.replica == bindparam("the_replica")
)
_FORGET_VOTES: Final = delete(t.rollout_votes).where(t.rollout_votes.c.rollout == bindparam("the_rollout"))
_FORGET_STRAYS: Final = delete(t.rollout_votes).where(t.rollout_votes.c.rollout.not_in(select(t.rollouts.c.rollout)))
_COUNT_STRAYS: Final = select(func.count()).select_from(t.rollout_votes)


def _runs(lease_until: datetime, now: datetime) -> bool:
    """Tell whether a lease runs; one that is longer than any was given before the database's clock was put back."""
    return timedelta() <= lease_until - now <= timedelta(seconds=2 * LEASE_S)


class FleetRows:
    """What a transaction can tell and note of replicas and rollouts."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # --- replicas ---

    def replicas(self) -> tuple[ReplicaRecord, ...]:
        """Return every replica that is known, by address."""
        return tuple(rows.replica(row) for row in self._connection.execute(_REPLICAS))

    def beat(self, said: Heartbeat, before: frozenset[Resident] | None) -> None:
        """Note a heartbeat; `before` is what the same process said last to be resident, None at its first one."""
        known = self._connection.execute(_BOOT, {"the_replica": said.replica}).scalar_one_or_none()
        values = {
            "boot": said.boot,
            "address": said.address,
            "inference_address": said.inference_address,
            "epoch": said.epoch,
            "ready": said.ready,
        }
        if known is None:
            self._connection.execute(_MEET, {"replica": said.replica, **values})
        else:
            self._connection.execute(_SEE, {"the_replica": said.replica, **values})
        if known != said.boot or before is None:
            self._connection.execute(_LET_GO_ALL, {"the_replica": said.replica})
            before = frozenset()
        else:
            # What is new as well: a heartbeat may come twice, its first answer having been lost.
            self._let_go(said.replica, before ^ said.residents)
        self._hold(said.replica, said.residents - before)

    def leave(self, replica: str) -> None:
        """Forget a replica that stops."""
        self._connection.execute(_LET_GO_ALL, {"the_replica": replica})
        self._connection.execute(_LEAVE, {"the_replica": replica})

    def lost(self, *, silent_s: float) -> tuple[str, ...]:
        """Return the replicas that have been silent for longer than that."""
        before = self.now() - timedelta(seconds=silent_s)
        return tuple(self._connection.execute(_LOST, {"before": before}).scalars())

    def holders(self, model: str, version: int) -> frozenset[str]:
        """Return the replicas that said to have a version loaded, live or not."""
        return frozenset(self._connection.execute(_HOLDERS, {"model": model, "version": version}).scalars())

    def now(self) -> datetime:
        """Read the database's clock."""
        return self._connection.execute(_NOW).scalar_one()

    def _hold(self, replica: str, versions: Collection[Resident]) -> None:
        new = [{"replica": replica, "model": each.model, "version": each.version} for each in sorted(versions)]
        if new:
            self._connection.execute(_HOLD, new)

    def _let_go(self, replica: str, versions: Collection[Resident]) -> None:
        old = [(each.model, each.version) for each in sorted(versions)]
        for start in range(0, len(old), _BATCH):
            self._connection.execute(_LET_GO, {"the_replica": replica, "the_versions": old[start : start + _BATCH]})

    # --- rollouts ---

    def rollouts(self, *, expired: bool = False) -> tuple[Rollout, ...]:
        """Return the rollouts whose lease runs, or those whose lease has run out."""
        found = self._connection.execute(_ROLLOUTS).all()
        if not found:
            return ()
        now = self.now()
        return tuple(rows.rollout(row) for row in found if _runs(row.lease_until, now) is not expired)

    def rollout(self, rollout: str) -> Rollout | None:
        """Return a rollout whose lease runs, or None."""
        row = self._connection.execute(_ROLLOUT, {"rollout": rollout}).one_or_none()
        return None if row is None or not _runs(row.lease_until, self.now()) else rows.rollout(row)

    def open(self, rollout: Rollout, *, lease_s: float) -> None:
        """Begin a rollout; one that has begun goes on."""
        if self._connection.execute(_ROLLOUT, {"rollout": rollout.rollout}).first() is not None:
            return  # the answer to the first time was lost
        self._connection.execute(
            _OPEN,
            {
                "rollout": rollout.rollout,
                "action": rollout.action,
                "model": rollout.model,
                "alias": rollout.alias,
                "version": rollout.version,
                "coordinator": rollout.coordinator,
                "actor": rollout.actor,
                "reason": rollout.reason,
                "request_id": rollout.request_id,
                "lease_until": self.now() + timedelta(seconds=lease_s),
                "overtaken_by": rollout.overtaken_by,
            },
        )

    def renew(self, rollout: str, *, lease_s: float) -> bool:
        """Prolong a rollout's lease; False where it has run out: it never comes back."""
        if self.rollout(rollout) is None:
            return False
        until = self.now() + timedelta(seconds=lease_s)
        return self._connection.execute(_RENEW, {"the_rollout": rollout, "lease_until": until}).rowcount == 1

    def overtake(self, model: str, alias: str, *, by: str) -> None:
        """Tell every rollout of an alias that something has overtaken it."""
        self._connection.execute(_OVERTAKE, {"the_model": model, "the_alias": alias, "overtaken_by": by})

    def end(self, rollout: str) -> bool:
        """Remove a rollout; False where it is gone."""
        self._connection.execute(_FORGET_VOTES, {"the_rollout": rollout})
        return self._connection.execute(_END, {"the_rollout": rollout}).rowcount == 1

    def votes(self, rollout: str) -> tuple[Vote, ...]:
        """Return the votes of a rollout."""
        return tuple(rows.vote(row) for row in self._connection.execute(_VOTES, {"rollout": rollout}))

    def vote(self, rollout: str, vote: Vote) -> None:
        """Note how preparing a rollout ended in a replica; its last vote counts."""
        values = {"boot": vote.boot, "prepared": vote.prepared, "reason": vote.reason}
        the_row = {"the_rollout": rollout, "the_replica": vote.replica}
        if self._connection.execute(_RECAST, {**the_row, **values}).rowcount == 0:
            self._connection.execute(_CAST, {"rollout": rollout, "replica": vote.replica, **values})

    def forget_stray_votes(self) -> None:
        """Drop votes whose rollout ended while they were cast."""
        if self._connection.execute(_COUNT_STRAYS).scalar_one():
            self._connection.execute(_FORGET_STRAYS)
