"""Snapshots ↔ messages of the internal worker service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from interlock import convert
from interlock.access import Grant, Proof
from interlock.golden import Tolerance
from interlock.v1 import worker_pb2
from interlock_registry.domain import Route, Target

from interlock_server.access.holder import Holder
from interlock_server.levers import Lever
from interlock_server.snapshot import Snapshot, VersionKey, VersionSpec, WayBack


def spec_message(spec: VersionSpec) -> worker_pb2.VersionSpec:
    """Return a version spec as a message."""
    return worker_pb2.VersionSpec(
        model=spec.model,
        version=spec.version,
        digest=spec.digest,
        manifest_path=spec.manifest_path,
        graph_path=spec.graph_path,
        graph_sha256=spec.graph_sha256,
        golden_path=spec.golden_path,
        golden_sha256=spec.golden_sha256,
        signature=convert.signature(spec.signature),
        config=convert.config(spec.config),
        tolerances={
            provider: worker_pb2.Tolerance(atol=tolerance.atol, rtol=tolerance.rtol)
            for provider, tolerance in spec.tolerances.items()
        },
        joinable=spec.joinable,
        damage=spec.damage,
        suspect=spec.suspect,
        poison=spec.poison,
        quarantine=spec.quarantine,
        derived_path=spec.derived_path,
        derived_sha256=spec.derived_sha256,
    )


def spec_value(message: worker_pb2.VersionSpec) -> VersionSpec:
    """Read a version spec."""
    return VersionSpec(
        model=message.model,
        version=message.version,
        digest=message.digest,
        manifest_path=message.manifest_path,
        graph_path=message.graph_path,
        graph_sha256=message.graph_sha256,
        golden_path=message.golden_path,
        golden_sha256=message.golden_sha256,
        signature=convert.from_signature(message.signature),
        config=convert.from_config(message.config),
        tolerances={
            provider: Tolerance(atol=tolerance.atol, rtol=tolerance.rtol)
            for provider, tolerance in message.tolerances.items()
        },
        joinable=message.joinable,
        damage=message.damage,
        suspect=message.suspect,
        poison=tuple(message.poison),
        quarantine=message.quarantine,
        derived_path=message.derived_path,
        derived_sha256=message.derived_sha256,
    )


class SpecMessages:
    """Messages of version specs, made once: of the thousands in a snapshot few differ from those in the one before."""

    def __init__(self) -> None:
        self._made: dict[VersionKey, tuple[VersionSpec, worker_pb2.VersionSpec]] = {}

    def of(self, specs: Sequence[VersionSpec]) -> Sequence[worker_pb2.VersionSpec]:
        """Return the messages of a snapshot's specs, and forget all others."""
        before, self._made = self._made, {}
        return [self._message(spec, before.get(spec.key)) for spec in specs]

    def _message(
        self, spec: VersionSpec, known: tuple[VersionSpec, worker_pb2.VersionSpec] | None
    ) -> worker_pb2.VersionSpec:
        message = known[1] if known is not None and known[0] == spec else spec_message(spec)
        self._made[spec.key] = (spec, message)
        return message


class SpecValues:
    """Version specs, read once: the other end of `SpecMessages`."""

    def __init__(self) -> None:
        self._read: dict[VersionKey, tuple[worker_pb2.VersionSpec, VersionSpec]] = {}

    def of(self, messages: Sequence[worker_pb2.VersionSpec]) -> Sequence[VersionSpec]:
        """Return the specs of a snapshot's messages, and forget all others."""
        before, self._read = self._read, {}
        return [self._value(message, before) for message in messages]

    def _value(
        self,
        message: worker_pb2.VersionSpec,
        before: Mapping[VersionKey, tuple[worker_pb2.VersionSpec, VersionSpec]],
    ) -> VersionSpec:
        key = VersionKey(message.model, message.version)
        known = before.get(key)
        value = known[1] if known is not None and known[0] == message else spec_value(message)
        # The newest message, though it is equal: an old one would keep the whole request alive that it came in.
        self._read[key] = (message, value)
        return value


def snapshot_message(snapshot: Snapshot, specs: SpecMessages | None = None) -> worker_pb2.Snapshot:
    """Return a snapshot as a message; `specs` remembers those of the snapshot before."""
    return worker_pb2.Snapshot(
        incarnation=snapshot.incarnation,
        epoch=snapshot.epoch,
        routes=[
            worker_pb2.Route(
                model=route.model,
                alias=route.alias,
                generation=route.generation,
                targets=[
                    worker_pb2.Route.Target(version=target.version, weight=target.weight, shadow=target.shadow)
                    for target in route.targets
                ],
            )
            for route in snapshot.routes
        ],
        keep=(specs or SpecMessages()).of(snapshot.keep),
        models=snapshot.models,
        holders=[
            worker_pb2.Holder(
                proof=each.proof.value,
                name=each.name,
                key=each.key,
                grants=[str(grant) for grant in each.grants],
                expires_at=each.expires_at,
            )
            for each in snapshot.holders
        ],
        ways_back=[
            worker_pb2.WayBack(
                model=way.model,
                alias=way.alias,
                version=way.version,
                generation=way.generation,
                lever=way.lever.index,
                token=way.lever.token,
            )
            for way in snapshot.ways_back
        ],
        levers=snapshot.levers,
    )


def snapshot_value(message: worker_pb2.Snapshot, specs: SpecValues | None = None) -> Snapshot:
    """Read a snapshot; `specs` remembers those of the snapshot before."""
    return Snapshot(
        incarnation=message.incarnation,
        epoch=message.epoch,
        routes=tuple(
            Route(
                model=route.model,
                alias=route.alias,
                generation=route.generation,
                targets=tuple(
                    Target(version=target.version, weight=target.weight, shadow=target.shadow)
                    for target in route.targets
                ),
            )
            for route in message.routes
        ),
        keep=tuple((specs or SpecValues()).of(message.keep)),
        models=tuple(message.models),
        holders=tuple(
            Holder(
                proof=Proof(each.proof),
                name=each.name,
                key=each.key,
                grants=tuple(map(Grant.parse, each.grants)),
                expires_at=each.expires_at,
            )
            for each in message.holders
        ),
        ways_back=tuple(
            WayBack(way.model, way.alias, way.version, way.generation, Lever(way.lever, way.token))
            for way in message.ways_back
        ),
        levers=message.levers,
    )
