"""A registry with its blobs really there: what garbage collection, fsck and scrubs are about."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from interlock_registry.artifacts import LocalArtifactStore
from interlock_registry.collector import Collected, Collector, Survey
from interlock_registry.domain import Action, NewVersion, Registered
from interlock_registry.manifest import Blob, Manifest, TensorBlob
from interlock_registry.registry import Registry

from tests.unit.registry.builders import MODEL, Desk, attempt, new_version

DAY = 86400.0


def content(seed: str) -> bytes:
    return seed.encode() * 100


def blob(seed: str) -> Blob:
    data = content(seed)
    return Blob(hashlib.sha256(data).hexdigest(), len(data))


def stocked(model: str, seeds: Sequence[str]) -> NewVersion:
    """A version whose graph, golden samples and tensors have the bytes `content` makes of seeds."""
    tensors = tuple(
        TensorBlob(f"w{number}", "FLOAT", (blob(seed).size_bytes // 4,), blob(seed))
        for number, seed in enumerate(seeds[1:])
    )
    manifest = Manifest(graph=blob(seeds[0]), tensors=tensors)
    return replace(new_version(model), manifest=manifest, golden=blob(f"golden of {seeds[0]}"))


@dataclass(frozen=True)
class Warehouse:
    """A registry with its artifact store, in a directory."""

    desk: Desk
    store: LocalArtifactStore
    root: Path

    @classmethod
    def at(cls, desk: Desk, root: Path) -> Warehouse:
        return cls(desk, LocalArtifactStore(root / "blobs"), root)

    @property
    def registry(self) -> Registry:
        return self.desk.registry

    def put(self, data: bytes) -> str:
        source = self.root / f"upload-{uuid.uuid4().hex}"
        source.write_bytes(data)
        return self.store.add(source, sha256=hashlib.sha256(data).hexdigest(), consume=True).digest

    def register(self, *seeds: str, model: str = MODEL) -> Registered:
        """Do what a registration does: hold, store, commit."""
        new = stocked(model, seeds)
        assert new.golden is not None
        holder = uuid.uuid4().hex
        self.registry.blobs.hold(holder, [each.digest for each in (*new.manifest.blobs, new.golden)])
        for seed in (*seeds, f"golden of {seeds[0]}"):
            self.put(content(seed))
        self.put(new.manifest.to_json().encode())
        return self.registry.register(new, attempt(Action.REGISTER, model), holder=holder)

    def drop(self, version: int) -> None:
        """Retire and delete a version."""
        self.desk.retire(version)
        self.desk.delete(version)

    def collector(self, grace_s: float = DAY, later_s: float = 0.0) -> Collector:
        """A collector whose clock is ahead."""
        return Collector(
            self.registry.blobs,
            self.store,
            grace_s=grace_s,
            clock=lambda: datetime.now(UTC) + timedelta(seconds=later_s),
        )

    def survey(self, later_s: float = 2 * DAY) -> Survey:
        return self.collector(later_s=later_s).survey()

    def collect(self, later_s: float = 2 * DAY) -> Collected:
        return self.collector(later_s=later_s).collect(attempt(Action.COLLECT, model=""))

    def has(self, *seeds: str) -> list[bool]:
        return [self.store.has(blob(seed).digest) for seed in seeds]

    def names(self) -> set[str]:
        return {each.name for each in (self.root / "blobs").iterdir()}

    def spoil(self, seed: str) -> str:
        """Flip a bit of a blob; returns its digest."""
        found = blob(seed)
        path = self.store.path(found.digest)
        data = bytearray(path.read_bytes())
        data[0] ^= 1
        os.chmod(path, 0o600)
        path.write_bytes(data)
        os.chmod(path, 0o400)
        return found.digest
