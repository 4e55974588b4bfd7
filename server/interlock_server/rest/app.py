"""The paths of the Open Inference Protocol over REST."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from google.protobuf.message import Message
from interlock.errors import Cancelled, InterlockError
from interlock.protocols import open_inference_pb2 as pb
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from interlock_server.faults import opaque
from interlock_server.rest.answers import Rendered, plain, render_infer
from interlock_server.rest.body import HEADER_LENGTH, Bodies, Body, Limits, split
from interlock_server.rest.failures import Json, failed
from interlock_server.rest.openapi import document
from interlock_server.rest.repository import read_index, read_load, read_unload
from interlock_server.rest.requests import InferRequest, read_infer

_LARGE: Final = 64 * 1024
"""Longer bodies are read and written on another thread: this loop also switches versions."""
_LARGE_AT_ONCE: Final = 2

Result = TypeVar("Result")
Reply = TypeVar("Reply", bound=Message)
Endpoint = Callable[[Request], Awaitable[Response]]


class Answer(Protocol):
    """What a worker answers."""

    @property
    def data(self) -> bytes:
        """The message."""
        ...

    @property
    def trailing(self) -> Sequence[tuple[str, str]]:
        """What it says besides."""
        ...


class Backend(Protocol):
    """The inference methods of the serving workers."""

    def call(self, method: str, request: bytes) -> Coroutine[object, object, Answer]:
        """Call a method of inference.GRPCInferenceService; raises InterlockError."""
        ...


@dataclass(frozen=True, slots=True)
class _Asked:
    """One inference request, read and ready to be sent."""

    request: InferRequest
    data: bytes


class Rest:
    """Answers the protocol's paths. Use it on one event loop."""

    def __init__(self, backend: Backend, ready: Callable[[], bool], limits: Limits) -> None:
        self._backend = backend
        self._ready = ready
        self._bodies = Bodies(limits)
        self._large = ThreadPoolExecutor(_LARGE_AT_ONCE, thread_name_prefix="large HTTP bodies")

    def routes(self) -> list[Route]:
        """Return every path that is served."""
        model = "/v2/models/{model}"
        version = f"{model}/versions/{{version}}"
        routes = [
            Route("/openapi.json", self._openapi, methods=["GET"]),
            Route("/v2", _answering(self._server_metadata), methods=["GET"]),
            Route("/v2/health/live", self._live, methods=["GET"]),
            Route("/v2/health/ready", self._server_ready, methods=["GET"]),
            Route("/v2/models/stats", _answering(self._statistics), methods=["GET"]),
            Route("/v2/repository/index", _answering(self._index), methods=["POST"]),
            Route("/v2/repository/models/{model}/load", _answering(self._load), methods=["POST"]),
            Route("/v2/repository/models/{model}/unload", _answering(self._unload), methods=["POST"]),
        ]
        for path in (model, version):
            routes += [
                Route(path, _answering(self._model_metadata), methods=["GET"]),
                Route(f"{path}/ready", _answering(self._model_ready), methods=["GET"]),
                Route(f"{path}/config", _answering(self._model_config), methods=["GET"]),
                Route(f"{path}/stats", _answering(self._statistics), methods=["GET"]),
                Route(f"{path}/infer", _answering(self._infer), methods=["POST"]),
            ]
        return routes

    def close(self) -> None:
        """End the threads for large bodies. Idempotent."""
        self._large.shutdown(wait=False, cancel_futures=True)

    async def _openapi(self, request: Request) -> Response:
        return Json(document())

    async def _live(self, request: Request) -> Response:
        return Json({"live": True})

    async def _server_ready(self, request: Request) -> Response:
        ready = self._ready()
        return Json({"ready": ready}, 200 if ready else 503)

    async def _server_metadata(self, request: Request) -> Response:
        return Json(plain(await self._ask("ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse)))

    async def _model_metadata(self, request: Request) -> Response:
        asked = pb.ModelMetadataRequest(name=_model(request), version=_version(request))
        return Json(plain(await self._ask("ModelMetadata", asked, pb.ModelMetadataResponse)))

    async def _model_ready(self, request: Request) -> Response:
        asked = pb.ModelReadyRequest(name=_model(request), version=_version(request))
        ready = (await self._ask("ModelReady", asked, pb.ModelReadyResponse)).ready
        return Json({"name": _model(request), "ready": ready}, 200 if ready else 503)

    async def _model_config(self, request: Request) -> Response:
        asked = pb.ModelConfigRequest(name=_model(request), version=_version(request))
        return Json(plain((await self._ask("ModelConfig", asked, pb.ModelConfigResponse)).config))

    async def _statistics(self, request: Request) -> Response:
        asked = pb.ModelStatisticsRequest(name=_model(request), version=_version(request))
        return Json(plain(await self._ask("ModelStatistics", asked, pb.ModelStatisticsResponse)))

    async def _index(self, request: Request) -> Response:
        asked = pb.RepositoryIndexRequest(ready=read_index(await self._read_json(request)))
        index = await self._ask("RepositoryIndex", asked, pb.RepositoryIndexResponse)
        return Json([plain(each) for each in index.models])

    async def _load(self, request: Request) -> Response:
        asked = read_load(_model(request), await self._read_json(request))
        await self._ask("RepositoryModelLoad", asked, pb.RepositoryModelLoadResponse)
        return Json({})

    async def _unload(self, request: Request) -> Response:
        asked = read_unload(_model(request), await self._read_json(request))
        await self._ask("RepositoryModelUnload", asked, pb.RepositoryModelUnloadResponse)
        return Json({})

    async def _ask(self, method: str, asked: Message, kind: type[Reply]) -> Reply:
        reply = await self._backend.call(method, asked.SerializeToString())
        return kind.FromString(reply.data)

    async def _read_json(self, request: Request) -> memoryview:
        with self._bodies.admit() as body:
            return split(await body.read(request), None, self._bodies.limits.max_json_bytes).json

    async def _infer(self, request: Request) -> Response:
        with self._bodies.admit() as body:
            asked = await self._read(request, body)
            reply = await _while_connected(request, self._backend.call("ModelInfer", asked.data))
            rendered = await self._off_loop(len(reply.data), lambda: _render(asked.request, reply.data))
        headers = dict(reply.trailing)
        if rendered.json_bytes is None:
            return Response(rendered.body, headers=headers, media_type="application/json")
        headers[HEADER_LENGTH] = str(rendered.json_bytes)
        return Response(rendered.body, headers=headers, media_type="application/octet-stream")

    async def _read(self, request: Request, body: Body) -> _Asked:
        data = await body.read(request)

        def read() -> _Asked:
            parts = split(data, request.headers.get(HEADER_LENGTH), self._bodies.limits.max_json_bytes)
            found = read_infer(_model(request), _version(request), parts)
            return _Asked(found, found.message.SerializeToString())

        return await self._off_loop(len(data), read)

    async def _off_loop(self, size: int, work: Callable[[], Result]) -> Result:
        if size <= _LARGE:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._large, work)


def _render(request: InferRequest, data: bytes) -> Rendered:
    return render_infer(pb.ModelInferResponse.FromString(data), request)


def _model(request: Request) -> str:
    return str(request.path_params.get("model", ""))


def _version(request: Request) -> str:
    return str(request.path_params.get("version", ""))


def _answering(endpoint: Endpoint) -> Endpoint:
    """Make every error of an endpoint the answer that tells of it."""

    @functools.wraps(endpoint)
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except InterlockError as error:
            return failed(error)
        except Exception as error:  # noqa: BLE001 - it must end as this request's answer, and in the log
            return failed(opaque(error))

    return answer


async def _while_connected(request: Request, work: Coroutine[object, object, Answer]) -> Answer:
    """Wait for an answer, and give it up when nobody waits for it any more; raises Cancelled."""
    answering = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise Cancelled("the caller went away before it was answered")
        return await answering
    finally:
        answering.cancel()
        leaving.cancel()
        await asyncio.gather(answering, leaving, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    """Return when the connection has ended; the body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
