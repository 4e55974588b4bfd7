"""Rows → values, by keyword. What is not as this program wrote it is damage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from interlock import chain
from interlock.chain import Filing, Link
from interlock.errors import DataLoss
from interlock.model import Alias, AliasAt, SignedBy, Version, VersionState
from interlock.statement import Signed
from sqlalchemy import Row

from interlock_registry import documents
from interlock_registry.domain import AliasRecord, Candidate, DesiredVersion, Route, Target
from interlock_registry.fleet import ReplicaRecord, Rollout, Vote
from interlock_registry.manifest import Blob, Manifest, graph_of

AnyRow = Row[tuple[object, ...]]


def version(row: AnyRow, *, aliases: Sequence[str], pinned: bool, signed_by: tuple[SignedBy, ...] = ()) -> Version:
    """Read a row of versions joined with its golden samples."""
    return Version(
        model=row.model,
        version=row.version,
        state=_state(row.state),
        digest=row.digest,
        size_bytes=row.size_bytes,
        signature=documents.read_signature(row.signature),
        config=documents.read_config(row.config),
        proven=row.proven,
        golden_samples=row.samples or 0,
        note=row.note,
        tags=documents.read_tags(row.tags),
        created_at=row.created_at,
        created_by=row.created_by,
        report_json=row.report,
        aliases=tuple(aliases),
        pinned=pinned,
        damage=row.damage or "",
        signed_by=signed_by,
    )


def candidate(row: AnyRow) -> Candidate:
    """Read a row of versions."""
    return Candidate(
        model=row.model,
        version=row.version,
        state=_state(row.state),
        signature=_signature(row.signature),
    )


def alias(found: Sequence[AnyRow]) -> Alias:
    """Read the rows of one alias joined with its stack."""
    first = found[0]
    return Alias(
        model=first.model,
        alias=first.alias,
        version=first.version,
        generation=first.generation,
        stack=_stack(found),
        updated_at=first.updated_at,
    )


def alias_record(found: Sequence[AnyRow]) -> AliasRecord:
    """Read the rows of one alias, which may be removed, joined with its stack."""
    first = found[0]
    return AliasRecord(
        model=first.model,
        alias=first.alias,
        version=first.version or 0,
        generation=first.generation,
        stack=_stack(found),
    )


def route(found: Sequence[AnyRow]) -> Route:
    """Read the rows of one route joined with its targets."""
    first = found[0]
    return Route(
        model=first.model,
        alias=first.alias,
        generation=first.generation,
        targets=tuple(Target(version=row.version, weight=row.weight, shadow=row.shadow) for row in found),
    )


def manifest(row: AnyRow) -> Manifest:
    """Read the manifest in a row of versions joined with its artifact."""
    found = _manifest(row.manifest)
    if found.digest != row.digest:
        raise DataLoss(
            f"the stored manifest of version {row.version} of {row.model!r} does not have its digest {row.digest}; "
            "restore the registry from a backup",
            facts={"model": row.model, "version": str(row.version), "digest": row.digest},
        )
    return found.manifest


def desired_version(row: AnyRow, signed: tuple[Signed, ...]) -> DesiredVersion:
    """Read a row of versions joined with its artifact and its golden samples."""
    graph = graph_of(row.manifest, row.digest) or manifest(row).graph
    golden = None if row.golden_digest is None else Blob(digest=row.golden_digest, size_bytes=row.golden_size_bytes)
    return DesiredVersion(
        model=row.model,
        version=row.version,
        digest=row.digest,
        graph=graph,
        golden=golden,
        signature=_signature(row.signature),
        config=_config(row.config),
        tolerances=_tolerances(row.tolerances),
        joinable=row.joinable,
        damage=row.damage or "",
        memory_bytes=documents.read_memory(row.report),
        signed=signed,
    )


def replica(row: AnyRow) -> ReplicaRecord:
    """Read a row of replicas with the database's clock beside it."""
    return ReplicaRecord(
        replica=row.replica,
        boot=row.boot,
        address=row.address,
        inference_address=row.inference_address,
        epoch=row.epoch,
        ready=row.ready,
        silent_s=(row.now - row.seen_at).total_seconds(),
    )


def rollout(row: AnyRow) -> Rollout:
    """Read a row of rollouts."""
    return Rollout(
        rollout=row.rollout,
        action=row.action,
        model=row.model,
        alias=row.alias,
        version=row.version,
        coordinator=row.coordinator,
        actor=row.actor,
        reason=row.reason,
        request_id=row.request_id,
        overtaken_by=row.overtaken_by,
    )


def vote(row: AnyRow) -> Vote:
    """Read a row of votes."""
    return Vote(replica=row.replica, boot=row.boot, prepared=row.prepared, reason=row.reason)


def link(row: AnyRow) -> Link:
    """Read a row of events."""
    filed = Filing(
        time=row.time,
        actor=row.actor,
        action=row.action,
        model=row.model,
        alias=row.alias,
        from_version=row.from_version,
        to_version=row.to_version,
        outcome=row.outcome,
    )
    return Link(seq=row.seq, filed=filed, body=bytes(row.body), hash=row.hash)


def alias_at(row: AnyRow) -> AliasAt:
    """Read a row of events that moved an alias."""
    event = chain.read(link(row))
    return AliasAt(
        model=event.model,
        alias=event.alias,
        version=event.to_version,
        since=event.time,
        seq=event.seq,
        action=event.action,
        actor=event.actor,
        reason=event.reason,
    )


@dataclass(frozen=True, slots=True)
class _Parsed:
    digest: str
    manifest: Manifest


# Versions of a model have most of their texts in common, and all models some of them.
_signature = lru_cache(maxsize=2048)(documents.read_signature)
_config = lru_cache(maxsize=256)(documents.read_config)
_tolerances = lru_cache(maxsize=256)(documents.read_tolerances)


@lru_cache(maxsize=64)
def _manifest(text: str) -> _Parsed:
    found = Manifest.from_json(text)
    return _Parsed(found.digest, found)


def _stack(found: Sequence[AnyRow]) -> tuple[int, ...]:
    return tuple(row.stacked for row in found if row.stacked is not None)


def _state(text: str) -> VersionState:
    try:
        return VersionState(text)
    except ValueError as error:
        raise DataLoss(
            f"a stored version has the unknown state {text!r}; restore the registry from a backup"
        ) from error
