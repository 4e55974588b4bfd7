"""What every path of the REST form does: ask a worker, read a JSON body, make each error an answer."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Protocol, TypeVar

from google.protobuf.message import Message
from interlock.errors import InterlockError, PermissionDenied
from starlette.requests import Request
from starlette.responses import Response

from interlock_server.faults import opaque
from interlock_server.rest.body import Bodies, split
from interlock_server.rest.failures import failed

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


class Calls:
    """Asks the workers, and reads what is to be asked."""

    def __init__(self, backend: Backend, bodies: Bodies) -> None:
        self._backend = backend
        self._bodies = bodies

    async def ask(self, method: str, asked: Message, kind: type[Reply]) -> Reply:
        """Return the answer to a message; raises what the worker answers."""
        reply = await self._backend.call(method, asked.SerializeToString())
        return kind.FromString(reply.data)

    async def read_json(self, request: Request) -> memoryview:
        """Return a body all of which is JSON; raises what Body.read does, TooLarge."""
        with self._bodies.admit() as body:
            return split(await body.read(request), None, self._bodies.limits.max_json_bytes).json


def model_in(request: Request) -> str:
    """Return the model of a path, "" where it has none."""
    return str(request.path_params.get("model", ""))


def version_in(request: Request) -> str:
    """Return the version or alias of a path, "" where it has none."""
    return str(request.path_params.get("version", ""))


def _refuse_strangers_pages(request: Request) -> None:
    """Raise PermissionDenied for what a page of another site has a browser send.

    Any page that somebody opens can have their browser send a POST to a port of their own machine, where a server
    that asks nobody who he is would take it.
    """
    if request.method == "POST" and request.headers.get("sec-fetch-site") == "cross-site":
        raise PermissionDenied("a page of another site asked for this in a browser: only pages of this server's may")


def answering(endpoint: Endpoint) -> Endpoint:
    """Make every error of an endpoint the answer that tells of it."""

    @functools.wraps(endpoint)
    async def answer(request: Request) -> Response:
        try:
            _refuse_strangers_pages(request)
            return await endpoint(request)
        except InterlockError as error:
            return failed(error)
        except Exception as error:  # noqa: BLE001 - it must end as this request's answer, and in the log
            return failed(opaque(error))

    return answer
