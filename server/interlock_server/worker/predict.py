"""One inference request: parse → resolve → check against the signature → batcher → encode → reply."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from google.protobuf.message import DecodeError
from interlock import tensors
from interlock.errors import InterlockError, InvalidArgument, InvalidInput, NotReady
from interlock.model import ServableState
from interlock.protocols.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from interlock.status import codes_of
from interlock.types import Array, ModelRef

from interlock_server.access.guard import check
from interlock_server.faults import opaque
from interlock_server.front.seam import Call, Trailing
from interlock_server.worker.batcher import Batcher, Timing, Work
from interlock_server.worker.catalog import Catalog
from interlock_server.worker.inputs import RequestedOutputs, RequestTensors, read_inputs, read_outputs
from interlock_server.worker.methods import SERVICE, Methods
from interlock_server.worker.metrics import WorkerMetrics
from interlock_server.worker.parameters import read_options
from interlock_server.worker.routes import Resolved
from interlock_server.worker.servable import Servable
from interlock_server.worker.shared_memory import SharedMemory
from interlock_server.worker.tracing import Trace, TraceLevel, Tracer

_RESOLVE_TRIES: Final = 8
"""A switch between resolving and leasing is rare, eight in a row are a fault."""


class Predictor:
    """Answers ModelInfer calls. `start` runs on the front's thread, the rest on the version's engine thread."""

    def __init__(
        self,
        catalog: Catalog,
        metrics: WorkerMetrics,
        shared: SharedMemory,
        tracer: Tracer,
        *,
        always_raw: bool = False,
    ) -> None:
        """Take the parts; with `always_raw` typed requests are answered in raw form too, as Triton does."""
        self._catalog = catalog
        self._metrics = metrics
        self._shared = shared
        self._tracer = tracer
        self._always_raw = always_raw

    @property
    def methods(self) -> Methods:
        """What it answers."""
        return Methods(
            calls={SERVICE + "ModelInfer": self.start},
            extensions=("binary_tensor_data", "parameters", "schedule_policy"),
        )

    def start(self, call: Call) -> None:
        """Take a call; it is answered later, or at once if it is refused."""
        model, version, alias = "", "", ""
        try:
            request = parse(call.request)
            check(call.caller, call, request.model_name)
            ref = ModelRef.from_wire(request.model_name, request.model_version)
            resolved, batcher = self._lease(ref)
            servable = resolved.servable
            model, version, alias = servable.spec.model, servable.wire_version, resolved.alias
            try:
                self._submit(call, request, resolved, batcher)
            except BaseException:
                servable.release()
                servable.statistics.failed(time.monotonic() - call.received)
                raise
        except InterlockError as error:
            self._refuse(call, error, model, version, alias)
        except Exception as error:  # noqa: BLE001 - a fault of ours must end as this call's answer, and in the log
            self._refuse(call, opaque(error), model, version, alias)

    def _lease(self, ref: ModelRef) -> tuple[Resolved, Batcher]:
        for attempt in range(1, _RESOLVE_TRIES + 1):
            resolved = self._catalog.resolve(ref)
            batcher = resolved.servable.lease()
            if batcher is not None:
                return resolved, batcher
            left = resolved.servable.state in (ServableState.DRAINING, ServableState.UNLOADED)
            if not left or attempt == _RESOLVE_TRIES:
                raise not_ready(ref, resolved.servable)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _submit(self, call: Call, request: ModelInferRequest, resolved: Resolved, batcher: Batcher) -> None:
        servable = resolved.servable
        signature, config = servable.spec.signature, servable.spec.config
        joinable = servable.spec.joinable and config.max_batch_size > 0
        options = read_options(request)
        read = read_inputs(request, signature, joinable, self._shared.read)
        wanted = read_outputs(request, signature)
        for position, part in wanted.shared.items():
            self._shared.check(f"output {signature.outputs[position].name!r}", part)
        if options.timeout_s is not None:
            call.shorten(call.received + options.timeout_s)
        trace = self._trace(request.id, resolved, read) if self._tracer.active else None
        if read.rows is not None and read.rows > config.max_batch_size:
            raise InvalidInput(
                f"the request has {read.rows} rows, the version's max_batch_size is {config.max_batch_size}; split it"
            )

        def on_outputs(outputs: list[Array], timing: Timing) -> None:
            began = time.monotonic()
            try:
                data = self._encode(request.id, resolved, outputs, wanted, read)
                ended = time.monotonic()
                self._metrics.answered(
                    servable.spec.model, servable.wire_version, resolved.alias, ended - call.received, timing
                )
                servable.statistics.answered(ended - call.received, timing, ended - began, read.rows or 1)
                if trace is not None:
                    trace.answered(ended - call.received, timing, ended - began)
                call.done(data, _trailing(resolved, timing))
            except InterlockError as error:
                on_error(error)
                return
            except Exception as error:  # noqa: BLE001 - the engine thread serves others too: it must go on
                on_error(opaque(error))
                return
            servable.release()

        def on_error(error: InterlockError) -> None:
            servable.release()
            failed_s = time.monotonic() - call.received
            servable.statistics.failed(failed_s)
            if trace is not None:
                trace.failed(codes_of(error).grpc.name, failed_s)
            self._refuse(call, error, servable.spec.model, servable.wire_version, resolved.alias)

        work = Work(
            read.arrays,
            rows=read.rows,
            deadline=call.deadline,
            on_outputs=on_outputs,
            on_error=on_error,
            priority=options.priority,
            optional=read.optional,
        )
        batcher.submit(work)
        call.on_cancel(lambda: batcher.cancel(work))

    def _trace(self, request_id: str, resolved: Resolved, read: RequestTensors) -> Trace | None:
        spec = resolved.servable.spec
        level = self._tracer.sample(spec.model)
        if level is TraceLevel.OFF:
            return None
        shapes = tuple(array.shape for array in read.arrays)
        version = resolved.servable.wire_version
        return Trace(level, request_id, spec.model, version, resolved.alias, spec.signature.inputs, shapes)

    def _encode(
        self,
        request_id: str,
        resolved: Resolved,
        outputs: Sequence[Array],
        wanted: RequestedOutputs,
        read: RequestTensors,
    ) -> bytes:
        """Serialise an answer: raw, or typed where the request was and every output has a typed form."""
        servable = resolved.servable
        specs = servable.spec.signature.outputs
        response = ModelInferResponse(
            model_name=servable.spec.model, model_version=servable.wire_version, id=request_id
        )
        typed = (
            read.typed
            and not self._always_raw
            and not wanted.shared
            and all(specs[index].dtype in tensors.TYPED_FIELD for index in wanted.positions)
        )
        for index in wanted.positions:
            spec, array = specs[index], outputs[index]
            tensor = response.outputs.add(name=spec.name, datatype=spec.dtype.value, shape=array.shape)
            if typed:
                tensor.contents.CopyFrom(tensors.encode_typed(array, spec.dtype))
                continue
            data = tensors.encode_raw(array, spec.dtype)
            part = wanted.shared.get(index)
            if part is not None:
                self._shared.write(f"output {spec.name!r}", part, data)
                tensor.parameters["shared_memory_region"].string_param = part.region
                tensor.parameters["shared_memory_byte_size"].int64_param = len(data)
                if part.offset:
                    tensor.parameters["shared_memory_offset"].int64_param = part.offset
                data = b""  # clients count one entry for each output
            response.raw_output_contents.append(data)
        return response.SerializeToString()

    def _refuse(self, call: Call, error: InterlockError, model: str, version: str, alias: str) -> None:
        self._metrics.failed(model, version, alias, codes_of(error).grpc.name)
        call.fail(error)


def parse(data: bytes) -> ModelInferRequest:
    """Read a request; raises InvalidArgument."""
    try:
        return ModelInferRequest.FromString(data)
    except DecodeError as error:
        raise InvalidArgument("the request is no inference.ModelInferRequest: its bytes do not parse") from error


def not_ready(ref: ModelRef, servable: Servable) -> NotReady:
    """Say why a ref cannot be asked now."""
    state = servable.state
    why = f"{state.value}: {servable.reason}" if servable.reason else state.value
    return NotReady(
        f"{ref} is not ready: version {servable.spec.version} is {why}",
        facts={"model": ref.model, "version": str(servable.spec.version), "state": state.value},
    )


def _trailing(resolved: Resolved, timing: Timing) -> Trailing:
    return (
        ("interlock-alias", resolved.alias),
        ("interlock-generation", str(resolved.generation)),
        ("interlock-digest", resolved.servable.spec.digest),
        ("interlock-queue-us", str(int(timing.queue_s * 1e6))),
        ("interlock-run-us", str(int(timing.run_s * 1e6))),
    )
