"""The inference port's methods with real models behind them, and what must hold of every answer."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeVar

from interlock.errors import Cancelled, InternalError
from interlock.protocols.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from interlock.types import DType, Signature, TensorSpec
from interlock_registry.domain import ModelStanding
from interlock_server.settings import Settings
from interlock_server.worker.assembly import inference_handler
from interlock_server.worker.catalog import Catalog
from interlock_server.worker.engine import Engine
from interlock_server.worker.health import Health
from interlock_server.worker.loader import Loader
from interlock_server.worker.metrics import WorkerMetrics
from interlock_server.worker.repository import RepositoryAnswers
from interlock_server.worker.shared_memory import SharedMemory

from tests import models, reference_decoder
from tests.fuzz import rest
from tests.request_mutations import mutated
from tests.support import eventually
from tests.unit.server.builders import RecordingCall, snapshot, version_spec

T = TypeVar("T")

INFER: Final = "/inference.GRPCInferenceService/ModelInfer"
_ANSWER_S: Final = 30.0
DTYPES: Final = (DType.FP32, DType.INT8, DType.BOOL, DType.BYTES, DType.UINT64, DType.FP16)


@dataclass(frozen=True)
class Rolling:
    """Choices of a seeded random generator."""

    random: random.Random

    def integer(self, least: int, most: int) -> int:
        return self.random.randint(least, most)

    def one(self, options: Sequence[T]) -> T:
        return options[self.random.randrange(len(options))]

    def data(self, length: int) -> bytes:
        return self.random.randbytes(length)


async def _nothing() -> tuple[ModelStanding, ...]:
    return ()


class Target:
    """Asks; a context manager, since the models must be loaded and dropped."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._choose = Rolling(random.Random(seed))
        self._signatures = {
            f"same-{dtype.value}": Signature(
                (TensorSpec("x", dtype, ("batch", 2)),), (TensorSpec("y", dtype, ("batch", 2)),)
            )
            for dtype in DTYPES
        }
        self._specs = [
            version_spec(folder, model=name, content=models.identity(said.inputs[0].dtype), said=said)
            for name, said in self._signatures.items()
        ]
        self._loop = asyncio.new_event_loop()
        self.calls = 0
        self.outcomes: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._catalog = Catalog(Loader(Engine("cpu", 1)), drain_grace_s=10.0)
        self._catalog.apply(snapshot(*self._specs))
        eventually(lambda: self._catalog.settled, "the models are loaded", 60.0)
        self._repository = self._loop.run_until_complete(self._make_repository())
        self._handler = inference_handler(
            Settings.load({}, None),
            self._catalog,
            WorkerMetrics(self._catalog),
            Health(self._catalog),
            SharedMemory(enabled=True),
            self._repository,
        )
        self._unary = sorted(path for path, arity in self._handler.methods.items() if arity.value == "unary")
        return self

    async def _make_repository(self) -> RepositoryAnswers:
        return RepositoryAnswers(self._catalog, _nothing)

    def __exit__(self, *_: object) -> None:
        self._loop.run_until_complete(self._repository.close())
        self._loop.close()
        self._catalog.drain_all()

    def round(self) -> str | None:
        """Ask once in each way; return what must not be, or None."""
        name = self._choose.one(list(self._signatures))
        request = mutated(self._choose, name, self._signatures[name])
        return self._meant(request, self._signatures[name]) or self._broken(request) or self._over_rest(request)

    def _meant(self, request: ModelInferRequest, signature: Signature) -> str | None:
        """Hold the answer of a whole request against the plain decoder: the models return what they are given."""
        call = self._ask(INFER, request.SerializeToString())
        try:
            expected = reference_decoder.decode(request, signature)["x"]
        except reference_decoder.NotValid as rule:
            return None if call.error is not None else f"taken, though {rule}: {request}"
        if call.error is not None:
            return f"refused ({call.error.message}), though it is right: {request}"
        answer = ModelInferResponse.FromString(call.reply or b"")
        if tuple(answer.outputs[0].shape) != expected.shape:
            return f"answered with shape {list(answer.outputs[0].shape)}: {request}"
        echoed = ModelInferRequest(model_name=request.model_name, raw_input_contents=answer.raw_output_contents)
        echoed.inputs.add(
            name="x",
            datatype=answer.outputs[0].datatype,
            shape=answer.outputs[0].shape,
            contents=answer.outputs[0].contents if answer.outputs[0].HasField("contents") else None,
        )
        if reference_decoder.decode(echoed, signature)["x"] != expected:
            return f"answered with other values than it was given: {request}"
        return None

    def _broken(self, request: ModelInferRequest) -> str | None:
        """Ask any method with bytes that were damaged; only that nothing breaks is known of the answer."""
        data = bytearray(request.SerializeToString())
        for _ in range(self._choose.integer(1, 8)):
            at = self._choose.integer(0, len(data))
            cut = self._choose.integer(0, 3)
            data[at : at + cut] = self._choose.data(self._choose.integer(0, 3))
        method = INFER if self._choose.integer(0, 1) else self._choose.one(self._unary)
        call = self._ask(method, bytes(data))
        if isinstance(call.error, InternalError):
            return f"{method} broke ({call.error.message}) on {bytes(data)!r}"
        return None

    def _over_rest(self, request: ModelInferRequest) -> str | None:
        """Ask with a body of the REST form, mostly a damaged one."""
        body = rest.written(self._choose, request)
        if self._choose.integer(0, 2):
            body = rest.damaged(self._choose, body)
        asked = rest.read(request.model_name, body)
        if asked is None:
            self.outcomes["refused over REST"] += 1
            return None
        call = self._ask(INFER, asked.message.SerializeToString())
        if isinstance(call.error, InternalError):
            return f"REST broke ({call.error.message}) on {body}"
        if call.error is None and "outputs" not in rest.outputs_of(call.reply or b"", asked):
            return f"REST answered without outputs: {body}"
        return None

    def _ask(self, method: str, data: bytes) -> RecordingCall:
        self.calls += 1
        call = RecordingCall(method, data)
        self._handler.handle(call)
        self._handler.settle()
        deadline = time.monotonic() + _ANSWER_S
        while not call.ended:  # an engine thread has it, or it needs the loop
            assert time.monotonic() < deadline, f"{method} does not answer {data!r}"
            self._loop.run_until_complete(asyncio.sleep(0.0005))
        assert call.ended == 1 and not isinstance(call.error, Cancelled), (method, data)
        self.outcomes["OK" if call.error is None else call.error.reason] += 1
        return call
