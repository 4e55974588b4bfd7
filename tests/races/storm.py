"""Many threads that load, unload, pin, unpin, promote and roll back the versions of one model, under load.

Every answer is held against what that call may end with. Requests of what is always wanted must never fail. In the end
what is loaded is what the registry wants, and the history has one event for each attempt.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc
from interlock import chain
from interlock.errors import InterlockError
from interlock.protocols import open_inference_pb2 as pb
from interlock.protocols.open_inference_pb2_grpc import GRPCInferenceServiceStub
from interlock_client import Admin
from interlock_registry.fsck import Severity
from interlock_registry.registry import Registry

from tests import databases
from tests.load import Load
from tests.progress import progress
from tests.server import Server
from tests.support import eventually
from tests.system.stories import SCALES, register

MODEL: Final = "stormy"
THREADS: Final = 32
_VERSIONS: Final = 5
_ALWAYS: Final = _VERSIONS
"""The version that stays pinned: requests of it by number must never fail."""
_WEIGHTS: Final = {"load": 30, "unload": 10, "pin": 20, "unpin": 20, "promote": 10, "rollback": 10}
_LOST: Final = {"ok", "GENERATION_CONFLICT", "ABORTED", "PREEMPTED"}
"""How a change of an alias may end that others change too."""
_ENDINGS: Final = {
    "load": {"ok"},
    # An alias leads to it all the time, so it is never given up.
    "unload": {"FAILED_PRECONDITION"},
    "pin": {"ok"},
    "unpin": {"ok", "NOT_FOUND"},
    "promote": _LOST,
    "rollback": _LOST | {"NOTHING_TO_ROLL_BACK"},
}


@dataclass
class Weather:
    """What came of a storm."""

    asked: int = 0
    answered: int = 0
    """Requests of what is always wanted."""
    endings: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


class Storm:
    """Threads that do things to one model of a server."""

    def __init__(self, server: Server, folder: Path, *, seed: int = 0) -> None:
        self._server = server
        self._seed = seed
        self._weather = Weather()
        self._lock = threading.Lock()
        self._changes = 0
        self._tell: Callable[[int], None] = lambda done: None
        with server.admin() as admin:
            register(admin, folder, _VERSIONS, MODEL)
            for version in (1, 2):
                admin.promote(MODEL, version)
            admin.pin(MODEL, _ALWAYS)
        # A pin is made when it is committed, and loaded a moment later.
        eventually(lambda: self._is_ready(_ALWAYS), "the pinned version is loaded")

    def _is_ready(self, version: int) -> bool:
        return all(
            any((each.model, each.version, each.state.value) == (MODEL, version, "READY") for each in worker.servables)
            for worker in self._server.status().workers
        )

    def blow(self, rounds: int, threads: int = THREADS) -> Weather:
        """Have each thread do so many things at random; returns when all is calm again."""
        weather = self._weather
        with (
            progress("storm", threads * rounds, "deeds") as self._tell,
            Load(self._server.grpc, MODEL, SCALES, clients=1) as routed,
            Load(self._server.grpc, f"{MODEL}@{_ALWAYS}", SCALES, clients=1) as numbered,
        ):
            before = self._events()
            crew = [threading.Thread(target=self._sail, args=[each, rounds]) for each in range(threads)]
            for each in crew:
                each.start()
            for each in crew:
                each.join()
            for load in (routed, numbered):
                load.more(5)
        for load in (routed, numbered):
            weather.answered += len(load.answers)
            weather.violations += [f"a request failed: {each.error!r}" for each in load.failures]
            weather.violations += [f"a wrong answer: {each}" for each in load.answers if not each.right]
        if numbered.versions != {_ALWAYS}:
            weather.violations.append(f"version {_ALWAYS} was asked for, and {numbered.versions} answered")
        events = self._events() - before
        if events != self._changes:
            weather.violations.append(f"{events} events of {self._changes} attempts")
        self._look_around()
        return weather

    # --- the threads ---

    def _sail(self, number: int, rounds: int) -> None:
        dice = random.Random(self._seed * 1000 + number)
        try:
            with self._server.admin() as admin, grpc.insecure_channel(self._server.grpc) as channel:
                stub = GRPCInferenceServiceStub(channel)
                for _ in range(rounds):
                    (deed,) = dice.choices([*_WEIGHTS], [*_WEIGHTS.values()])
                    self._note(deed, self._do(admin, stub, deed, dice.randint(1, _VERSIONS - 1)))
        except Exception as error:  # noqa: BLE001 - told where the storm ends
            with self._lock:
                self._weather.violations.append(f"a thread ended: {error!r}")

    @staticmethod
    def _do(admin: Admin, stub: GRPCInferenceServiceStub, deed: str, version: int) -> str:
        try:
            if deed == "load":
                stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name=MODEL), timeout=60)
            elif deed == "unload":
                stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name=MODEL), timeout=60)
            elif deed == "pin":
                admin.pin(MODEL, version, timeout=60)
            elif deed == "unpin":
                admin.unpin(MODEL, version, timeout=60)
            elif deed == "promote":
                admin.promote(MODEL, version, timeout=60)
            else:
                admin.rollback(MODEL, timeout=60)
        except InterlockError as error:
            return error.reason
        except grpc.RpcError as error:
            return str(error.code().name) if error.code() is grpc.StatusCode.FAILED_PRECONDITION else str(error)
        return "ok"

    def _note(self, deed: str, ending: str) -> None:
        with self._lock:
            self._weather.asked += 1
            self._tell(self._weather.asked)
            self._weather.endings[f"{deed}: {ending}"] += 1
            self._changes += deed not in ("load", "unload")
            if ending not in _ENDINGS[deed]:
                self._weather.violations.append(f"{deed} ended as {ending}")

    # --- afterwards ---

    def _events(self) -> int:
        registry = Registry.open(databases.of(self._server.data).url)
        try:
            seq, count = 0, 0
            while True:
                part = registry.chain_after(seq, page_size=1000)
                if not part.links:
                    return count
                events = [chain.read(link) for link in part.links]
                count += sum(each.model == MODEL for each in events)
                seq = events[-1].seq
        finally:
            registry.close()

    def _look_around(self) -> None:
        registry = Registry.open(databases.of(self._server.data).url)
        try:
            wanted = {(MODEL, each.version) for each in registry.desired_model(MODEL).keep}
            findings = [each for each in registry.findings() if each.severity is Severity.ERROR]
        finally:
            registry.close()
        self._weather.violations += [f"{each.subject}: {each.what}" for each in findings]

        def calm() -> bool:
            return all(
                {(each.model, each.version) for each in worker.servables if each.model == MODEL} == wanted
                and all(each.state.value == "READY" for each in worker.servables if each.model == MODEL)
                for worker in self._server.status().workers
            )

        try:
            eventually(calm, "what is loaded is what is wanted")
        except AssertionError:
            loaded = [[str(each) for each in worker.servables] for worker in self._server.status().workers]
            self._weather.violations.append(f"wanted are {sorted(wanted)}, loaded {loaded}")
