"""One inference request: parse → resolve → check against the signature → batcher → encode → reply."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from google.protobuf.message import DecodeError
from interlock.envelope import Opened, open_request
from interlock.errors import InterlockError, InvalidArgument, InvalidInput, NotReady, ResourceExhausted
from interlock.model import ServableState
from interlock.protocols.open_inference_pb2 import ModelInferRequest
from interlock.status import codes_of
from interlock.types import Array, ModelRef

from interlock_server.access.guard import check
from interlock_server.faults import opaque
from interlock_server.front.seam import Call
from interlock_server.worker.batcher import Batcher
from interlock_server.worker.catalog import Catalog
from interlock_server.worker.encoding import id_as_field
from interlock_server.worker.engine import NO_OPTIONAL
from interlock_server.worker.inputs import RequestedOutputs, RequestTensors, read_inputs, read_outputs
from interlock_server.worker.methods import SERVICE, Methods
from interlock_server.worker.metrics import WorkerMetrics
from interlock_server.worker.parameters import NO_OPTIONS, RequestOptions, read_options
from interlock_server.worker.patterns import Patterns, pattern_of
from interlock_server.worker.routes import Resolved
from interlock_server.worker.servable import Servable
from interlock_server.worker.shared_memory import SharedMemory
from interlock_server.worker.tracing import Trace, TraceLevel, Tracer
from interlock_server.worker.work import JoinKey, Ran, Work

_RESOLVE_TRIES: Final = 8
"""A switch between resolving and leasing is rare, eight in a row are a fault."""
_HERE_S: Final = 0.002
"""How long the receiving thread runs requests in one go; what waits longer goes to the engine threads."""


class Predictor:
    """Answers ModelInfer calls: `start` takes them, `settle` runs what can run on the thread that received them."""

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
        self.metrics = metrics
        self.shared = shared
        self._tracer = tracer
        self._always_raw = always_raw
        self._patterns = Patterns()
        self._here: deque[Batcher] = deque()

    @property
    def methods(self) -> Methods:
        """What it answers."""
        return Methods(
            calls={SERVICE + "ModelInfer": self.start},
            extensions=("binary_tensor_data", "parameters", "schedule_policy"),
            settle=self.settle,
        )

    def start(self, call: Call) -> None:
        """Take a call; it is answered later, or at once if it is refused."""
        resolved: Resolved | None = None
        try:
            pattern = self._patterns.find(call.request)
            if pattern is None:
                opened = parse(call.request)
                check(call.caller, call, opened.envelope.model_name)
                ref = ModelRef.from_wire(opened.envelope.model_name, opened.envelope.model_version)
            else:
                check(call.caller, call, pattern.ref.model)
                opened, ref = None, pattern.ref
            resolved, batcher = self._lease(ref)
            self.metrics.watch(resolved.servable)
            try:
                if pattern is None or pattern.signature is not resolved.servable.spec.signature or self._tracer.active:
                    inference = self._read(call, opened or parse(call.request), ref, resolved, batcher)
                else:
                    if pattern.options.timeout_s is not None:
                        call.shorten(call.received + pattern.options.timeout_s)
                    if batcher.crowded:
                        batcher.check(call.deadline, pattern.options.priority, call.asker)
                    inference = Inference(
                        self,
                        call,
                        resolved,
                        batcher,
                        pattern.read(call.request),
                        pattern.rows,
                        pattern.wanted,
                        id_field=pattern.id_field(call.request),
                        options=pattern.options,
                        key=pattern.key,
                        size=pattern.size,
                    )
                screen = resolved.servable.screen
                if screen is not None:
                    screen.inputs(inference.inputs, inference.optional, self.metrics.non_finite)
                call.on_cancel(inference.cancel)
                if batcher.submit(inference):
                    self._here.append(batcher)
            except BaseException:
                resolved.servable.release()
                resolved.servable.statistics.failed(time.monotonic() - call.received)
                raise
        except InterlockError as error:
            self.refuse(call, error, resolved)
        except Exception as error:  # noqa: BLE001 - a fault of ours must end as this call's answer, and in the log
            self.refuse(call, opaque(error), resolved)

    def settle(self) -> None:
        """Run what has come together and is quick, a batch of each version in turn; the engine threads get the rest."""
        if not self._here:
            return
        until = time.monotonic() + _HERE_S
        while True:
            try:
                batcher = self._here.popleft()
            except IndexError:  # other threads come for it too: a look before would tell nothing
                return
            if time.monotonic() > until:
                batcher.hand_over()
            elif batcher.run_here():
                self._here.append(batcher)

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

    def _read(
        self, call: Call, opened: Opened[ModelInferRequest], ref: ModelRef, resolved: Resolved, batcher: Batcher
    ) -> Inference:
        """Look at a request of which nothing is known; raises InvalidInput."""
        request = opened.envelope
        servable = resolved.servable
        signature, config = servable.spec.signature, servable.spec.config
        joinable = servable.spec.joinable and config.max_batch_size > 0
        options = read_options(request)
        if batcher.crowded:
            batcher.check(call.deadline, options.priority, call.asker)
        read = read_inputs(opened, signature, joinable, self.shared.read)
        wanted = read_outputs(request, signature)
        for position, part in wanted.shared.items():
            self.shared.check(f"output {signature.outputs[position].name!r}", part)
        if options.timeout_s is not None:
            call.shorten(call.received + options.timeout_s)
        if read.rows is not None and read.rows > config.max_batch_size:
            raise InvalidInput(
                f"the request has {read.rows} rows, the version's max_batch_size is {config.max_batch_size}; split it"
            )
        pattern = pattern_of(call.request, opened, ref, signature, read, wanted, options)
        if pattern is not None:
            self._patterns.keep(call.request, pattern)
        return Inference(
            self,
            call,
            resolved,
            batcher,
            read.arrays,
            read.rows,
            wanted,
            id_field=id_as_field(request.id),
            options=options,
            optional=read.optional,
            typed=read.typed and not self._always_raw,
            trace=self._trace(request.id, resolved, read) if self._tracer.active else None,
        )

    def _trace(self, request_id: str, resolved: Resolved, read: RequestTensors) -> Trace | None:
        spec = resolved.servable.spec
        level = self._tracer.sample(spec.model)
        if level is TraceLevel.OFF:
            return None
        shapes = tuple(array.shape for array in read.arrays)
        version = resolved.servable.wire_version
        return Trace(level, request_id, spec.model, version, resolved.alias, spec.signature.inputs, shapes)

    def refuse(self, call: Call, error: InterlockError, resolved: Resolved | None) -> None:
        """End a call with an error; `resolved` is what it asked for, None where that is not known."""
        model, version, alias = "", "", ""
        if resolved is not None:
            model, version, alias = resolved.servable.spec.model, resolved.servable.wire_version, resolved.alias
        self.metrics.failed(model, version, alias, codes_of(error).grpc.name)
        if isinstance(error, ResourceExhausted):
            self.metrics.refused(model, version, error.reason)
        call.fail(error)


class Inference(Work):
    """One request that is held by a lease: its way from the queue to its answer."""

    __slots__ = ("_batcher", "_call", "_id_field", "_predictor", "_resolved", "_trace", "_typed", "_wanted")

    def __init__(
        self,
        predictor: Predictor,
        call: Call,
        resolved: Resolved,
        batcher: Batcher,
        inputs: Sequence[Array],
        rows: int | None,
        wanted: RequestedOutputs,
        *,
        id_field: bytes = b"",
        options: RequestOptions = NO_OPTIONS,
        optional: Mapping[str, Array] = NO_OPTIONAL,
        typed: bool = False,
        trace: Trace | None = None,
        key: JoinKey | None = None,
        size: int | None = None,
    ) -> None:
        """Take what was read of the request; the rest as Work."""
        super().__init__(
            inputs,
            rows=rows,
            deadline=call.deadline,
            priority=options.priority,
            optional=optional,
            key=key,
            size=size,
        )
        self._predictor = predictor
        self._call = call
        self._resolved = resolved
        self._batcher = batcher
        self._wanted = wanted
        self._id_field = id_field
        self._typed = typed
        self._trace = trace

    def caller(self) -> str:
        """Return who shares the queue with others."""
        return self._call.asker

    def cancel(self) -> None:
        """Give up: the caller has gone away."""
        self._batcher.cancel(self)

    def answer(self, outputs: Sequence[Array], ran: Ran) -> None:
        """Encode the outputs, count the request and reply."""
        began = time.monotonic()
        call, resolved = self._call, self._resolved
        servable = resolved.servable
        try:
            if servable.screen is not None:
                servable.screen.outputs(outputs, self._wanted.positions, self._predictor.metrics.non_finite)
            if self._typed or self._wanted.shared:
                data = servable.encoder.other(
                    self._id_field, outputs, self._wanted, self._predictor.shared, typed=self._typed
                )
            else:
                data = servable.encoder.raw(self._id_field, outputs, self._wanted.positions)
            call.weigh(data)  # now: what is not sent must not be counted as answered
            ended = time.monotonic()
            total_s, queue_s, output_s = ended - call.received, ran.started - self.enqueued, ended - began
            servable.statistics.lanes[ran.lane].answered(
                resolved.alias, total_s, queue_s, output_s, self.rows or 1, ran, first=ran.first is self
            )
            if self._trace is not None:
                self._trace.answered(total_s, queue_s, output_s, ran)
            queue_us = ("interlock-queue-us", str(int(queue_s * 1e6)))
            run_us = ("interlock-run-us", str(int(ran.run_s * 1e6)))
            call.done(data, (*resolved.facts, queue_us, run_us))
        except InterlockError as error:
            self.refuse(error)
            return
        except Exception as error:  # noqa: BLE001 - the thread serves others too: it must go on
            self.refuse(opaque(error))
            return
        servable.release()

    def refuse(self, error: InterlockError) -> None:
        """Count the failure and reply."""
        servable = self._resolved.servable
        servable.release()
        failed_s = time.monotonic() - self._call.received
        servable.statistics.failed(failed_s)
        if self._trace is not None:
            self._trace.failed(codes_of(error).grpc.name, failed_s)
        self._predictor.refuse(self._call, error, self._resolved)


def parse(data: bytes) -> Opened[ModelInferRequest]:
    """Read a request; raises InvalidArgument."""
    try:
        return open_request(data)
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
