"""A session over grpclib, a gRPC that shares no code with grpcio's: answers, streams, errors with their details.

Usage: ADDRESS.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from google.rpc import error_details_pb2  # noqa: F401 - what is not known by its type, grpclib cannot read
from grpclib.client import Channel, StreamStreamMethod, UnaryUnaryMethod
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from tritonclient.grpc import service_pb2 as pb

SERVICE = "/inference.GRPCInferenceService/"


def question(model: str = "m", version: str = "", raw: bytes | None = None) -> Any:
    made = pb.ModelInferRequest(model_name=model, model_version=version)
    tensor = made.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    if raw is None:
        tensor.contents.fp32_contents.extend([1.0, 2.0])
    else:
        made.raw_input_contents.append(raw)
    return made


async def refused(call: Any, status: Status, said: str) -> None:
    try:
        await call
    except GRPCError as error:
        assert error.status is status and said in (error.message or ""), error
        assert "ErrorInfo" in {type(each).__name__ for each in error.details}, error
        return
    raise AssertionError("that should have been refused")


async def answers(channel: Channel) -> None:
    infer: Any = UnaryUnaryMethod(channel, SERVICE + "ModelInfer", pb.ModelInferRequest, pb.ModelInferResponse)
    found = await infer(question(), timeout=30)
    assert (found.model_version, list(found.outputs[0].contents.fp32_contents)) == ("2", [3.0, 6.0])
    many = await asyncio.gather(*(infer(question(version="1"), timeout=30) for _ in range(200)))
    assert {each.model_version for each in many} == {"1"}
    async with infer.open(timeout=30, metadata={"x-trace-bin": bytes(range(256))}) as stream:
        await stream.send_message(question(), end=True)
        await stream.recv_message()
        await stream.recv_trailing_metadata()
        assert stream.trailing_metadata["interlock-alias"] == "stable"
    print("  answers: right", flush=True)
    await refused(infer(question("nob\u00f6dy \u2603"), timeout=30), Status.NOT_FOUND, "'nob\u00f6dy \u2603'")
    await refused(infer(question(raw=b"abc"), timeout=30), Status.INVALID_ARGUMENT, "3 raw bytes")
    large = infer(question(raw=bytes(65 << 20)), timeout=60)
    await refused(large, Status.RESOURCE_EXHAUSTED, "max_message_bytes")
    print("  errors: right", flush=True)


async def streams(channel: Channel) -> None:
    converse: Any = StreamStreamMethod(
        channel, SERVICE + "ModelStreamInfer", pb.ModelInferRequest, pb.ModelStreamInferResponse
    )
    found = await converse([question(), question("nobody"), question(version="1")], timeout=30)
    assert [each.infer_response.model_version for each in found] == ["2", "", "1"]
    assert "'nobody'" in found[1].error_message
    told = converse([question("nobody")], timeout=30, metadata={"triton_grpc_error": "true"})
    await refused(told, Status.NOT_FOUND, "'nobody'")
    async with converse.open(timeout=30) as stream:
        await stream.send_message(question())
        assert (await stream.recv_message()).infer_response.model_version == "2"
        await stream.cancel()
    print("  streams: right", flush=True)


async def session(address: str) -> None:
    host, _, port = address.rpartition(":")
    async with Channel(host, int(port)) as channel:
        await answers(channel)
        await streams(channel)


if __name__ == "__main__":
    asyncio.run(session(sys.argv[1]))
