"""Snapshots ↔ messages of the internal worker service."""

from __future__ import annotations

from interlock import convert
from interlock.golden import Tolerance
from interlock.v1 import worker_pb2
from interlock_registry.domain import Route, Target

from interlock_server.snapshot import Snapshot, VersionSpec


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
    )


def snapshot_message(snapshot: Snapshot) -> worker_pb2.Snapshot:
    """Return a snapshot as a message."""
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
        keep=[spec_message(spec) for spec in snapshot.keep],
        models=snapshot.models,
    )


def snapshot_value(message: worker_pb2.Snapshot) -> Snapshot:
    """Read a snapshot."""
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
        keep=tuple(spec_value(spec) for spec in message.keep),
        models=tuple(message.models),
    )
