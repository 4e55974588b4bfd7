"""Type stub: kept by hand, because the classes are not generated."""

import typing as _typing

import grpc as _grpc
from grpc import aio as _aio

from interlock.protocols import open_inference_pb2 as _pb2

SERVICE: _typing.Final = "inference.GRPCInferenceService"

class GRPCInferenceServiceStub:
    @_typing.overload
    def __new__(cls, channel: _grpc.Channel) -> GRPCInferenceServiceStub: ...
    @_typing.overload
    def __new__(cls, channel: _aio.Channel) -> GRPCInferenceServiceAsyncStub: ...
    ServerLive: _grpc.UnaryUnaryMultiCallable[_pb2.ServerLiveRequest, _pb2.ServerLiveResponse]
    ServerReady: _grpc.UnaryUnaryMultiCallable[_pb2.ServerReadyRequest, _pb2.ServerReadyResponse]
    ModelReady: _grpc.UnaryUnaryMultiCallable[_pb2.ModelReadyRequest, _pb2.ModelReadyResponse]
    ServerMetadata: _grpc.UnaryUnaryMultiCallable[_pb2.ServerMetadataRequest, _pb2.ServerMetadataResponse]
    ModelMetadata: _grpc.UnaryUnaryMultiCallable[_pb2.ModelMetadataRequest, _pb2.ModelMetadataResponse]
    ModelInfer: _grpc.UnaryUnaryMultiCallable[_pb2.ModelInferRequest, _pb2.ModelInferResponse]

@_typing.type_check_only
class GRPCInferenceServiceAsyncStub(GRPCInferenceServiceStub):
    ServerLive: _aio.UnaryUnaryMultiCallable[_pb2.ServerLiveRequest, _pb2.ServerLiveResponse]  # type: ignore[assignment]
    ServerReady: _aio.UnaryUnaryMultiCallable[_pb2.ServerReadyRequest, _pb2.ServerReadyResponse]  # type: ignore[assignment]
    ModelReady: _aio.UnaryUnaryMultiCallable[_pb2.ModelReadyRequest, _pb2.ModelReadyResponse]  # type: ignore[assignment]
    ServerMetadata: _aio.UnaryUnaryMultiCallable[_pb2.ServerMetadataRequest, _pb2.ServerMetadataResponse]  # type: ignore[assignment]
    ModelMetadata: _aio.UnaryUnaryMultiCallable[_pb2.ModelMetadataRequest, _pb2.ModelMetadataResponse]  # type: ignore[assignment]
    ModelInfer: _aio.UnaryUnaryMultiCallable[_pb2.ModelInferRequest, _pb2.ModelInferResponse]  # type: ignore[assignment]
