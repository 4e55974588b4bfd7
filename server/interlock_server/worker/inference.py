"""The methods of the inference port: the Open Inference Protocol's six, and health."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import interlock
from google.protobuf.message import DecodeError, Message
from interlock.errors import InterlockError, InvalidArgument, Unimplemented
from interlock.protocols import open_inference_pb2 as pb
from interlock.types import Dim, ModelRef, TensorSpec

from interlock_server.faults import opaque
from interlock_server.front.seam import Arity, Call
from interlock_server.worker.catalog import Catalog
from interlock_server.worker.health import Health
from interlock_server.worker.predict import Predictor
from interlock_server.worker.routes import Resolved

_SERVICE: Final = "/inference.GRPCInferenceService/"
_HEALTH: Final = "/grpc.health.v1.Health/"

SERVER_NAME: Final = "interlock"
EXTENSIONS: Final = ("binary_tensor_data",)
"""What works beyond the six RPCs; clients decide by it what they may ask for."""
PLATFORM: Final = "onnx_onnxv1"


class InferenceHandler:
    """Behind the front's seam: every method of the inference port."""

    def __init__(self, catalog: Catalog, predictor: Predictor, health: Health) -> None:
        self._catalog = catalog
        self._health = health
        self._unary: dict[str, Callable[[bytes], Message]] = {
            _SERVICE + "ServerLive": lambda data: pb.ServerLiveResponse(live=True),
            _SERVICE + "ServerReady": lambda data: pb.ServerReadyResponse(ready=health.ready),
            _SERVICE + "ModelReady": self._model_ready,
            _SERVICE + "ServerMetadata": self._server_metadata,
            _SERVICE + "ModelMetadata": self._model_metadata,
        }
        self._calls: dict[str, Callable[[Call], None]] = {
            _SERVICE + "ModelInfer": predictor.start,
            _HEALTH + "Check": health.check,
            _HEALTH + "Watch": health.watch,
        }

    @property
    def methods(self) -> Mapping[str, Arity]:
        """Every method that is served, by full path."""
        unary = dict.fromkeys((*self._unary, *self._calls), Arity.UNARY)
        return {**unary, _HEALTH + "Watch": Arity.STREAM}

    def handle(self, call: Call) -> None:
        """Take a call; neither blocks nor raises."""
        started = self._calls.get(call.method)
        if started is not None:
            started(call)
            return
        answer = self._unary.get(call.method)
        if answer is None:
            call.fail(Unimplemented(f"this server has no method {call.method}"))
            return
        try:
            call.done(answer(call.request).SerializeToString())
        except InterlockError as error:
            call.fail(error)
        except DecodeError:
            call.fail(InvalidArgument(f"the request's bytes do not parse as the message that {call.method} takes"))
        except Exception as error:  # noqa: BLE001 - a fault of ours must end as this call's answer, and in the log
            call.fail(opaque(error))

    def _model_ready(self, data: bytes) -> Message:
        request = pb.ModelReadyRequest.FromString(data)
        return pb.ModelReadyResponse(ready=self._health.model_ready(ModelRef.from_wire(request.name, request.version)))

    def _server_metadata(self, data: bytes) -> Message:
        return pb.ServerMetadataResponse(name=SERVER_NAME, version=interlock.__version__, extensions=EXTENSIONS)

    def _model_metadata(self, data: bytes) -> Message:
        request = pb.ModelMetadataRequest.FromString(data)
        resolved = self._catalog.resolve(ModelRef.from_wire(request.name, request.version))
        return model_metadata(resolved, self._versions(resolved))

    def _versions(self, resolved: Resolved) -> list[str]:
        routes = self._catalog.table.models[resolved.servable.spec.model]
        return [str(version) for version in sorted(routes.versions)]


def model_metadata(resolved: Resolved, versions: list[str]) -> pb.ModelMetadataResponse:
    """Describe the version that a ref means, with its exact number and digest among the properties."""
    spec = resolved.servable.spec
    return pb.ModelMetadataResponse(
        name=spec.model,
        versions=versions,
        platform=PLATFORM,
        inputs=[_tensor(each) for each in spec.signature.inputs],
        outputs=[_tensor(each) for each in spec.signature.outputs],
        properties={
            "interlock.version": str(spec.version),
            "interlock.alias": resolved.alias,
            "interlock.digest": spec.digest,
            "interlock.max_batch_size": str(spec.config.max_batch_size if spec.joinable else 0),
        },
    )


def _tensor(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(
        name=spec.name, datatype=spec.dtype.value, shape=[_size(dim) for dim in spec.shape]
    )


def _size(dim: Dim) -> int:
    return dim if isinstance(dim, int) else -1
