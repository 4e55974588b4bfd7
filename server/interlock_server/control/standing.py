"""How the replica stands: ready or not, degraded by what, for status, health and HTTP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import interlock
from interlock.model import FleetReplica, ReplicaStatus

from interlock_server.control.database import Database
from interlock_server.control.membership import Membership
from interlock_server.control.metrics import Gauges
from interlock_server.control.replica import Replica
from interlock_server.control.sandboxing import Sandboxing
from interlock_server.control.workers import Workers


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the server listens, HOST:PORT."""

    inference: str
    http: str
    admin: str


class Standing:
    """Reads the other parts; changes nothing but whether the process is stopping."""

    def __init__(
        self,
        membership: Membership,
        addresses: Addresses,
        database: Database,
        replica: Replica,
        workers: Workers,
        sandboxing: Sandboxing,
        not_copied: Callable[[], str] = lambda: "",
        not_taken: Callable[[], tuple[str, ...]] = tuple,
    ) -> None:
        """Take the parts.

        `not_copied` says why the history is not copied to where it should be, `not_taken` why a last-known-good
        snapshot was not served at the start.
        """
        self._membership = membership
        self._addresses = addresses
        self._database = database
        self._replica = replica
        self._workers = workers
        self._sandboxing = sandboxing
        self._not_copied = not_copied
        self._not_taken = not_taken
        self.stopping = False

    @property
    def ready(self) -> bool:
        """Whether the first reconcile is done and a worker has loaded what it can; an empty registry is ready.

        Of several workers those that have not are not on the port: what comes goes to the others.
        """
        return self._replica.known and self._workers.reported.any_settled and not self.stopping

    @property
    def complete(self) -> bool:
        """Whether every worker is ready."""
        return self.ready and self._workers.reported.settled

    def degraded(self) -> tuple[str, ...]:
        """Say what is not wholly well."""
        reasons: list[str] = []
        if self._database.down:
            reasons.append(f"registry unavailable: {self._database.down}")
        if self._replica.from_last_known_good:
            reasons.append("serving from the last-known-good snapshot; changes are not possible")
        reasons += self._not_taken()
        reasons += [
            f"{spec.model}@{spec.version} is damaged on disk and is not loaded anew: {spec.damage}"
            for spec in self._replica.committed().keep
            if spec.damage
        ]
        reasons += [
            f"{spec.model}@{spec.version} is not loaded anew, though it may be serving: {spec.distrust}"
            for spec in self._replica.committed().keep
            if spec.distrust
        ]
        if why := self._not_copied():
            reasons.append(f"the history is not copied to where audit_export says: {why}")
        for worker in self._workers.reported.statuses:
            if not worker.reachable:
                reasons.append(f"worker-{worker.index} does not answer")
            reasons += [
                f"{servable.model}@{servable.version} failed in worker-{worker.index}: {servable.reason}"
                for servable in worker.servables
                if servable.state.value == "FAILED"
            ]
        return tuple(reasons)

    def gauges(self) -> Gauges:
        """Return what /metrics shows of it."""
        return Gauges(
            ready=self.ready,
            registry_up=not self._database.down,
            epoch=self._replica.epoch,
            workers_reachable=sum(worker.reachable for worker in self._workers.reported.statuses),
            worker_restarts=self._workers.restarts,
        )

    def status(self) -> ReplicaStatus:
        """Return what operators are told."""
        return ReplicaStatus(
            replica=self._membership.replica_id,
            server_version=interlock.__version__,
            ready=self.ready,
            epoch=self._replica.epoch,
            degraded=self.degraded(),
            workers=self._workers.reported.statuses,
            aliases=self._replica.aliases(),
            sandbox=self._sandboxing.layers,
            inference_address=self._addresses.inference,
            http_address=self._addresses.http,
            admin_address=self._addresses.admin,
            replicas=tuple(
                FleetReplica(
                    replica=each.replica,
                    admin_address=each.address,
                    inference_address=each.inference_address,
                    live=each.live,
                    ready=each.ready,
                    epoch=each.epoch,
                    silent_s=each.silent_s,
                )
                for each in self._membership.replicas
            ),
        )
