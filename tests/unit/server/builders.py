"""Short words for what the server's tests do over and over."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from interlock.errors import InterlockError
from interlock.golden import DEFAULT_TOLERANCES
from interlock.model import ServableState, ServingConfig
from interlock.types import Dim, DType, Signature, TensorSpec
from interlock_registry.domain import Route, Target
from interlock_registry.manifest import Blob, Manifest
from interlock_server.front.seam import Call, Conversation, Trailing
from interlock_server.snapshot import Snapshot, VersionSpec
from interlock_server.worker.servable import Servable

from tests import models

STEPS = (
    ServableState.LOADING,
    ServableState.WARMING,
    ServableState.READY,
    ServableState.DRAINING,
    ServableState.UNLOADED,
)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def signature(dtype: DType = DType.FP32, shape: Sequence[Dim] = ("batch", 2), out: DType | None = None) -> Signature:
    return Signature((TensorSpec("x", dtype, tuple(shape)),), (TensorSpec("y", out or dtype, tuple(shape)),))


def version_spec(
    folder: Path,
    version: int = 1,
    model: str = "m",
    *,
    content: bytes | None = None,
    golden: Path | None = None,
    said: Signature | None = None,
    config: ServingConfig | None = None,
    joinable: bool = True,
) -> VersionSpec:
    """A version on disk: y = version * x unless `content` says otherwise."""
    graph = folder / f"{model}-{version}.onnx"
    graph.write_bytes(models.affine(scale=float(version)) if content is None else content)
    manifest = Manifest(graph=Blob(sha256(graph), graph.stat().st_size))
    document = folder / manifest.digest
    document.write_text(manifest.to_json())
    return VersionSpec(
        model=model,
        version=version,
        digest=manifest.digest,
        manifest_path=str(document),
        graph_path=str(graph),
        graph_sha256=manifest.graph.digest,
        golden_path="" if golden is None else str(golden),
        golden_sha256="" if golden is None else sha256(golden),
        signature=said or signature(),
        config=config or ServingConfig(),
        tolerances=DEFAULT_TOLERANCES,
        joinable=joinable,
    )


def route(model: str, version: int, alias: str = "stable", generation: int = 1) -> Route:
    return Route(model=model, alias=alias, generation=generation, targets=(Target(version, 100),))


def snapshot(
    *keep: VersionSpec, routes: Sequence[Route] | None = None, epoch: int = 1, incarnation: str = "one"
) -> Snapshot:
    """A picture in which, unless `routes` says otherwise, `stable` leads to the last version of each model in keep."""
    leading = {spec.model: spec.version for spec in keep}
    found = tuple(route(*each) for each in leading.items()) if routes is None else tuple(routes)
    return Snapshot(incarnation, epoch, found, keep)


def servable_in(state: ServableState, spec: VersionSpec) -> Servable:
    """A servable that was taken to a state, step by step."""
    servable = Servable(spec)
    if state is ServableState.FAILED:
        servable.transition(ServableState.LOADING)
        servable.transition(ServableState.FAILED, "broken")
        return servable
    for step in STEPS[: STEPS.index(state) + 1] if state in STEPS else ():
        servable.transition(step)
    return servable


def bare_spec(version: int = 1, model: str = "m") -> VersionSpec:
    """A version whose files nobody will look at."""
    return VersionSpec(
        model=model,
        version=version,
        digest="0" * 64,
        manifest_path="absent.json",
        graph_path="absent.onnx",
        graph_sha256="0" * 64,
        golden_path="",
        golden_sha256="",
        signature=signature(),
        config=ServingConfig(),
        tolerances=DEFAULT_TOLERANCES,
        joinable=True,
    )


class RecordingCall(Call):
    """A call that a test makes, and what it was answered."""

    __slots__ = ("alarms", "ended", "error", "messages", "reply", "trailing")

    def __init__(
        self, method: str, request: bytes, metadata: Mapping[str, str] | None = None, deadline: float = float("inf")
    ) -> None:
        super().__init__(method, request, metadata or {}, deadline)
        self.messages: list[bytes] = []
        self.reply: bytes | None = None
        self.trailing: Trailing = ()
        self.error: InterlockError | None = None
        self.ended = 0
        self.alarms: list[tuple[float, Callable[[], None]]] = []
        """What is to be called, and when; nothing is before the test says so, however late that is."""

    def alarm(self, at: float, callback: Callable[[], None]) -> None:
        self.alarms.append((at, callback))

    def ring(self) -> None:
        """Wait for the time of the alarm that is due first, and let it ring."""
        due = min(self.alarms, key=lambda alarm: alarm[0])
        self.alarms.remove(due)
        threading.Event().wait(max(0.0, due[0] - time.monotonic()))
        due[1]()

    def message(self, data: bytes) -> None:
        self.messages.append(data)

    def done(self, data: bytes | None = None, trailing: Trailing = ()) -> None:
        self.reply, self.trailing = data, trailing
        self.ended += 1

    def fail(self, error: InterlockError) -> None:
        self.error = error
        self.ended += 1


class RecordingConversation(RecordingCall, Conversation):
    """A conversation that a test holds: it says messages, and sees what they were answered."""

    __slots__ = ("say", "stop")

    def listen(self, on_message: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        self.say, self.stop = on_message, on_end
