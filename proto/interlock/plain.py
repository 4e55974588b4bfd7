"""Tensor specs and serving configs as what JSON holds: one form for what is stored and for what is signed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from interlock.model import ServingConfig
from interlock.types import Dim, DType, TensorSpec


def plain_specs(specs: Sequence[TensorSpec]) -> list[Mapping[str, object]]:
    """Return tensor specs as plain values."""
    return [{"name": spec.name, "dtype": spec.dtype.value, "shape": list(spec.shape)} for spec in specs]


def read_specs(documents: Sequence[Mapping[str, object]]) -> tuple[TensorSpec, ...]:
    """Read tensor specs; raises KeyError, TypeError or ValueError where they are none."""
    return tuple(map(_read_spec, documents))


def plain_config(config: ServingConfig) -> Mapping[str, object]:
    """Return a serving config as plain values."""
    return {
        "max_batch_size": config.max_batch_size,
        "max_queue_delay_us": config.max_queue_delay_us,
        "max_queue_size": config.max_queue_size,
        "preferred_batch_sizes": list(config.preferred_batch_sizes),
        "instances": config.instances,
    }


def _read_spec(document: Mapping[str, object]) -> TensorSpec:
    shape = document["shape"]
    if not isinstance(shape, list):
        raise TypeError(f"shape is {shape!r}")
    return TensorSpec(str(document["name"]), DType(document["dtype"]), tuple(map(_read_dim, shape)))


def _read_dim(value: object) -> Dim:
    if value is None or isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise TypeError(f"a dimension is {value!r}")
