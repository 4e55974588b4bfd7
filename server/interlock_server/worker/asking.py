"""What callers ask about this server and its models: live, ready, metadata, configuration, statistics."""

from __future__ import annotations

from collections.abc import Sequence

import interlock
from interlock.errors import InvalidArgument, NotFound, NotReady, VersionNotLoaded, Violation
from interlock.model import ServableState
from interlock.protocols import open_inference_pb2 as pb
from interlock.types import ModelRef

from interlock_server.worker.catalog import Catalog
from interlock_server.worker.describe import model_config, model_metadata
from interlock_server.worker.health import Health
from interlock_server.worker.methods import SERVICE, Methods
from interlock_server.worker.routes import Resolved
from interlock_server.worker.servable import Servable
from interlock_server.worker.statistics import Duration


class ServerAnswers:
    """Answers for the whole server."""

    def __init__(self, health: Health, *, name: str, extensions: Sequence[str]) -> None:
        """Take what ServerMetadata says: the server's name, and what works beyond the six RPCs of the protocol."""
        self._health = health
        self._metadata = pb.ServerMetadataResponse(name=name, version=interlock.__version__, extensions=extensions)

    @property
    def methods(self) -> Methods:
        """What it answers."""
        return Methods(
            unary={
                SERVICE + "ServerLive": lambda data: pb.ServerLiveResponse(live=True),
                SERVICE + "ServerReady": lambda data: pb.ServerReadyResponse(ready=self._health.ready),
                SERVICE + "ServerMetadata": lambda data: self._metadata,
            }
        )


class ModelAnswers:
    """Answers for one model, or for the versions of it that are loaded."""

    def __init__(self, catalog: Catalog, health: Health) -> None:
        self._catalog = catalog
        self._health = health

    @property
    def methods(self) -> Methods:
        """What it answers."""
        return Methods(
            unary={
                SERVICE + "ModelReady": self._ready,
                SERVICE + "ModelMetadata": self._metadata,
                SERVICE + "ModelConfig": self._config,
                SERVICE + "ModelStatistics": self._statistics,
            },
            extensions=("model_configuration", "statistics"),
        )

    def _ready(self, data: bytes) -> pb.ModelReadyResponse:
        request = pb.ModelReadyRequest.FromString(data)
        ref = ModelRef.from_wire(request.name, request.version)
        try:
            ready = self._health.model_ready(ref)
        except (NotFound, VersionNotLoaded, NotReady):  # whoever waits for a model asks until it is there
            ready = False
        return pb.ModelReadyResponse(ready=ready)

    def _metadata(self, data: bytes) -> pb.ModelMetadataResponse:
        request = pb.ModelMetadataRequest.FromString(data)
        resolved = self._catalog.resolve(ModelRef.from_wire(request.name, request.version))
        return model_metadata(resolved, self._versions(resolved))

    def _config(self, data: bytes) -> pb.ModelConfigResponse:
        request = pb.ModelConfigRequest.FromString(data)
        resolved = self._catalog.resolve(ModelRef.from_wire(request.name, request.version))
        return pb.ModelConfigResponse(config=model_config(resolved, self._versions(resolved)))

    def _statistics(self, data: bytes) -> pb.ModelStatisticsResponse:
        request = pb.ModelStatisticsRequest.FromString(data)
        if request.version and not request.name:
            what = f"version {request.version!r} is asked for without the name of its model"
            raise InvalidArgument(what, violations=[Violation("name", what)])
        if request.name:
            ref = ModelRef.from_wire(request.name, request.version)
            found = [self._catalog.resolve(ref).servable] if request.version else self._catalog.of_model(ref.model)
        else:
            found = list(self._catalog.servables())
        loaded = sorted((each for each in found if each.state is ServableState.READY), key=lambda each: each.spec.key)
        return pb.ModelStatisticsResponse(model_stats=[model_statistics(each) for each in loaded])

    def _versions(self, resolved: Resolved) -> list[int]:
        return sorted(self._catalog.table.models[resolved.servable.spec.model].versions)


def model_statistics(servable: Servable) -> pb.ModelStatistics:
    """Say what a servable has answered, in the protocol's words."""
    found = servable.statistics.snapshot()
    return pb.ModelStatistics(
        name=servable.spec.model,
        version=servable.wire_version,
        last_inference=int(found.last_inference * 1000),
        inference_count=found.rows,
        execution_count=found.executions,
        inference_stats=pb.InferStatistics(
            success=_duration(found.success),
            fail=_duration(found.fail),
            queue=_duration(found.queue),
            compute_input=_duration(found.compute_input),
            compute_infer=_duration(found.compute_infer),
            compute_output=_duration(found.compute_output),
        ),
        batch_stats=[
            pb.InferBatchStatistics(
                batch_size=batch.rows,
                compute_input=_duration(batch.compute_input),
                compute_infer=_duration(batch.compute_infer),
                compute_output=_duration(batch.compute_output),
            )
            for batch in found.batches
        ],
    )


def _duration(duration: Duration) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=duration.count, ns=int(duration.total_s * 1e9))
