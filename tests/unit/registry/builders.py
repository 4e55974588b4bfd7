"""Short words for what the registry's tests do over and over."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from dataclasses import dataclass

from interlock.golden import Tolerance
from interlock.model import ServingConfig
from interlock.statement import SourceFile
from interlock.types import DType, Signature, TensorSpec
from interlock_registry.domain import Action, Attempt, Committed, NewVersion, Registered
from interlock_registry.fleet import Heartbeat, Resident
from interlock_registry.manifest import Blob, Manifest, TensorBlob
from interlock_registry.registry import Registry

from tests.databases import Behind, Place

MODEL = "digits"
SIGNATURE = Signature((TensorSpec("x", DType.FP32, ("n", 64)),), (TensorSpec("y", DType.FP32, ("n", 10)),))
BREAKING = Signature((TensorSpec("image", DType.FP32, ("n", 64)),), (TensorSpec("y", DType.FP32, ("n", 10)),))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def manifest(seed: str = "weights") -> Manifest:
    source = SourceFile(name="digits.onnx", size_bytes=1000, sha256=digest(seed))
    weights = TensorBlob("weights", "FLOAT", (64, 10), Blob(digest(f"tensor of {seed}"), 2560))
    return Manifest(graph=Blob(digest(seed), 1000), tensors=(weights,), sources=(source,))


def new_version(model: str = MODEL, seed: str = "weights", signature: Signature = SIGNATURE) -> NewVersion:
    return NewVersion(
        model=model,
        manifest=manifest(seed),
        golden=Blob(digest(f"golden of {seed}"), 500),
        golden_samples=3,
        signature=signature,
        config=ServingConfig(max_batch_size=8),
        proven=True,
        joinable=True,
        tolerances={"CPU": Tolerance(atol=1e-5, rtol=1e-3)},
        note="a note",
        tags={"run": "7"},
        report_json='{"load_s":0.5}',
    )


def attempt(
    action: Action,
    model: str = MODEL,
    version: int = 0,
    alias: str = "",
    *,
    actor: str = "ada",
    key: str = "",
    request_hash: str = "",
    reason: str = "",
) -> Attempt:
    return Attempt(
        action=action,
        actor=actor,
        request_id="r-1",
        model=model,
        alias=alias,
        version=version,
        reason=reason,
        idempotency_key=key,
        request_hash=request_hash,
    )


def heartbeat(replica: str, *versions: int, epoch: int = 0, boot: str = "first") -> Heartbeat:
    """Say that a replica is alive and has these versions of the model loaded."""
    return Heartbeat(
        replica=replica,
        boot=boot,
        address=f"{replica}:8002",
        inference_address=f"{replica}:8001",
        epoch=epoch,
        ready=True,
        residents=frozenset(Resident(MODEL, version) for version in versions),
    )


@dataclass(frozen=True)
class Desk:
    """An operator of one registry."""

    registry: Registry
    place: Place

    @classmethod
    def at(cls, place: Place) -> Desk:
        return cls(Registry.open(place.url), place)

    def register(self, model: str = MODEL, seed: str = "weights", signature: Signature = SIGNATURE) -> Registered:
        return self.registry.register(new_version(model, seed, signature), attempt(Action.REGISTER, model))

    def promote(self, version: int, alias: str = "stable", model: str = MODEL) -> Committed:
        move = self.registry.plan_promote(model, version, alias, allow_breaking=True)
        return self.registry.commit_move(move, attempt(Action.PROMOTE, model, version, alias), "{}")

    def rollback(self, to_version: int = 0, alias: str = "stable", model: str = MODEL) -> Committed:
        move = self.registry.plan_rollback(model, alias, to_version, allow_breaking=True)
        return self.registry.commit_move(move, attempt(Action.ROLLBACK, model, to_version, alias), "{}")

    def pin(self, version: int) -> Committed:
        return self.registry.pin(attempt(Action.PIN, version=version))

    def unpin(self, version: int) -> Committed:
        return self.registry.unpin(attempt(Action.UNPIN, version=version))

    def retire(self, version: int) -> Committed:
        return self.registry.retire(attempt(Action.RETIRE, version=version))

    def delete(self, version: int) -> Committed:
        return self.registry.delete(attempt(Action.DELETE, version=version))

    def remove_alias(self, alias: str = "stable", expected: int | None = None) -> Committed:
        return self.registry.remove_alias(attempt(Action.REMOVE_ALIAS, alias=alias), expected_generation=expected)

    def sql(self) -> AbstractContextManager[Behind]:
        """Go behind the registry's back, with the rules that any connection to it has."""
        return self.place.sql()
