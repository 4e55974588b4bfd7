"""Reflection on a grpc.aio server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from interlock.errors import InvalidArgument

from interlock_server.reflection import METHODS, Reflection
from interlock_server.rpc import errors


def add_to(server: grpc.aio.Server, reflection: Reflection) -> None:
    """Register reflection, v1 and v1alpha."""

    async def converse(
        requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> AsyncIterator[bytes]:
        async for data in requests:
            try:
                yield reflection.answer(data)
            except DecodeError:
                await errors.abort(context, InvalidArgument("the request is no ServerReflectionRequest"))

    for path in METHODS:
        _, service, method = path.split("/")
        server.add_registered_method_handlers(service, {method: grpc.stream_stream_rpc_method_handler(converse)})
