"""The same model served by as little as can be: grpc.aio and ONNX Runtime; no batching, checks, metrics or versions."""

from __future__ import annotations

import asyncio
import sys

import grpc
import grpc.aio
import numpy as np
import onnxruntime as ort
from interlock.protocols import open_inference_pb2 as pb


def load(path: str) -> ort.InferenceSession:
    """Open the model as Interlock's engine does: threads that wait do not spin."""
    options = ort.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


async def main(path: str) -> None:
    """Serve until standard input ends."""
    session = load(path)

    async def infer(data: bytes, _: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        request = pb.ModelInferRequest.FromString(data)
        shape = list(request.inputs[0].shape)
        x = np.frombuffer(request.raw_input_contents[0], np.float32).reshape(shape)
        (y,) = session.run(["y"], {"x": x})
        answer = pb.ModelInferResponse(model_name=request.model_name, model_version="1")
        answer.outputs.add(name="y", datatype="FP32", shape=y.shape)
        answer.raw_output_contents.append(y.tobytes())
        return answer.SerializeToString()

    server = grpc.aio.server()
    methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {"ModelInfer": grpc.unary_unary_rpc_method_handler(infer)}
    server.add_registered_method_handlers("inference.GRPCInferenceService", methods)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
