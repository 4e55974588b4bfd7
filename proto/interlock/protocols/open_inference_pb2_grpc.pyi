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
    ModelStreamInfer: _grpc.StreamStreamMultiCallable[_pb2.ModelInferRequest, _pb2.ModelStreamInferResponse]
    ModelConfig: _grpc.UnaryUnaryMultiCallable[_pb2.ModelConfigRequest, _pb2.ModelConfigResponse]
    ModelStatistics: _grpc.UnaryUnaryMultiCallable[_pb2.ModelStatisticsRequest, _pb2.ModelStatisticsResponse]
    RepositoryIndex: _grpc.UnaryUnaryMultiCallable[_pb2.RepositoryIndexRequest, _pb2.RepositoryIndexResponse]
    RepositoryModelLoad: _grpc.UnaryUnaryMultiCallable[_pb2.RepositoryModelLoadRequest, _pb2.RepositoryModelLoadResponse]
    RepositoryModelUnload: _grpc.UnaryUnaryMultiCallable[_pb2.RepositoryModelUnloadRequest, _pb2.RepositoryModelUnloadResponse]
    SystemSharedMemoryStatus: _grpc.UnaryUnaryMultiCallable[_pb2.SystemSharedMemoryStatusRequest, _pb2.SystemSharedMemoryStatusResponse]
    SystemSharedMemoryRegister: _grpc.UnaryUnaryMultiCallable[_pb2.SystemSharedMemoryRegisterRequest, _pb2.SystemSharedMemoryRegisterResponse]
    SystemSharedMemoryUnregister: _grpc.UnaryUnaryMultiCallable[_pb2.SystemSharedMemoryUnregisterRequest, _pb2.SystemSharedMemoryUnregisterResponse]
    CudaSharedMemoryStatus: _grpc.UnaryUnaryMultiCallable[_pb2.CudaSharedMemoryStatusRequest, _pb2.CudaSharedMemoryStatusResponse]
    CudaSharedMemoryRegister: _grpc.UnaryUnaryMultiCallable[_pb2.CudaSharedMemoryRegisterRequest, _pb2.CudaSharedMemoryRegisterResponse]
    CudaSharedMemoryUnregister: _grpc.UnaryUnaryMultiCallable[_pb2.CudaSharedMemoryUnregisterRequest, _pb2.CudaSharedMemoryUnregisterResponse]
    TraceSetting: _grpc.UnaryUnaryMultiCallable[_pb2.TraceSettingRequest, _pb2.TraceSettingResponse]
    LogSettings: _grpc.UnaryUnaryMultiCallable[_pb2.LogSettingsRequest, _pb2.LogSettingsResponse]

@_typing.type_check_only
class GRPCInferenceServiceAsyncStub(GRPCInferenceServiceStub):
    ServerLive: _aio.UnaryUnaryMultiCallable[_pb2.ServerLiveRequest, _pb2.ServerLiveResponse]  # type: ignore[assignment]
    ServerReady: _aio.UnaryUnaryMultiCallable[_pb2.ServerReadyRequest, _pb2.ServerReadyResponse]  # type: ignore[assignment]
    ModelReady: _aio.UnaryUnaryMultiCallable[_pb2.ModelReadyRequest, _pb2.ModelReadyResponse]  # type: ignore[assignment]
    ServerMetadata: _aio.UnaryUnaryMultiCallable[_pb2.ServerMetadataRequest, _pb2.ServerMetadataResponse]  # type: ignore[assignment]
    ModelMetadata: _aio.UnaryUnaryMultiCallable[_pb2.ModelMetadataRequest, _pb2.ModelMetadataResponse]  # type: ignore[assignment]
    ModelInfer: _aio.UnaryUnaryMultiCallable[_pb2.ModelInferRequest, _pb2.ModelInferResponse]  # type: ignore[assignment]
    ModelStreamInfer: _aio.StreamStreamMultiCallable[_pb2.ModelInferRequest, _pb2.ModelStreamInferResponse]  # type: ignore[assignment]
    ModelConfig: _aio.UnaryUnaryMultiCallable[_pb2.ModelConfigRequest, _pb2.ModelConfigResponse]  # type: ignore[assignment]
    ModelStatistics: _aio.UnaryUnaryMultiCallable[_pb2.ModelStatisticsRequest, _pb2.ModelStatisticsResponse]  # type: ignore[assignment]
    RepositoryIndex: _aio.UnaryUnaryMultiCallable[_pb2.RepositoryIndexRequest, _pb2.RepositoryIndexResponse]  # type: ignore[assignment]
    RepositoryModelLoad: _aio.UnaryUnaryMultiCallable[_pb2.RepositoryModelLoadRequest, _pb2.RepositoryModelLoadResponse]  # type: ignore[assignment]
    RepositoryModelUnload: _aio.UnaryUnaryMultiCallable[_pb2.RepositoryModelUnloadRequest, _pb2.RepositoryModelUnloadResponse]  # type: ignore[assignment]
    SystemSharedMemoryStatus: _aio.UnaryUnaryMultiCallable[_pb2.SystemSharedMemoryStatusRequest, _pb2.SystemSharedMemoryStatusResponse]  # type: ignore[assignment]
    SystemSharedMemoryRegister: _aio.UnaryUnaryMultiCallable[_pb2.SystemSharedMemoryRegisterRequest, _pb2.SystemSharedMemoryRegisterResponse]  # type: ignore[assignment]
    SystemSharedMemoryUnregister: _aio.UnaryUnaryMultiCallable[_pb2.SystemSharedMemoryUnregisterRequest, _pb2.SystemSharedMemoryUnregisterResponse]  # type: ignore[assignment]
    CudaSharedMemoryStatus: _aio.UnaryUnaryMultiCallable[_pb2.CudaSharedMemoryStatusRequest, _pb2.CudaSharedMemoryStatusResponse]  # type: ignore[assignment]
    CudaSharedMemoryRegister: _aio.UnaryUnaryMultiCallable[_pb2.CudaSharedMemoryRegisterRequest, _pb2.CudaSharedMemoryRegisterResponse]  # type: ignore[assignment]
    CudaSharedMemoryUnregister: _aio.UnaryUnaryMultiCallable[_pb2.CudaSharedMemoryUnregisterRequest, _pb2.CudaSharedMemoryUnregisterResponse]  # type: ignore[assignment]
    TraceSetting: _aio.UnaryUnaryMultiCallable[_pb2.TraceSettingRequest, _pb2.TraceSettingResponse]  # type: ignore[assignment]
    LogSettings: _aio.UnaryUnaryMultiCallable[_pb2.LogSettingsRequest, _pb2.LogSettingsResponse]  # type: ignore[assignment]
