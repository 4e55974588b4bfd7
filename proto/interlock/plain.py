"""Tensor specs and serving configs as what JSON holds: one form for what is stored and for what is signed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from interlock.model import NonFinite, ServingConfig
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
        "non_finite": config.non_finite.value,
    }


def read_config(document: Mapping[str, object]) -> ServingConfig:
    """Read a serving config, of an earlier program too; raises KeyError, TypeError or ValueError where it is none."""
    sizes = document.get("preferred_batch_sizes", [])
    if not isinstance(sizes, list):
        raise TypeError(f"preferred_batch_sizes is {sizes!r}")
    return ServingConfig(
        max_batch_size=_whole(document["max_batch_size"]),
        max_queue_delay_us=_whole(document["max_queue_delay_us"]),
        max_queue_size=_whole(document["max_queue_size"]),
        preferred_batch_sizes=tuple(map(_whole, sizes)),
        instances=_whole(document.get("instances", 1)),
        non_finite=NonFinite(document.get("non_finite", NonFinite.PASS.value)),
    )


def _whole(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise TypeError(f"{value!r} is no whole number")


def _read_spec(document: Mapping[str, object]) -> TensorSpec:
    shape = document["shape"]
    if not isinstance(shape, list):
        raise TypeError(f"shape is {shape!r}")
    return TensorSpec(str(document["name"]), DType(document["dtype"]), tuple(map(_read_dim, shape)))


def _read_dim(value: object) -> Dim:
    if value is None or isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise TypeError(f"a dimension is {value!r}")
