"""What this replica should serve now: the cached desired state, and what is being prepared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from interlock.access import Credential
from interlock.model import Alias
from interlock_registry import planning
from interlock_registry.domain import Committed, Desired, DesiredModel, DesiredVersion, Moved

from interlock_server.access.holder import Holder
from interlock_server.control.blaming import Judgement
from interlock_server.levers import LeverFrame
from interlock_server.snapshot import Snapshot, VersionKey, VersionSpec, WayBack


class Replica:
    """The one writer of the desired state in this process; everyone else reads snapshots of it."""

    def __init__(
        self,
        blob_path: Callable[[str], Path],
        levers: LeverFrame | None = None,
        distrust: Callable[[VersionSpec], str] = lambda _: "",
    ) -> None:
        """Take where blobs are, and the levers that workers look at; None where they are switched by messages alone.

        `distrust` says why a version must not be loaded, its signatures being what they are; "" where it may.
        """
        self._blob_path = blob_path
        self._levers = levers
        self._distrust = distrust
        self._desired: Desired | None = None
        self._fallback: Snapshot | None = None
        self._preparing: list[VersionSpec] = []
        self._base: Snapshot | None = None
        self._specs: dict[str, _Specs] = {}
        self._unread: set[str] = set()
        self._judgement = Judgement()

    @property
    def known(self) -> bool:
        """Whether there is anything to serve from: the registry's state or a last-known-good snapshot."""
        return self._desired is not None or self._fallback is not None

    @property
    def from_last_known_good(self) -> bool:
        """Whether the registry has not been read since the start."""
        return self._desired is None and self._fallback is not None

    @property
    def epoch(self) -> int:
        """The epoch of the desired state; -1 before there is one."""
        if self._desired is not None:
            return self._desired.epoch
        return self._fallback.epoch if self._fallback is not None else -1

    @property
    def incarnation(self) -> str:
        """The registry's incarnation that the desired state is from."""
        if self._desired is not None:
            return self._desired.incarnation
        return self._fallback.incarnation if self._fallback is not None else ""

    def aliases(self) -> tuple[Alias, ...]:
        """Return every alias."""
        if self._desired is None:
            return ()
        return tuple(alias for model in self._desired.models for alias in model.aliases)

    def fall_back(self, snapshot: Snapshot) -> None:
        """Serve from a last-known-good snapshot until the registry can be read."""
        self._fallback = snapshot.without_levers()
        self._base = None

    def replace_all(self, desired: Desired) -> bool:
        """Take over the whole desired state; False if what is here is newer."""
        current = self._desired
        if current and current.incarnation == desired.incarnation and current.epoch > desired.epoch:
            return False
        self._desired = desired
        self._base = None
        self._unread.clear()
        return True

    def replace_model(self, committed: Committed) -> bool:
        """Take over one model after a commit of ours; False if a whole read is needed, as others wrote meanwhile."""
        current = self._desired
        if current is None or committed.epoch > current.epoch + 1:
            return False
        if committed.epoch == current.epoch + 1:
            self._put(current, committed)
            self._unread.discard(committed.desired.name)
        return True

    def refresh(self, committed: Committed) -> bool:
        """Take over what was read of a model that was moved here; False if it is of another epoch than the rest.

        A later epoch may be a commit of ours to another model that has yet to be taken over: with its epoch, but
        without it, it would be taken for known.
        """
        current = self._desired
        if current is None or committed.epoch != current.epoch:
            return False
        self._put(current, committed)
        self._unread.discard(committed.desired.name)
        return True

    def move(self, moved: Moved) -> bool:
        """Take over the move of an alias to a version that is kept, without asking the registry what to keep now.

        Nothing is dropped until the model was read (`unread`). False if a whole read is needed.
        """
        current = self._desired
        if current is None or moved.epoch > current.epoch + 1:
            return False
        if moved.epoch == current.epoch + 1:
            before = next(model for model in current.models if model.name == moved.move.model)
            self._put(current, Committed(moved.epoch, planning.model_after(before, moved)))
            self._unread.add(before.name)
        return True

    @property
    def unread(self) -> frozenset[str]:
        """Models that were moved here, of which the registry may want other versions loaded."""
        return frozenset(self._unread)

    def _put(self, current: Desired, committed: Committed) -> None:
        models = {model.name: model for model in current.models}
        models[committed.desired.name] = committed.desired
        self._desired = replace(current, epoch=committed.epoch, models=tuple(models.values()))
        self._base = None

    def judge(self, judgement: Judgement) -> bool:
        """Take over what the workers' crashes say of versions; False if it is nothing new."""
        if judgement == self._judgement:
            return False
        self._judgement = judgement
        self._specs.clear()
        self._base = None
        return True

    def trust_anew(self) -> None:
        """Have every version judged again by its signatures."""
        self._specs.clear()
        self._base = None

    def spec(self, version: DesiredVersion) -> VersionSpec:
        """Return what a worker needs to load a version."""
        key = VersionKey(version.model, version.version)
        return self._judged(
            VersionSpec(
                model=version.model,
                version=version.version,
                digest=version.digest,
                manifest_path=str(self._blob_path(version.digest)),
                graph_path=str(self._blob_path(version.graph.digest)),
                graph_sha256=version.graph.digest,
                golden_path="" if version.golden is None else str(self._blob_path(version.golden.digest)),
                golden_sha256="" if version.golden is None else version.golden.digest,
                signature=version.signature,
                config=version.config,
                tolerances=version.tolerances,
                joinable=version.joinable,
                damage=version.damage,
                memory_bytes=version.memory_bytes,
                suspect=key in self._judgement.suspects,
                poison=self._judgement.poison_of(key),
                quarantine=self._judgement.quarantine_of(key),
                signed=version.signed,
            )
        )

    def _judged(self, spec: VersionSpec) -> VersionSpec:
        found = self._distrust(spec)
        return spec if found == spec.distrust else replace(spec, distrust=found)

    def kept(self, model: str) -> tuple[VersionSpec, ...]:
        """Return the versions of a model that are kept loaded."""
        keep = self.committed().keep
        if self._desired is None:
            return tuple(spec for spec in keep if spec.model == model)
        known = self._specs.get(model)
        return () if known is None else known.specs

    @contextmanager
    def preparing(self, *specs: VersionSpec) -> Iterator[None]:
        """Keep versions loaded while they are being prepared, whatever else is switched meanwhile."""
        self._preparing.extend(specs)
        try:
            yield
        finally:
            for spec in specs:
                self._preparing.remove(spec)

    def committed(self) -> Snapshot:
        """Return what is desired by the registry alone: what a restart should come back with."""
        if self._base is None:
            self._base = self._build()
        return self._base

    def snapshot(self) -> Snapshot:
        """Return what every worker should have now: what is committed, and what is being prepared."""
        base = self.committed()
        extra = {spec.key: spec for spec in self._preparing}
        for spec in base.keep:
            extra.pop(spec.key, None)
        return replace(base, keep=(*base.keep, *extra.values())) if extra else base

    def _build(self) -> Snapshot:
        if self._desired is None:
            last = self._fallback or Snapshot("", -1, (), ())
            return replace(last, keep=tuple(map(self._judged, last.keep)))
        self._specs = {model.name: self._specs_of(model) for model in self._desired.models}
        return Snapshot(
            incarnation=self._desired.incarnation,
            epoch=self._desired.epoch,
            routes=tuple(route for model in self._desired.models for route in model.routes),
            keep=tuple(spec for known in self._specs.values() for spec in known.specs),
            models=tuple(model.name for model in self._desired.models),
            newest=tuple(model.newest for model in self._desired.models),
            holders=tuple(map(_holder, self._desired.credentials)),
            ways_back=tuple(way for known in self._specs.values() for way in known.ways_back),
            levers="" if self._levers is None else self._levers.place,
        )

    def _specs_of(self, model: DesiredModel) -> _Specs:
        """Make the specs of a model, or keep those that there are: a change is one of thousands of models."""
        known = self._specs.get(model.name)
        if known is not None and known.model is model:
            return known
        ways_back = tuple(self._ways_back(model))
        if known is not None and known.model.keep == model.keep:
            return _Specs(model, known.specs, ways_back)
        return _Specs(model, tuple(map(self.spec, model.keep)), ways_back)

    def _ways_back(self, model: DesiredModel) -> Iterator[WayBack]:
        kept = {version.version for version in model.keep}
        for alias in model.aliases:
            if self._levers is None or not alias.stack or alias.stack[-1] not in kept:
                continue
            version, generation = alias.stack[-1], alias.generation + 1
            lever = self._levers.lever(
                model.name, alias.alias, incarnation=self.incarnation, generation=generation, version=version
            )
            if lever is not None:
                yield WayBack(model.name, alias.alias, version, generation, lever)


@dataclass(frozen=True, slots=True)
class _Specs:
    """What workers need of a model, and what that was made of."""

    model: DesiredModel
    specs: tuple[VersionSpec, ...]
    ways_back: tuple[WayBack, ...]


def _holder(known: Credential) -> Holder:
    expires_at = 0.0 if known.expires_at is None else known.expires_at.timestamp()
    return Holder(known.proof, known.name, known.key, known.grants, expires_at)
