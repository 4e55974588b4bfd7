"""What the replicas of a fleet know of each other, and what follows from it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from interlock_registry.domain import EpochState

LIVE_S: Final = 5.0
"""A replica is live while its last heartbeat is younger, by the database's clock."""
LEASE_S: Final = 5.0
"""How long a rollout outlives its coordinator's last sign of life."""


@dataclass(frozen=True, slots=True, order=True)
class Resident:
    """A version that is loaded and warm in every worker of a replica."""

    model: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """What a replica says of itself."""

    replica: str
    boot: str
    """Tells its processes apart."""
    address: str
    """Of its admin service."""
    inference_address: str
    epoch: int
    """What its workers serve; -1 before they serve anything."""
    ready: bool
    residents: frozenset[Resident]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaRecord:
    """What is known of a replica."""

    replica: str
    boot: str
    address: str
    inference_address: str
    epoch: int
    ready: bool
    silent_s: float
    """Since its last heartbeat, by the database's clock."""

    @property
    def live(self) -> bool:
        """Whether it counts. A heartbeat from the future is one from before the clock was put back."""
        return -LIVE_S < self.silent_s < LIVE_S

    @property
    def label(self) -> str:
        """What people are told: where it is, and which one."""
        return f"replica {self.address} ({self.replica[:8]})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """A promote or rollback that the whole fleet prepares for."""

    rollout: str
    action: str
    model: str
    alias: str
    version: int
    coordinator: str
    """The replica that was asked, and will commit."""
    actor: str
    reason: str
    request_id: str
    overtaken_by: str = ""
    """What a rollback of the same alias said that overtook it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """How preparing a rollout's version ended in one process of a replica."""

    replica: str
    boot: str
    prepared: bool
    reason: str = ""
    """Why it failed."""


@dataclass(frozen=True, slots=True)
class FleetView:
    """The fleet at one moment: every replica ever seen, and the rollouts whose lease runs."""

    state: EpochState
    replicas: tuple[ReplicaRecord, ...]
    rollouts: tuple[Rollout, ...]

    def others(self, replica: str) -> tuple[ReplicaRecord, ...]:
        """Return the live replicas but one."""
        return tuple(each for each in self.replicas if each.live and each.replica != replica)


@dataclass(frozen=True, slots=True)
class Census:
    """Who has a version loaded and warm, at one moment."""

    version: int
    replicas: tuple[ReplicaRecord, ...]
    holders: frozenset[str]
    """Ids of the replicas that said so, live or not."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where a rollout stands: it may commit once nobody fails and nobody is waited for."""

    failed: Mapping[str, str]
    """Reasons by the labels of live replicas."""
    waiting: tuple[str, ...]
    """Labels of live replicas that have not voted."""

    @property
    def may_commit(self) -> bool:
        """Whether every live replica is prepared."""
        return not self.failed and not self.waiting


def judge(replicas: Iterable[ReplicaRecord], votes: Iterable[Vote], *, coordinator: str) -> Verdict:
    """Say where a rollout stands: of the live replicas as they are now, whoever died or joined meanwhile.

    The coordinator's own part is its own business. A vote counts for the process that cast it: a replica that has
    started again has nothing loaded of what its predecessor prepared.
    """
    cast = {(vote.replica, vote.boot): vote for vote in votes}
    failed: dict[str, str] = {}
    waiting: list[str] = []
    for each in replicas:
        if not each.live or each.replica == coordinator:
            continue
        vote = cast.get((each.replica, each.boot))
        if vote is None:
            waiting.append(each.label)
        elif not vote.prepared:
            failed[each.label] = vote.reason
    return Verdict(failed, tuple(waiting))


def on_half(census: Census) -> bool:
    """Tell whether at least half of the live replicas have the version loaded and warm."""
    live = [each.replica for each in census.replicas if each.live]
    return bool(live) and 2 * sum(each in census.holders for each in live) >= len(live)


def gone_from_half(census: Census) -> bool:
    """Tell whether at least half of the live replicas do not have the version loaded and warm."""
    live = [each.replica for each in census.replicas if each.live]
    return bool(live) and 2 * sum(each not in census.holders for each in live) >= len(live)


def behind(census: Census, *, epoch: int) -> tuple[ReplicaRecord, ...]:
    """Return the live replicas that do not serve an epoch or a later one, or do not have the version loaded."""
    return tuple(
        each for each in census.replicas if each.live and (each.epoch < epoch or each.replica not in census.holders)
    )
