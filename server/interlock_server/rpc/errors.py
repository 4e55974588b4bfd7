"""One place where errors of our aio servicers become statuses."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import grpc
import grpc.aio
from interlock.errors import InterlockError
from interlock.status import to_wire

from interlock_server.faults import opaque

Servicer = TypeVar("Servicer")
Request = TypeVar("Request")
Response = TypeVar("Response")
Context = grpc.aio.ServicerContext[Request, Response]


def unary(
    method: Callable[[Servicer, Request, Context[Request, Response]], Awaitable[Response]],
) -> Callable[[Servicer, Request, Context[Request, Response]], Awaitable[Response]]:
    """Make every error that a method raises the status of its call."""

    @functools.wraps(method)
    async def call(servicer: Servicer, request: Request, context: Context[Request, Response]) -> Response:
        try:
            return await method(servicer, request, context)
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await abort(context, error)
            raise

    return call


def streaming(
    method: Callable[[Servicer, Request, Context[Request, Response]], AsyncIterator[Response]],
) -> Callable[[Servicer, Request, Context[Request, Response]], AsyncIterator[Response]]:
    """Make every error that a streaming method raises the status of its call."""

    @functools.wraps(method)
    async def call(
        servicer: Servicer, request: Request, context: Context[Request, Response]
    ) -> AsyncIterator[Response]:
        try:
            async for message in method(servicer, request, context):
                yield message
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # noqa: BLE001 - what is none of ours is logged, and told as an id
            await abort(context, error)

    return call


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Cancel the calling task where it stays in this context too long, also while it waits for its caller to read."""
    task = asyncio.current_task()
    assert task is not None
    timer = asyncio.get_running_loop().call_later(seconds, task.cancel)
    try:
        yield
    finally:
        timer.cancel()


async def abort(context: Context[Request, Response], error: Exception) -> None:
    """End a call with an error; one that is not of our tree is logged under an id, and only the id is told."""
    if not isinstance(error, InterlockError):
        error = opaque(error)
    status = to_wire(error)
    await context.abort(status.code, status.message, status.trailing)
