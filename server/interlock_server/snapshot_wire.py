"""Snapshots ↔ messages of the internal worker service."""

from __future__ import annotations

from dataclasses import replace

from interlock import convert, convert_signing
from interlock.access import Grant, Proof
from interlock.golden import Tolerance
from interlock.v1 import worker_pb2
from interlock_registry.domain import Route, Target

from interlock_server.access.holder import Holder
from interlock_server.levers import Lever
from interlock_server.snapshot import Snapshot, VersionSpec, WayBack


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
        signed=[convert_signing.signed(each) for each in spec.signed],
        distrust=spec.distrust,
    )


def worker_spec_message(spec: VersionSpec) -> worker_pb2.VersionSpec:
    """Return a version spec without what workers do not look at: what was signed is judged before, in `distrust`."""
    return spec_message(replace(spec, signed=()))


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
        signed=tuple(map(convert_signing.from_signed, message.signed)),
        distrust=message.distrust,
    )


class SnapshotWriter:
    """Snapshots as requests to one worker; what was written for the one before is not written again."""

    def __init__(self) -> None:
        self._routes: dict[tuple[str, str], tuple[Route, bytes]] = {}
        self._keep: dict[tuple[str, int], tuple[VersionSpec, bytes]] = {}

    def request(self, snapshot: Snapshot) -> worker_pb2.ApplyRequest:
        """Return a snapshot in parts, and forget those that only earlier ones had."""
        self._routes = {(each.model, each.alias): self._route(each) for each in snapshot.routes}
        self._keep = {(each.model, each.version): self._spec(each) for each in snapshot.keep}
        return worker_pb2.ApplyRequest(
            snapshot=snapshot_message(replace(snapshot, routes=(), keep=())),
            routes=[written for _, written in self._routes.values()],
            keep=[written for _, written in self._keep.values()],
        )

    def _route(self, route: Route) -> tuple[Route, bytes]:
        known = self._routes.get((route.model, route.alias))
        if known is not None and (known[0] is route or known[0] == route):
            return known
        return route, _route_message(route).SerializeToString()

    def _spec(self, spec: VersionSpec) -> tuple[VersionSpec, bytes]:
        known = self._keep.get((spec.model, spec.version))
        if known is not None and (known[0] is spec or known[0] == spec):
            return known
        return spec, worker_spec_message(spec).SerializeToString()


class SnapshotReader:
    """The other end: parts that came in the request before are the same values."""

    def __init__(self) -> None:
        self._routes: dict[bytes, Route] = {}
        self._keep: dict[bytes, VersionSpec] = {}

    def snapshot(self, request: worker_pb2.ApplyRequest) -> Snapshot:
        """Read a snapshot, and forget the parts that it does not have."""
        self._routes = {
            written: self._routes.get(written) or _route_value(worker_pb2.Route.FromString(written))
            for written in request.routes
        }
        self._keep = {
            written: self._keep.get(written) or spec_value(worker_pb2.VersionSpec.FromString(written))
            for written in request.keep
        }
        rest = snapshot_value(request.snapshot)
        return replace(
            rest,
            routes=(*rest.routes, *self._routes.values()),
            keep=(*rest.keep, *self._keep.values()),
        )


def snapshot_message(snapshot: Snapshot) -> worker_pb2.Snapshot:
    """Return a snapshot as one message."""
    return worker_pb2.Snapshot(
        incarnation=snapshot.incarnation,
        epoch=snapshot.epoch,
        routes=map(_route_message, snapshot.routes),
        keep=map(spec_message, snapshot.keep),
        models=snapshot.models,
        newest=snapshot.newest,
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


def snapshot_value(message: worker_pb2.Snapshot) -> Snapshot:
    """Read a snapshot from one message."""
    return Snapshot(
        incarnation=message.incarnation,
        epoch=message.epoch,
        routes=tuple(map(_route_value, message.routes)),
        keep=tuple(map(spec_value, message.keep)),
        models=tuple(message.models),
        newest=tuple(message.newest),
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


def _route_message(route: Route) -> worker_pb2.Route:
    return worker_pb2.Route(
        model=route.model,
        alias=route.alias,
        generation=route.generation,
        targets=[
            worker_pb2.Route.Target(version=target.version, weight=target.weight, shadow=target.shadow)
            for target in route.targets
        ],
    )


def _route_value(message: worker_pb2.Route) -> Route:
    return Route(
        model=message.model,
        alias=message.alias,
        generation=message.generation,
        targets=tuple(
            Target(version=target.version, weight=target.weight, shadow=target.shadow) for target in message.targets
        ),
    )
