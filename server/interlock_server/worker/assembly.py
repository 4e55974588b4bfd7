"""What the inference port serves, put together from its parts."""

from __future__ import annotations

from interlock.protocols.pool import POOL

from interlock_server.reflection import SERVICES as REFLECTION_SERVICES
from interlock_server.reflection import Reflection
from interlock_server.settings import Settings
from interlock_server.worker.asking import ModelAnswers, ServerAnswers
from interlock_server.worker.catalog import Catalog
from interlock_server.worker.diagnostics import DiagnosticAnswers, ReflectionAnswers
from interlock_server.worker.health import Health
from interlock_server.worker.inference import InferenceHandler
from interlock_server.worker.metrics import WorkerMetrics
from interlock_server.worker.predict import Predictor
from interlock_server.worker.regions import RegionAnswers
from interlock_server.worker.replica_wide import ReplicaWide
from interlock_server.worker.repository import RepositoryAnswers
from interlock_server.worker.shared_memory import SharedMemory
from interlock_server.worker.stream import StreamInference
from interlock_server.worker.tracing import Tracer


def inference_handler(
    settings: Settings,
    catalog: Catalog,
    metrics: WorkerMetrics,
    health: Health,
    shared: SharedMemory,
    repository: RepositoryAnswers,
    wide: ReplicaWide | None = None,
) -> InferenceHandler:
    """Return the handler of the inference port; its ServerMetadata lists the extensions of just these parts.

    `wide` is what makes several workers answer alike.
    """
    among_others = wide is not None and wide.among_others
    tracer = Tracer(None if wide is None else wide.trace_budget())
    predictor = Predictor(catalog, metrics, shared, tracer, always_raw=settings.typed_replies == "raw")
    models = ModelAnswers(catalog, health)
    regions = RegionAnswers(shared)
    diagnostics = DiagnosticAnswers(catalog, tracer, among_others=among_others)
    parts = [
        predictor.methods,
        StreamInference(predictor.start, settings).methods,
        models.methods,
        repository.methods,
        regions.methods,
        diagnostics.methods,
        health.methods,
    ]
    if wide is not None:
        parts.append(wide.over(models.methods.unary, (regions, diagnostics)))
    if settings.reflection:
        services = sorted({path.split("/")[1] for part in parts for path in part.paths} | REFLECTION_SERVICES)
        parts.append(ReflectionAnswers(Reflection(services, [POOL])).methods)
    extensions = sorted(name for part in parts for name in part.extensions)
    server = ServerAnswers(health, name=settings.server_name, extensions=extensions)
    return InferenceHandler([server.methods, *parts])
