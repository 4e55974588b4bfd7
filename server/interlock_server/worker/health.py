"""gRPC health v1 for a worker: itself, its protocol, and every ref of its models."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import DecodeError
from interlock.errors import InterlockError, InvalidArgument, NotFound
from interlock.model import ServableState
from interlock.protocols.health_pb2 import HealthCheckRequest, HealthCheckResponse
from interlock.types import ModelRef

from interlock_server.front.seam import Call
from interlock_server.worker.catalog import Catalog
from interlock_server.worker.methods import Methods

SERVICES: Final = ("", "inference.GRPCInferenceService")
_SERVICE: Final = "/grpc.health.v1.Health/"
MODEL_PREFIX: Final = "model/"
MAX_WATCHERS: Final = 1000

Status = HealthCheckResponse.ServingStatus


@dataclass(slots=True)
class _Watcher:
    call: Call
    service: str
    last: int | None = field(default=None)


class Health:
    """Answers Check and Watch. Ready means: settled and not draining; a model's failure is the model's own."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._lock = threading.Lock()
        self._watchers: list[_Watcher] = []
        self._draining = False
        self._joined = False
        catalog.subscribe(self._changed)

    @property
    def methods(self) -> Methods:
        """What it answers."""
        return Methods(calls={_SERVICE + "Check": self.check}, streams={_SERVICE + "Watch": self.watch})

    @property
    def ready(self) -> bool:
        """Whether the worker takes requests."""
        return self._catalog.settled and not self._draining

    @property
    def draining(self) -> bool:
        """Whether the worker is shutting down."""
        return self._draining

    @property
    def joined(self) -> bool:
        """Whether the port is bound."""
        return self._joined

    def join(self) -> None:
        """Note that the port is bound."""
        self._joined = True

    def model_ready(self, ref: ModelRef) -> bool:
        """Whether a ref can be asked now; raises NotFound where it means nothing."""
        state = self._catalog.resolve(ref).servable.state
        return state is ServableState.READY and not self._draining

    def check(self, call: Call) -> None:
        """Answer one Check."""
        try:
            status = self._status(_service(call))
            if status is None:
                raise NotFound(f'service {_service(call)!r} is unknown; ask for "", {SERVICES[1]} or model/<ref>')
        except InterlockError as error:
            call.fail(error)
            return
        call.done(HealthCheckResponse(status=status).SerializeToString())

    def watch(self, call: Call) -> None:
        """Send the state now and at each change, until the caller or the server goes."""
        try:
            watcher = _Watcher(call, _service(call))
        except InterlockError as error:
            call.fail(error)
            return
        with self._lock:
            self._watchers[:] = [each for each in self._watchers if not each.call.cancelled]
            if self._draining or len(self._watchers) >= MAX_WATCHERS:
                call.done()
                return
            self._watchers.append(watcher)
            self._tell(watcher)

    def _changed(self) -> None:
        """Tell every watcher whose service's state has changed."""
        with self._lock:
            self._watchers[:] = [each for each in self._watchers if not each.call.cancelled]
            for watcher in self._watchers:
                self._tell(watcher)

    def drain(self) -> None:
        """Answer NOT_SERVING from now on, and end every watch after saying so."""
        self._draining = True
        with self._lock:
            for watcher in self._watchers:
                self._tell(watcher)
                watcher.call.done()
            self._watchers.clear()

    def _tell(self, watcher: _Watcher) -> None:
        status = self._status(watcher.service)
        value = Status.SERVICE_UNKNOWN if status is None else status
        if value != watcher.last:
            watcher.last = value
            watcher.call.message(HealthCheckResponse(status=value).SerializeToString())

    def _status(self, service: str) -> Status.ValueType | None:
        """Return a service's state, None where it is unknown."""
        if service in SERVICES:
            return Status.SERVING if self.ready else Status.NOT_SERVING
        if not service.startswith(MODEL_PREFIX):
            return None
        try:
            ready = self.model_ready(ModelRef.parse(service.removeprefix(MODEL_PREFIX)))
        except (NotFound, InvalidArgument):
            return None
        except InterlockError:  # not loaded, or no routes yet
            return Status.NOT_SERVING
        return Status.SERVING if ready else Status.NOT_SERVING


def _service(call: Call) -> str:
    try:
        return HealthCheckRequest.FromString(call.request).service
    except DecodeError as error:
        raise InvalidArgument("the request is no grpc.health.v1.HealthCheckRequest: its bytes do not parse") from error
