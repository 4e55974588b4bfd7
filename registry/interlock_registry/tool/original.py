"""The upload as it came, held against the form in which it is stored: the same options, inputs and answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from interlock.errors import InternalError
from interlock.types import Array
from onnx import ModelProto

from interlock_registry.tool.elements import sites
from interlock_registry.tool.job import ModelLimits, SideFile
from interlock_registry.tool.runtime import Session
from interlock_registry.tool.splitting import serialize


def resolve(model: ModelProto, files: Sequence[SideFile], target: Path) -> Path:
    """Write a model whose tensors refer to files by the names that these have here; return its path."""
    names = {each.location: each.path.name for each in files}
    here = ModelProto()
    here.CopyFrom(model)
    del here.training_info[:]
    for site in sites(here):
        for entry in site.tensor.external_data:
            if entry.key == "location":
                entry.value = names.get(entry.value, entry.value)
    target.write_bytes(serialize(here))
    return target


def is_equal(actual: Mapping[str, Array], expected: Mapping[str, Array]) -> bool:
    """Say whether two answers are the same to the last bit, a NaN too."""
    return actual.keys() == expected.keys() and all(
        array.shape == expected[name].shape
        and array.dtype == expected[name].dtype
        and (
            array.tolist() == expected[name].tolist()
            if array.dtype == np.dtype(object)
            else array.tobytes() == expected[name].tobytes()
        )
        for name, array in actual.items()
    )


def check_same(original: Path, limits: ModelLimits, inputs: Mapping[str, Array], stored: Mapping[str, Array]) -> None:
    """Run the upload itself; raises InternalError where its stored form did not answer the same, bit for bit."""
    if not is_equal(Session(original, limits).run(inputs), stored):
        raise InternalError(
            "the model was taken apart for storage and then answered differently; nothing was stored. This is a fault "
            "of the server: please report it with the model"
        )
