"""Taking a model apart: one graph, and a blob for every tensor that is big enough to be worth sharing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from google.protobuf.message import EncodeError
from interlock.errors import InvalidModel
from onnx import ModelProto, TensorProto

from interlock_registry.manifest import Blob, InlineTensor, Manifest, TensorBlob
from interlock_registry.tool.elements import Site, content, dtype_name, is_packed, sha256, sites
from interlock_registry.tool.external import SideFiles
from interlock_registry.tool.structure import Structure

SMALLEST: Final = 4096
"""Bytes of a tensor that gets a blob of its own: below it the file would cost more than it could save."""
_SHAPES: Final = frozenset({TensorProto.INT32, TensorProto.INT64})
_LARGEST_SHAPE: Final = 1 << 20
"""Lists of whole numbers up to this size stay inside: shape inference reads sizes and splits, and only from there."""
_MAX_MANIFEST: Final = 8 << 20
_DATA_FIELDS: Final = (
    *("float_data", "int32_data", "int64_data", "double_data", "uint64_data"),
    *("raw_data", "external_data", "data_location"),
)


def take_apart(model: ModelProto, structure: Structure, files: SideFiles, folder: Path) -> Manifest:
    """Write a model's graph and tensors as blobs into a folder and return what they make up; sources are left empty.

    The model is changed on the way. Raises InvalidModel, OSError.
    """
    tensors: list[TensorBlob] = []
    inline: list[InlineTensor] = []
    for site in sites(model):
        data = content(site, files)
        digest = sha256(data)
        tensor, name, dtype, dims = site.tensor, site.name, dtype_name(site.tensor), tuple(site.tensor.dims)
        if leaves(site, len(data)):
            tensors.append(TensorBlob(name, dtype, dims, _write(folder, digest, data)))
            refer(tensor, digest, 0, len(data))
        else:
            inline.append(InlineTensor(name, dtype, dims, digest, len(data)))
            if tensor.data_location == TensorProto.EXTERNAL:
                put_inside(tensor, bytes(data))
    files.check_all_used()
    graph = serialize(model)
    manifest = Manifest(
        graph=_write(folder, sha256(graph), graph),
        tensors=tuple(sorted(tensors, key=lambda each: each.name)),
        inline=tuple(sorted(inline, key=lambda each: each.name)),
        operators=structure.operators,
        opsets=structure.opsets,
        ir_version=structure.ir_version,
        producer=structure.producer,
    )
    if len(manifest.to_json()) > _MAX_MANIFEST:
        raise InvalidModel(
            f"the list of the model's {len(tensors) + len(inline)} tensors takes more than {_MAX_MANIFEST >> 20} MiB; "
            "fold its constants before the export (onnxsim, or torch.onnx.export(..., optimize=True))",
            check="size",
        )
    return manifest


def leaves(site: Site, size: int) -> bool:
    """Say whether a tensor gets a blob of its own."""
    tensor = site.tensor
    if not site.is_movable or size < SMALLEST or tensor.data_type == TensorProto.STRING or is_packed(tensor):
        return False
    return not (tensor.data_type in _SHAPES and len(tensor.dims) <= 1 and size <= _LARGEST_SHAPE)


def refer(tensor: TensorProto, location: str, offset: int, length: int) -> None:
    """Make a tensor's data that of a file; offset 0 is left out."""
    _clear(tensor)
    tensor.data_location = TensorProto.EXTERNAL
    # With the length ONNX Runtime refuses a file that is too short; mapping it would end the process at the first use.
    entries = {"location": location, **({"offset": str(offset)} if offset else {}), "length": str(length)}
    for key, value in entries.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def put_inside(tensor: TensorProto, data: bytes) -> None:
    """Make a tensor's data part of the graph."""
    _clear(tensor)
    tensor.raw_data = data


def serialize(model: ModelProto) -> bytes:
    """Return a model as the bytes that it always gives; raises InvalidModel where one file cannot hold it."""
    try:
        return model.SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise InvalidModel(
            f"what has to stay inside the model's graph is over 2 GiB, which no ONNX file holds ({str(error)[:100]})",
            check="size",
        ) from error


def _clear(tensor: TensorProto) -> None:
    for field in _DATA_FIELDS:
        tensor.ClearField(field)


def _write(folder: Path, digest: str, data: bytes | memoryview) -> Blob:
    target = folder / digest
    if not target.exists():
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            left = memoryview(data)
            while left:
                left = left[file.write(left) or 0 :]
    return Blob(digest, len(data))
