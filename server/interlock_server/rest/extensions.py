"""Paths of Triton's extensions that are no model's business: traces, logs, shared memory."""

from __future__ import annotations

from interlock.protocols import open_inference_pb2 as pb
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from interlock_server.rest.answers import plain
from interlock_server.rest.calls import Calls, answering, model_in
from interlock_server.rest.failures import Json
from interlock_server.rest.regions import read_cuda_region, read_region
from interlock_server.rest.settings import read_log, read_trace, render_log, render_trace

_NOTHING = memoryview(b"")


class Extensions:
    """Answers them by the workers' methods of the same names."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def routes(self) -> list[Route]:
        """Return every path that is served."""
        both = ["GET", "POST"]
        routes = [
            Route("/v2/trace/setting", answering(self._trace), methods=both),
            Route("/v2/models/{model}/trace/setting", answering(self._trace), methods=both),
            Route("/v2/logging", answering(self._log), methods=both),
        ]
        for kind, told, taken, dropped in (
            ("system", self._told, self._taken, self._dropped),
            ("cuda", self._cuda_told, self._cuda_taken, self._cuda_dropped),
        ):
            every, one = f"/v2/{kind}sharedmemory", f"/v2/{kind}sharedmemory/region/{{region}}"
            routes += [
                Route(f"{every}/status", answering(told), methods=["GET"]),
                Route(f"{one}/status", answering(told), methods=["GET"]),
                Route(f"{one}/register", answering(taken), methods=["POST"]),
                Route(f"{every}/unregister", answering(dropped), methods=["POST"]),
                Route(f"{one}/unregister", answering(dropped), methods=["POST"]),
            ]
        return routes

    async def _change(self, request: Request) -> memoryview:
        """Return what is to be changed; a GET only asks, whatever body it has."""
        return await self._calls.read_json(request) if request.method == "POST" else _NOTHING

    async def _trace(self, request: Request) -> Response:
        asked = read_trace(model_in(request), await self._change(request))
        return Json(render_trace(await self._calls.ask("TraceSetting", asked, pb.TraceSettingResponse)))

    async def _log(self, request: Request) -> Response:
        asked = read_log(await self._change(request))
        return Json(render_log(await self._calls.ask("LogSettings", asked, pb.LogSettingsResponse)))

    async def _told(self, request: Request) -> Response:
        asked = pb.SystemSharedMemoryStatusRequest(name=_region(request))
        found = await self._calls.ask("SystemSharedMemoryStatus", asked, pb.SystemSharedMemoryStatusResponse)
        return Json([plain(found.regions[name]) for name in sorted(found.regions)])

    async def _taken(self, request: Request) -> Response:
        asked = read_region(_region(request), await self._calls.read_json(request))
        await self._calls.ask("SystemSharedMemoryRegister", asked, pb.SystemSharedMemoryRegisterResponse)
        return Json({})

    async def _dropped(self, request: Request) -> Response:
        asked = pb.SystemSharedMemoryUnregisterRequest(name=_region(request))
        await self._calls.ask("SystemSharedMemoryUnregister", asked, pb.SystemSharedMemoryUnregisterResponse)
        return Json({})

    async def _cuda_told(self, request: Request) -> Response:
        asked = pb.CudaSharedMemoryStatusRequest(name=_region(request))
        found = await self._calls.ask("CudaSharedMemoryStatus", asked, pb.CudaSharedMemoryStatusResponse)
        return Json([plain(found.regions[name]) for name in sorted(found.regions)])

    async def _cuda_taken(self, request: Request) -> Response:
        asked = read_cuda_region(_region(request), await self._calls.read_json(request))
        await self._calls.ask("CudaSharedMemoryRegister", asked, pb.CudaSharedMemoryRegisterResponse)
        return Json({})

    async def _cuda_dropped(self, request: Request) -> Response:
        asked = pb.CudaSharedMemoryUnregisterRequest(name=_region(request))
        await self._calls.ask("CudaSharedMemoryUnregister", asked, pb.CudaSharedMemoryUnregisterResponse)
        return Json({})


def _region(request: Request) -> str:
    return str(request.path_params.get("region", ""))
