"""Triton's repository RPCs, as a view of what the registry wants of this server. They change nothing in it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from interlock.access import Permission
from interlock.errors import (
    FailedPrecondition,
    InvalidArgument,
    PrepareFailed,
    RegistryUnavailable,
    Unimplemented,
    Violation,
)
from interlock.model import ServableState
from interlock.protocols import open_inference_pb2 as pb
from interlock_registry.domain import ModelStanding

from interlock_server.front.seam import Call
from interlock_server.repository_index import IndexEntry, in_all_workers, repository_index
from interlock_server.snapshot import primary
from interlock_server.worker.call_tasks import CallTasks
from interlock_server.worker.catalog import Catalog
from interlock_server.worker.methods import SERVICE, Methods
from interlock_server.worker.peers import ALONE, Peers

log = logging.getLogger("interlock.repository")

_AT_ONCE: Final = 128
"""Calls that may be under way; each waits for a load or for the control process."""
_LOADS_AT_ONCE: Final = 2
_LONGEST_WAIT_S: Final = 300.0


class RepositoryAnswers:
    """Answers RepositoryIndex, RepositoryModelLoad and RepositoryModelUnload, on the loop that it is made on."""

    def __init__(
        self, catalog: Catalog, standing: Callable[[], Awaitable[tuple[ModelStanding, ...]]], peers: Peers = ALONE
    ) -> None:
        """Take the catalog, what lists the registry's versions or raises RegistryUnavailable, and the other workers."""
        self._catalog = catalog
        self._standing = standing
        self._peers = peers
        self._loop = asyncio.get_running_loop()
        self._calls = CallTasks("repository calls", _AT_ONCE)
        self._waiters = ThreadPoolExecutor(_LOADS_AT_ONCE, thread_name_prefix="repository")

    @property
    def methods(self) -> Methods:
        """What it answers."""
        return Methods(
            calls={
                SERVICE + "RepositoryIndex": self._calls.method(self._index),
                SERVICE + "RepositoryModelLoad": self._calls.method(self._load),
                SERVICE + "RepositoryModelUnload": self._calls.method(self._unload),
            },
            extensions=("model_repository",),
        )

    async def close(self) -> None:
        """End what is under way. Idempotent."""
        await self._calls.close()
        self._waiters.shutdown(wait=False, cancel_futures=True)

    async def _index(self, call: Call) -> pb.RepositoryIndexResponse:
        request = pb.RepositoryIndexRequest.FromString(call.request)
        _check_repository(request.repository_name)
        try:
            standing = await self._standing()
        except RegistryUnavailable as error:
            log.warning("the index lists only what is kept loaded: %s", error.message)
            standing = ()
        here = tuple(servable.status() for servable in self._catalog.servables())
        servables = in_all_workers([here, *await self._peers.servables()])
        entries = repository_index(standing, servables, only_ready=request.ready)
        caller = call.caller
        seen = [each for each in entries if caller is None or caller.powers.on(Permission.SEE, each.model)]
        return pb.RepositoryIndexResponse(models=[_entry(each) for each in seen])

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
            prepare = partial(self._catalog.prepare, servable.spec, max(0.0, wait_s), if_kept=True)
            prepared = await self._loop.run_in_executor(self._waiters, prepare)
            if prepared.state is ServableState.UNLOADED:
                continue  # dropped since we looked: loaded again, it would stay with nobody wanting it
            if prepared.state is not ServableState.READY:
                raise PrepareFailed(name, servable.spec.version, prepared.reason or prepared.state.value)
            await self._peers.load(servable.spec, max(0.0, min(call.deadline - time.monotonic(), _LONGEST_WAIT_S)))
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
