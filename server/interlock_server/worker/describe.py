"""What a version is and how it is served, in the protocol's words. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from interlock.protocols import model_config_pb2 as config_pb
from interlock.protocols import open_inference_pb2 as pb
from interlock.types import Dim, DType, TensorSpec

from interlock_server.snapshot import VersionSpec
from interlock_server.worker.routes import Resolved
from interlock_server.worker.servable import Servable
from interlock_server.worker.work import DEFAULT_PRIORITY, PRIORITY_LEVELS

PLATFORM: Final = "onnx_onnxv1"
_BACKEND: Final = "onnxruntime"
_CONFIG_TYPES: Final = {
    dtype: config_pb.DataType.Value("TYPE_STRING" if dtype is DType.BYTES else f"TYPE_{dtype.value}") for dtype in DType
}


def model_metadata(resolved: Resolved, versions: Sequence[int]) -> pb.ModelMetadataResponse:
    """Describe the version that a ref means, with its exact number and digest among the properties."""
    spec = resolved.servable.spec
    return pb.ModelMetadataResponse(
        name=spec.model,
        versions=[str(version) for version in versions],
        platform=PLATFORM,
        inputs=[_tensor(each) for each in (*spec.signature.inputs, *spec.signature.optional)],
        outputs=[_tensor(each) for each in spec.signature.outputs],
        interlock_properties={
            **_facts(resolved),
            "interlock.max_batch_size": str(batch_limit(spec)),
            # The protocol's metadata cannot say that an input may be left out.
            "interlock.optional_inputs": json.dumps([each.name for each in spec.signature.optional]),
        },
    )


def model_config(resolved: Resolved, versions: Sequence[int]) -> config_pb.ModelConfig:
    """Say how the version that a ref means is served; `versions` are the model's loaded ones."""
    servable = resolved.servable
    spec, rows = servable.spec, batch_limit(servable.spec)
    config = config_pb.ModelConfig(
        name=spec.model,
        platform=PLATFORM,
        backend=_BACKEND,
        version_policy=config_pb.ModelVersionPolicy(specific=config_pb.ModelVersionPolicy.Specific(versions=versions)),
        max_batch_size=rows,
        input=[
            config_pb.ModelInput(name=each.name, data_type=_CONFIG_TYPES[each.dtype], dims=_dims(each, rows))
            for each in spec.signature.inputs
        ]
        + [
            config_pb.ModelInput(
                name=each.name, data_type=_CONFIG_TYPES[each.dtype], dims=_dims(each, 0), optional=True
            )
            for each in spec.signature.optional
        ],
        output=[
            config_pb.ModelOutput(name=each.name, data_type=_CONFIG_TYPES[each.dtype], dims=_dims(each, rows))
            for each in spec.signature.outputs
        ],
        instance_group=_groups(servable),
        model_transaction_policy=config_pb.ModelTransactionPolicy(decoupled=False),
        # Not those that are empty: in JSON, protobuf leaves an empty string_value out, and pytriton fails on that.
        parameters={
            name: config_pb.ModelParameter(string_value=value) for name, value in _facts(resolved).items() if value
        },
    )
    if rows:
        config.dynamic_batching.CopyFrom(
            config_pb.ModelDynamicBatching(
                preferred_batch_size=spec.config.preferred_batch_sizes,
                max_queue_delay_microseconds=spec.config.max_queue_delay_us,
                priority_levels=PRIORITY_LEVELS,
                default_priority_level=DEFAULT_PRIORITY,
                default_queue_policy=config_pb.ModelQueuePolicy(
                    max_queue_size=spec.config.max_queue_size, allow_timeout_override=True
                ),
            )
        )
    return config


def _groups(servable: Servable) -> list[config_pb.ModelInstanceGroup]:
    """Say how many runs may take place at once on each device."""
    group, model = config_pb.ModelInstanceGroup, servable.spec.model
    if servable.provider != "CUDA":
        return [group(name=f"{model}_0", count=servable.spec.config.instances, kind=group.KIND_CPU)]
    return [
        group(name=f"{model}_{index}", count=count, kind=group.KIND_GPU, gpus=[device])
        for index, (device, count) in enumerate(sorted(Counter(servable.devices).items()))
    ]


def batch_limit(spec: VersionSpec) -> int:
    """Return how many rows may run together; 0 where requests run alone."""
    return spec.config.max_batch_size if spec.joinable else 0


def _facts(resolved: Resolved) -> dict[str, str]:
    spec, loaded_from = resolved.servable.spec, resolved.servable.loaded_from
    return {
        "interlock.version": str(spec.version),
        "interlock.alias": resolved.alias,
        "interlock.digest": spec.digest,
        # "artifact", "derived" or "fallback"; as `interlock status` has it.
        "interlock.loaded_from": loaded_from.value.lower() if loaded_from is not None else "",
    }


def _tensor(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(
        name=spec.name, datatype=spec.dtype.value, shape=[_size(dim) for dim in spec.shape]
    )


def _dims(spec: TensorSpec, rows: int) -> Iterable[int]:
    """Return a tensor's sizes as the configuration has them: without the batch dimension where there is one."""
    return [_size(dim) for dim in (spec.shape[1:] if rows else spec.shape)]


def _size(dim: Dim) -> int:
    return dim if isinstance(dim, int) else -1
