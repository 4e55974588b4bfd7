"""The admin port's gate stands before the requests: a stranger's is not read, and nobody's is waited for long."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest
from interlock.access import Grant, Proof, Role, new_token, token_key
from interlock.v1 import admin_pb2 as pb
from interlock.v1 import admin_pb2_grpc
from interlock_server.access.gate import Gate, Manners
from interlock_server.access.holder import Holder
from interlock_server.rpc.access import GateInterceptor, admitted

from tests.raw_http2 import RawConnection

MIB = 1 << 20
VERSIONS = "/interlock.v1.AdminService/ListVersions"
TOKEN = new_token()
KNOWN = f"Bearer {TOKEN}"
HOLDER = Holder(Proof.TOKEN, "ci", token_key(TOKEN), (Grant(Role.VIEWER, "m*"),))


async def list_versions(request: pb.ListVersionsRequest, _: object) -> pb.ListVersionsResponse:
    found = admitted()
    assert found is not None
    return pb.ListVersionsResponse(next_page_token=f"{found.caller.name} {request.model}")


@asynccontextmanager
async def served(patience_s: float) -> AsyncIterator[str]:
    gate = Gate(lambda: (HOLDER,), Manners(open_probes=True))
    # By what its probe of the line measures, gRPC lets a caller send megabytes ahead of any reader: without the probe,
    # what is taken beyond the window of 64 KiB is what somebody asked for.
    options = [("grpc.max_receive_message_length", 16 * MIB), ("grpc.http2.bdp_probe", 0)]
    server = grpc.aio.server(interceptors=[GateInterceptor(gate, patience_s)], options=options)
    method = grpc.unary_unary_rpc_method_handler(
        list_versions,
        request_deserializer=pb.ListVersionsRequest.FromString,
        response_serializer=pb.ListVersionsResponse.SerializeToString,
    )
    service, name = VERSIONS.strip("/").split("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


def taken(address: str, authorization: str) -> int:
    """Send 8 MiB but for the last byte, and return how many bytes the server took before the call ended."""
    with RawConnection(address) as caller:
        stream = caller.call(VERSIONS, authorization=authorization)
        return caller.send(stream, struct.pack(">BI", 0, 8 * MIB) + bytes(8 * MIB - 1), end=False)


def begin_and_wait(address: str) -> None:
    with RawConnection(address) as caller:
        stream = caller.call(VERSIONS, authorization=KNOWN)
        caller.send(stream, struct.pack(">BI", 0, 100) + b"half of it", end=False)
        caller.wait_ended(stream)


async def test_nothing_that_a_stranger_sends_is_read() -> None:
    async with served(patience_s=60.0) as address:
        assert await asyncio.to_thread(taken, address, KNOWN) == 5 + 8 * MIB - 1
        assert await asyncio.to_thread(taken, address, f"Bearer {new_token()}") < MIB


async def test_a_request_that_is_never_finished_is_given_up() -> None:
    async with served(patience_s=0.2) as address:
        await asyncio.to_thread(begin_and_wait, address)


async def test_whoever_is_known_is_answered_as_without_a_gate() -> None:
    metadata = (("authorization", KNOWN),)
    async with served(patience_s=60.0) as address, grpc.aio.insecure_channel(address) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)
        answer = await stub.ListVersions(pb.ListVersionsRequest(model="m1"), metadata=metadata)
        assert answer.next_page_token == "token:ci m1"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ListVersions(pb.ListVersionsRequest(model="other"), metadata=metadata)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ListVersions(pb.ListVersionsRequest(model="m1"))
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
