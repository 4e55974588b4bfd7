"""The floor: grpcio, on its threads or as grpc.aio, that returns the bytes of a request and does nothing else.

On threads it can also answer with nothing, in plain text or with TLS.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import grpc
import grpc.aio

from tests.bench.infer.introductions import INTRODUCTIONS

_SERVICE: Final = "inference.GRPCInferenceService"
_THREADS: Final = 16


def echo(request: bytes, _: grpc.ServicerContext) -> bytes:
    """Answer with what was asked."""
    return request


async def echo_soon(request: bytes, _: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    """Answer with what was asked."""
    return request


def nothing(request: bytes, _: grpc.ServicerContext) -> bytes:
    """Answer with an empty message."""
    return b""


def on_threads(
    answer: Callable[[bytes, grpc.ServicerContext], bytes], credentials: grpc.ServerCredentials | None = None
) -> None:
    """Serve until standard input ends."""
    server = grpc.server(ThreadPoolExecutor(_THREADS))
    methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "ModelInfer": grpc.unary_unary_rpc_method_handler(answer)
    }
    for name, introduce in INTRODUCTIONS.items():
        methods[name] = grpc.unary_unary_rpc_method_handler(lambda data, _, introduce=introduce: introduce(data))
    server.add_registered_method_handlers(_SERVICE, methods)
    address = "127.0.0.1:0"
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    server.start()
    print(f"127.0.0.1:{port}", flush=True)
    sys.stdin.read()
    server.stop(None).wait()


async def on_a_loop() -> None:
    """Serve until standard input ends."""
    server = grpc.aio.server()
    methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "ModelInfer": grpc.unary_unary_rpc_method_handler(echo_soon)
    }
    server.add_registered_method_handlers(_SERVICE, methods)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


if __name__ == "__main__":
    if sys.argv[1] == "sync":
        on_threads(echo)
    elif sys.argv[1] == "nothing":
        pair = tuple(Path(name).read_bytes() for name in sys.argv[2:])
        on_threads(nothing, grpc.ssl_server_credentials([(pair[1], pair[0])]) if pair else None)
    else:
        asyncio.run(on_a_loop())
