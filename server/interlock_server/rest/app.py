"""The paths of the Open Inference Protocol over REST."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

from interlock.access import Permission
from interlock.errors import Cancelled
from interlock.protocols import open_inference_pb2 as pb
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from interlock_server.rest.answers import Rendered, plain, render_infer
from interlock_server.rest.body import HEADER_LENGTH, Bodies, Body, Limits, split
from interlock_server.rest.calls import Answer, Backend, Calls, answering, model_in, version_in
from interlock_server.rest.extensions import Extensions
from interlock_server.rest.failures import Json
from interlock_server.rest.guarding import caller_of
from interlock_server.rest.openapi import document
from interlock_server.rest.repository import read_index, read_load, read_unload
from interlock_server.rest.requests import InferRequest, read_infer

_LARGE: Final = 64 * 1024
"""Longer bodies are read and written on another thread: this loop also switches versions."""
_LARGE_AT_ONCE: Final = 2

Result = TypeVar("Result")


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
        self._calls = Calls(backend, self._bodies)
        self._extensions = Extensions(self._calls)
        self._large = ThreadPoolExecutor(_LARGE_AT_ONCE, thread_name_prefix="large HTTP bodies")

    def routes(self) -> list[Route]:
        """Return every path that is served."""
        model = "/v2/models/{model}"
        version = f"{model}/versions/{{version}}"
        routes = [
            Route("/openapi.json", self._openapi, methods=["GET"]),
            Route("/v2", answering(self._server_metadata), methods=["GET"]),
            Route("/v2/health/live", self._live, methods=["GET"]),
            Route("/v2/health/ready", self._server_ready, methods=["GET"]),
            Route("/v2/models/stats", answering(self._statistics), methods=["GET"]),
            Route("/v2/repository/index", answering(self._index), methods=["POST"]),
            Route("/v2/repository/models/{model}/load", answering(self._load), methods=["POST"]),
            Route("/v2/repository/models/{model}/unload", answering(self._unload), methods=["POST"]),
        ]
        for path in (model, version):
            routes += [
                Route(path, answering(self._model_metadata), methods=["GET"]),
                Route(f"{path}/ready", answering(self._model_ready), methods=["GET"]),
                Route(f"{path}/config", answering(self._model_config), methods=["GET"]),
                Route(f"{path}/stats", answering(self._statistics), methods=["GET"]),
                Route(f"{path}/infer", answering(self._infer), methods=["POST"]),
            ]
        return [*routes, *self._extensions.routes()]

    def keep_to(self, limits: Limits) -> None:
        """Have requests that come from now on keep to other limits."""
        self._bodies.limits = limits

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
        return Json(
            plain(await self._calls.ask("ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse))
        )

    async def _model_metadata(self, request: Request) -> Response:
        asked = pb.ModelMetadataRequest(name=model_in(request), version=version_in(request))
        shown = plain(await self._calls.ask("ModelMetadata", asked, pb.ModelMetadataResponse))
        # Over gRPC they are in a field of ours: where KServe has its own, MLServer has another type.
        shown["properties"] = shown.pop("interlock_properties")
        return Json(shown)

    async def _model_ready(self, request: Request) -> Response:
        asked = pb.ModelReadyRequest(name=model_in(request), version=version_in(request))
        ready = (await self._calls.ask("ModelReady", asked, pb.ModelReadyResponse)).ready
        return Json({"name": model_in(request), "ready": ready}, 200 if ready else 503)

    async def _model_config(self, request: Request) -> Response:
        asked = pb.ModelConfigRequest(name=model_in(request), version=version_in(request))
        return Json(plain((await self._calls.ask("ModelConfig", asked, pb.ModelConfigResponse)).config))

    async def _statistics(self, request: Request) -> Response:
        asked = pb.ModelStatisticsRequest(name=model_in(request), version=version_in(request))
        return Json(plain(await self._calls.ask("ModelStatistics", asked, pb.ModelStatisticsResponse)))

    async def _index(self, request: Request) -> Response:
        asked = pb.RepositoryIndexRequest(ready=read_index(await self._calls.read_json(request)))
        index = await self._calls.ask("RepositoryIndex", asked, pb.RepositoryIndexResponse)
        caller = caller_of(request)
        seen = [each for each in index.models if caller is None or caller.powers.on(Permission.SEE, each.name)]
        return Json([plain(each) for each in seen])

    async def _load(self, request: Request) -> Response:
        asked = read_load(model_in(request), await self._calls.read_json(request))
        await self._calls.ask("RepositoryModelLoad", asked, pb.RepositoryModelLoadResponse)
        return Json({})

    async def _unload(self, request: Request) -> Response:
        asked = read_unload(model_in(request), await self._calls.read_json(request))
        await self._calls.ask("RepositoryModelUnload", asked, pb.RepositoryModelUnloadResponse)
        return Json({})

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
            found = read_infer(model_in(request), version_in(request), parts)
            return _Asked(found, found.message.SerializeToString())

        return await self._off_loop(len(data), read)

    async def _off_loop(self, size: int, work: Callable[[], Result]) -> Result:
        if size <= _LARGE:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._large, work)


def _render(request: InferRequest, data: bytes) -> Rendered:
    return render_infer(pb.ModelInferResponse.FromString(data), request)


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
