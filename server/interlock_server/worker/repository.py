"""Triton's repository RPCs, as a view of what the registry wants of this server. They change nothing in it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from google.protobuf.message import DecodeError, Message
from interlock.errors import (
    FailedPrecondition,
    InterlockError,
    InvalidArgument,
    PrepareFailed,
    RegistryUnavailable,
    ResourceExhausted,
    Unimplemented,
    Violation,
)
from interlock.model import ServableState
from interlock.protocols import open_inference_pb2 as pb
from interlock_registry.domain import ModelStanding

from interlock_server.faults import opaque
from interlock_server.front.seam import Call
from interlock_server.repository_index import IndexEntry, repository_index
from interlock_server.snapshot import primary
from interlock_server.worker.catalog import Catalog
from interlock_server.worker.inference import not_a_message
from interlock_server.worker.methods import SERVICE, Methods

log = logging.getLogger("interlock.repository")

_AT_ONCE: Final = 16
"""Calls that may be under way; each waits for a load or for the control process."""
_LOADS_AT_ONCE: Final = 2
_LONGEST_WAIT_S: Final = 300.0


class RepositoryAnswers:
    """Answers RepositoryIndex, RepositoryModelLoad and RepositoryModelUnload, on the loop that it is made on."""

    def __init__(self, catalog: Catalog, standing: Callable[[], Awaitable[tuple[ModelStanding, ...]]]) -> None:
        """Take the catalog, and what lists the registry's versions or raises RegistryUnavailable."""
        self._catalog = catalog
        self._standing = standing
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiters = ThreadPoolExecutor(_LOADS_AT_ONCE, thread_name_prefix="repository")

    @property
    def methods(self) -> Methods:
        """What it answers."""
        return Methods(
            calls={
                SERVICE + "RepositoryIndex": lambda call: self._start(call, self._index),
                SERVICE + "RepositoryModelLoad": lambda call: self._start(call, self._load),
                SERVICE + "RepositoryModelUnload": lambda call: self._start(call, self._unload),
            },
            extensions=("model_repository",),
        )

    async def close(self) -> None:
        """End what is under way. Idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._waiters.shutdown(wait=False, cancel_futures=True)

    def _start(self, call: Call, work: Callable[[Call], Coroutine[None, None, Message]]) -> None:
        self._loop.call_soon_threadsafe(self._begin, call, work)

    def _begin(self, call: Call, work: Callable[[Call], Coroutine[None, None, Message]]) -> None:
        if len(self._tasks) >= _AT_ONCE:
            call.fail(ResourceExhausted(f"{_AT_ONCE} repository calls are under way, which is the limit; try again"))
            return
        task = self._loop.create_task(self._answer(call, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, call: Call, work: Callable[[Call], Coroutine[None, None, Message]]) -> None:
        try:
            call.done((await work(call)).SerializeToString())
        except InterlockError as error:
            call.fail(error)
        except DecodeError:
            call.fail(not_a_message(call.method))
        except Exception as error:  # noqa: BLE001 - a fault of ours must end as this call's answer, and in the log
            call.fail(opaque(error))

    async def _index(self, call: Call) -> pb.RepositoryIndexResponse:
        request = pb.RepositoryIndexRequest.FromString(call.request)
        _check_repository(request.repository_name)
        try:
            standing = await self._standing()
        except RegistryUnavailable as error:
            log.warning("the index lists only what is kept loaded: %s", error.message)
            standing = ()
        servables = [servable.status() for servable in self._catalog.servables()]
        entries = repository_index(standing, servables, only_ready=request.ready)
        return pb.RepositoryIndexResponse(models=[_entry(each) for each in entries])

    async def _load(self, call: Call) -> pb.RepositoryModelLoadResponse:
        request = pb.RepositoryModelLoadRequest.FromString(call.request)
        name = _model(request.repository_name, request.model_name)
        _check_parameters(request.parameters, ())
        wanted = self._catalog.of_model(name)
        if not wanted:
            raise FailedPrecondition(
                f"failed to load '{name}', nothing of it is wanted on this server: `interlock promote {name} VERSION` "
                f"serves a version, `interlock pin {name} VERSION` only loads it",
                facts={"model": name},
            )
        for servable in wanted:
            wait_s = min(call.deadline - time.monotonic(), _LONGEST_WAIT_S)
            prepared = await self._loop.run_in_executor(
                self._waiters, self._catalog.prepare, servable.spec, max(0.0, wait_s)
            )
            if prepared.state is not ServableState.READY:
                raise PrepareFailed(name, servable.spec.version, prepared.reason or prepared.state.value)
        return pb.RepositoryModelLoadResponse()

    async def _unload(self, call: Call) -> pb.RepositoryModelUnloadResponse:
        request = pb.RepositoryModelUnloadRequest.FromString(call.request)
        name = _model(request.repository_name, request.model_name)
        _check_parameters(request.parameters, ("unload_dependents",))
        kept = sorted(servable.spec.version for servable in self._catalog.of_model(name))
        if kept:
            routes = self._catalog.routes_of(name)
            led = ", ".join(f"{route.alias} leads to {primary(route)}" for route in routes) or "no alias leads to it"
            raise FailedPrecondition(
                f"failed to unload '{name}', the registry wants versions {', '.join(map(str, kept))} of it loaded "
                f"({led}): `interlock alias rm {name} ALIAS` and `interlock unpin {name} VERSION` end that",
                facts={"model": name},
            )
        return pb.RepositoryModelUnloadResponse()


def _entry(entry: IndexEntry) -> pb.RepositoryIndexResponse.ModelIndex:
    version = str(entry.version) if entry.version else ""
    return pb.RepositoryIndexResponse.ModelIndex(
        name=entry.model, version=version, state=entry.state, reason=entry.reason
    )


def _model(repository: str, model: str) -> str:
    """Return the model that is meant; KServe's dialect has its name where Triton has the repository's."""
    if not model:
        return repository
    _check_repository(repository)
    return model


def _check_repository(name: str) -> None:
    if name:
        raise Unimplemented(
            f"'repository_name' specification is not supported: there is one registry, and it is not {name[:100]!r}"
        )


def _check_parameters(parameters: Mapping[str, pb.ModelRepositoryParameter], allowed: tuple[str, ...]) -> None:
    for name in parameters:
        if name in allowed:
            continue
        where = [Violation(f"parameters[{name[:100]}]", "is not taken")]
        if name == "config" or name.startswith("file:"):
            raise InvalidArgument(
                f"load parameter {name[:100]!r} is refused: a version never changes, and what is served is what was "
                "registered; `interlock register MODEL FILE.onnx --config FILE` makes a new version",
                violations=where,
            )
        raise InvalidArgument(f"there is no parameter {name[:100]!r}", violations=where)
