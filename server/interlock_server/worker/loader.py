"""Loading a version: check the bytes, open the session, warm it, hold it against its golden samples."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from interlock import golden
from interlock.errors import DataLoss, FailedPrecondition, InterlockError, InternalError, NotTrusted
from interlock.golden import DEFAULT_TOLERANCES
from interlock.model import LoadedFrom, ServableState
from interlock_registry.derived import Form
from interlock_registry.derived_store import files_of, graph_of, root_of
from interlock_registry.manifest import Manifest

from interlock_server.placing import Placement
from interlock_server.process.notes import Notes
from interlock_server.snapshot import VersionSpec
from interlock_server.worker.allocator import give_back_memory, give_back_once_freed
from interlock_server.worker.batcher import Batcher, Lane
from interlock_server.worker.engine import CPU, Engine, Session
from interlock_server.worker.pace import Pace, depends_on_sizes_alone
from interlock_server.worker.proving import Timed, check_golden, measure, warm
from interlock_server.worker.servable import Servable
from interlock_server.worker.watch import Watch

log = logging.getLogger("interlock.loader")

_LOW_PRIORITY: Final = 10
_SLOW_S: Final = 20e-3
"""A version that took as long at its best, however cold it was, need not be run again to be known as not quick."""
_CHUNK: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Proven:
    """A session that is warm, and answers as it should."""

    session: Session
    shortest_run_s: float
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Loading:
    """One version that is being loaded."""

    version: str
    since: float
    """On the monotonic clock."""


class Loader:
    """Loads servables one at a time; all but the making of sessions on the calling thread.

    A thread inherits the priority of the one that starts it, and may never raise it again. So batchers, whose threads
    serve later, are made on a thread of ordinary priority, however low the caller's is; and each session on a new
    thread that this one starts, which gives way as soon as the session's own threads run.
    """

    def __init__(self, engine: Engine, notes: Notes | None = None, may_wait_s: float = 0.0) -> None:
        """Take the engine, where runs are noted, and how long requests may wait for theirs; 0: any time.

        Call this from a thread of ordinary priority.
        """
        self._engine = engine
        self._may_wait_s = may_wait_s
        self._notes = notes
        self.loading: Loading | None = None
        self._verified: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="session-maker")
        self._maker.submit(threading.get_native_id).result()  # now, and not when a thread of low priority asks

    def load(self, servable: Servable) -> None:
        """Bring a NEW servable to READY, or to FAILED with the reason; raises nothing."""
        spec = servable.spec
        with self._lock:
            started = time.monotonic()
            if not servable.advance(ServableState.NEW, ServableState.LOADING):
                return  # dropped before its turn came
            watch = self._watch(spec)
            self.loading = Loading(str(spec.key), started)
            lanes: list[Lane] = []
            watch.begin_loading()
            try:
                with give_back_once_freed():
                    first, *more = places = self._engine.placements(spec.config.instances)
                    proven = self._open(servable, first)
                    pace = self._pace(spec, proven)
                    made = [proven.session, *(self._again(servable, each) for each in more)]
                alone = next((session for session, each in zip(made, places, strict=True) if each.alone), None)
                for session, each in zip(made, places, strict=True):
                    for _ in range(0 if each.alone else each.lanes):
                        lanes.append(Lane(session, self._watch(spec) if lanes else watch, alone))
                batcher = self._maker.submit(
                    Batcher, str(spec.key), lanes, spec.config, pace, may_wait_s=self._may_wait_s
                ).result()
            except InterlockError as error:
                self._give_up(servable, error, watch, lanes)
                return
            except Exception as error:
                log.exception("loading failed", extra={"version": str(spec.key)})
                self._give_up(servable, InternalError(f"{type(error).__name__}: {error}"), watch, lanes)
                return
            finally:
                watch.end()
                self.loading = None
            servable.load_s = time.monotonic() - started
            servable.provider = self._engine.choice.provider
            servable.devices = tuple(each.device for each in places if not each.alone)
            servable.transition(ServableState.READY, servable.fell_back, batcher=batcher)
            log.info("loaded", extra={"version": str(spec.key), "load_s": round(servable.load_s, 4)})

    def _again(self, servable: Servable, place: Placement) -> Session:
        """Return one more session like the first one, proven where it will run."""
        spec, form = servable.spec, servable.loaded_from is LoadedFrom.DERIVED
        graph = str(graph_of(Path(spec.derived_path))) if form else spec.graph_path
        session = self._make(graph, spec, place, optimised=form)
        self._prove(spec, session)
        return session

    def _open(self, servable: Servable, place: Placement) -> _Proven:
        """Return the version's session, warm and proven; raises what keeps it from being served."""
        spec = servable.spec
        if spec.damage:
            raise DataLoss(spec.damage)
        if spec.distrust:
            raise NotTrusted(spec.distrust)
        if spec.quarantine:
            raise FailedPrecondition(spec.quarantine)
        manifest = self._manifest(spec)
        return self._open_derived(servable, place, manifest) or self._open_artifact(servable, place, manifest)

    def _watch(self, spec: VersionSpec) -> Watch:
        slot = self._notes.slot(str(spec.key)) if self._notes is not None else None
        return Watch(str(spec.key), slot, suspect=spec.suspect, poison=spec.poison)

    def _pace(self, spec: VersionSpec, proven: _Proven) -> Pace:
        """Measure whether the version's runs are quick, where that can be told at all."""
        pace = Pace(may_be_quick=not spec.suspect and depends_on_sizes_alone(proven.manifest.operators))
        if proven.shortest_run_s < _SLOW_S:
            measure(spec, proven.session, pace)
        return pace

    def _open_derived(self, servable: Servable, place: Placement, manifest: Manifest) -> _Proven | None:
        """Return a proven session of the derived form; None where there is none or it is of no use."""
        spec = servable.spec
        # What a version is suspected of, its form may have done.
        if not spec.derived_path or spec.suspect or self._engine.choice.provider != CPU:
            return None
        try:
            graph = self._verify_derived(spec)
            session = self._make(graph, spec, place, optimised=True)
            servable.advance(ServableState.LOADING, ServableState.WARMING)
            shortest_run_s = self._prove(spec, session)
            # Kernels packed their weights anew, found them equal to the file's, and freed them.
            give_back_memory()
            servable.loaded_from = LoadedFrom.DERIVED
            return _Proven(session, shortest_run_s, manifest)
        # It is a cache of the artifact, which is there: whatever is wrong with it must not fail the load.
        except InterlockError as error:
            why = error.message
            log.warning("its derived form is not used: %s", why, extra={"version": str(spec.key)})
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            log.exception("its derived form is not used", extra={"version": str(spec.key)})
        servable.loaded_from = LoadedFrom.FALLBACK
        servable.fell_back = f"its derived form is not used: {why}"
        return None

    def _open_artifact(self, servable: Servable, place: Placement, manifest: Manifest) -> _Proven:
        spec = servable.spec
        self._verify_artifact(spec, manifest)
        session = self._make(spec.graph_path, spec, place, optimised=False)
        servable.advance(ServableState.LOADING, ServableState.WARMING)
        shortest_run_s = self._prove(spec, session)
        servable.loaded_from = servable.loaded_from or LoadedFrom.ARTIFACT
        return _Proven(session, shortest_run_s, manifest)

    def _make(self, path: str, spec: VersionSpec, place: Placement, *, optimised: bool) -> Session:
        made: Future[Session] = Future()

        def make() -> None:
            try:
                session = self._engine.load(
                    path,
                    spec.signature,
                    optimised=optimised,
                    then=low_priority_thread,
                    device=place.device,
                    lanes=place.lanes,
                    digest=spec.digest,
                )
            except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
                made.set_exception(error)
            else:
                made.set_result(session)

        thread = self._maker.submit(_started, make).result()
        try:
            return made.result()
        finally:
            thread.join()

    def close(self) -> None:
        """End the thread that makes sessions. Idempotent."""
        self._maker.shutdown(wait=False)

    def _give_up(self, servable: Servable, error: InterlockError, watch: Watch, lanes: Sequence[Lane]) -> None:
        for each in (watch, *(lane.watch for lane in lanes)):
            each.close()
        servable.transition(ServableState.FAILED, error.message)
        log.error("not loaded: %s", error.message, extra={"version": str(servable.spec.key)})

    def _manifest(self, spec: VersionSpec) -> Manifest:
        self._verify_blob(spec.manifest_path, spec.digest)
        return Manifest.from_json(_read(spec.manifest_path, spec.digest).decode())

    def _verify_artifact(self, spec: VersionSpec, manifest: Manifest) -> None:
        if manifest.graph.digest != spec.graph_sha256:
            raise DataLoss(f"artifact {spec.digest} has another graph than {spec.graph_sha256}; restore a backup")
        self._verify_blob(spec.graph_path, spec.graph_sha256)
        for tensor in manifest.tensors:
            self._verify_blob(str(Path(spec.graph_path).with_name(tensor.blob.digest)), tensor.blob.digest)

    def _verify_derived(self, spec: VersionSpec) -> str:
        """Check every file of a derived form; return where its graph is. Raises DataLoss."""
        record = Path(spec.derived_path)
        text = _read_record(record, spec.derived_sha256)
        for blob, path in files_of(root_of(record), Form.from_json(text)):
            self._verify("derived file", str(path), blob.digest, "it is made again")
        return str(graph_of(record))

    def _verify(self, what: str, path: str, digest: str, mend: str) -> None:
        """Hash a file before this process's first load of it; raises DataLoss."""
        if (path, digest) in self._verified:
            return
        hasher = hashlib.sha256()
        try:
            with open(path, "rb") as file:
                while chunk := file.read(_CHUNK):
                    hasher.update(chunk)
        except OSError as error:
            raise DataLoss(f"{what} {digest} cannot be read ({error.strerror}); {mend}") from error
        if hasher.hexdigest() != digest:
            raise DataLoss(f"{what} {digest} is corrupt: its bytes hash to {hasher.hexdigest()}; {mend}")
        self._verified.add((path, digest))

    def _verify_blob(self, path: str, digest: str) -> None:
        self._verify("blob", path, digest, "restore it from a backup")

    def _prove(self, spec: VersionSpec, session: Session) -> float:
        """Warm the session up: on its golden samples, which it must meet, else on zeros. Return its shortest run."""
        timed = Timed(session)
        if not spec.golden_path:
            warm(spec.signature, timed)
            return timed.shortest_s
        self._verify_blob(spec.golden_path, spec.golden_sha256)
        provider = self._engine.choice.provider
        tolerance = spec.tolerances.get(provider, DEFAULT_TOLERANCES[provider])
        samples = golden.read(Path(spec.golden_path))
        for _ in range(session.proofs):
            check_golden(samples, spec, timed, tolerance)
        return timed.shortest_s


def _started(work: Callable[[], None]) -> threading.Thread:
    """Have a new thread of the calling one's priority do some work; a process that ends waits for it."""
    thread = threading.Thread(target=work, name="session", daemon=False)
    thread.start()
    return thread


def _read(path: str, digest: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataLoss(f"blob {digest} cannot be read ({error.strerror}); restore it from a backup") from error


def _read_record(path: Path, digest: str) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataLoss(f"record {path.name} cannot be read ({error.strerror}); it is made again") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise DataLoss(f"record {path.name} is another than it was; it is made again")
    return data.decode()


def low_priority_thread() -> None:
    """Make the calling thread give way: what it loads must not slow what is served."""
    thread = threading.get_native_id()
    # Never up, which is not allowed: the whole server may have been started at a lower priority still.
    os.setpriority(os.PRIO_PROCESS, thread, max(_LOW_PRIORITY, os.getpriority(os.PRIO_PROCESS, thread)))
