"""The floor: a grpc.aio server that returns the request's bytes and does nothing else."""

from __future__ import annotations

import asyncio
import sys

import grpc
import grpc.aio


async def infer(request: bytes, _: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    """Answer with what was asked."""
    return request


async def main() -> None:
    """Serve until standard input ends."""
    server = grpc.aio.server()
    methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {"ModelInfer": grpc.unary_unary_rpc_method_handler(infer)}
    server.add_registered_method_handlers("inference.GRPCInferenceService", methods)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(main())
