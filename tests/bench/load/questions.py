"""What the clients ask, and what each version must answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from interlock.protocols import open_inference_pb2 as pb

Floats = npt.NDArray[np.float32]

_TOLERANCE: Final = 1e-4
"""Batches of other sizes take other kernels and differ in the last bits; two versions differ by far more."""


@dataclass(frozen=True, slots=True)
class Questions:
    """Inputs FP32[questions, width], and by version the outputs FP32[questions, classes]."""

    inputs: Floats
    answers: Mapping[int, Floats]

    def save(self, path: Path) -> None:
        """Write them for the load processes."""
        np.savez(path, inputs=self.inputs, **{f"version/{number}": array for number, array in self.answers.items()})  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Questions:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            answers = {int(name.partition("/")[2]): file[name] for name in file.files if name.startswith("version/")}
            return cls(file["inputs"], answers)

    def requests(self, model: str) -> list[bytes]:
        """Return each question as a serialised ModelInferRequest of one row."""
        return [_request(model, row) for row in self.inputs]

    def check(self, question: int, data: bytes) -> int:
        """Return the version that an answer names; raises WrongAnswer where its numbers are not that version's."""
        reply = pb.ModelInferResponse.FromString(data)
        version = int(reply.model_version)
        expected = self.answers.get(version)
        if expected is None:
            raise WrongAnswer(f"an answer names version {version}, which was never promoted")
        actual = np.frombuffer(reply.raw_output_contents[0], np.float32)
        if not np.allclose(actual, expected[question], rtol=_TOLERANCE, atol=_TOLERANCE):
            other = [number for number in self.answers if number != version]
            raise WrongAnswer(
                f"an answer names version {version}, but holds {actual[:3]}… where that version gives "
                f"{expected[question][:3]}… (others: {other})"
            )
        return version


class WrongAnswer(Exception):
    """An answer is not what the version that it names gives."""


def make(models: Mapping[int, Path], width: int, count: int = 32) -> Questions:
    """Draw inputs, and run each version's file on them here, without the server."""
    inputs = np.random.default_rng(11).standard_normal((count, width), dtype=np.float32)
    answers: dict[int, Floats] = {}
    for version, path in models.items():
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        answers[version] = np.asarray(session.run(None, {"x": inputs})[0], np.float32)
    for version, array in answers.items():
        for other, theirs in answers.items():
            if other != version and np.allclose(array, theirs, rtol=100 * _TOLERANCE, atol=100 * _TOLERANCE):
                raise ValueError(f"versions {version} and {other} answer alike: answers could not be told apart")
    return Questions(inputs, answers)


def _request(model: str, row: Floats) -> bytes:
    request = pb.ModelInferRequest(model_name=model)
    request.inputs.add(name="x", datatype="FP32", shape=[1, row.size])
    request.raw_input_contents.append(row.tobytes())
    return request.SerializeToString()
