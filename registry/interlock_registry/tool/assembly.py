"""The child's job `assemble`: from a graph and its blobs to one file again, or to two where one cannot hold it."""

from __future__ import annotations

import hashlib
import mmap
from pathlib import Path
from typing import Final

import onnx
from interlock.errors import DataLoss
from interlock.model import FileRole
from onnx import ModelProto, TensorProto

from interlock_registry.tool.assemble_job import Assembled, AssembledFile, AssembleJob
from interlock_registry.tool.elements import sites
from interlock_registry.tool.splitting import put_inside, refer, serialize

MOST_IN_ONE: Final = (1 << 31) - (64 << 20)
"""Bytes of graph and tensors that are put into one file; ONNX's limit is 2 GiB, and encoding adds some."""
_ALIGNMENT: Final = 4096
"""Of tensors in a file of their own: ONNX Runtime maps pages."""


def assemble(job: AssembleJob) -> Assembled:
    """Put a model together; every blob is hashed as it is read. Raises DataLoss, OSError, MemoryError."""
    graph = _read(job.graph)
    model = onnx.load_model_from_string(bytes(graph))
    outside = [site.tensor for site in sites(model) if site.tensor.data_location == TensorProto.EXTERNAL]
    blobs = {_location(tensor): job.graph.with_name(_location(tensor)) for tensor in outside}
    size = len(graph) + sum(blobs[_location(tensor)].stat().st_size for tensor in outside)
    del graph
    files: list[AssembledFile] = []
    if job.is_outside or size > MOST_IN_ONE:
        files.append(_write_data(job, outside))
    else:
        for tensor in outside:
            put_inside(tensor, bytes(_read(job.graph.with_name(_location(tensor)))))
    return Assembled((_write_model(job, model), *files))


def _write_model(job: AssembleJob, model: ModelProto) -> AssembledFile:
    content = serialize(model)
    job.path(FileRole.MODEL).write_bytes(content)
    return AssembledFile(FileRole.MODEL, job.name, len(content), hashlib.sha256(content).hexdigest())


def _write_data(job: AssembleJob, tensors: list[TensorProto]) -> AssembledFile:
    """Write each blob once, however many tensors are of it."""
    hasher = hashlib.sha256()
    offsets: dict[str, int] = {}
    end = 0
    with job.path(FileRole.DATA).open("xb") as target:
        for tensor in tensors:
            location = _location(tensor)
            content = _read(job.graph.with_name(location))
            if location not in offsets:
                padding = bytes(-end % _ALIGNMENT)
                offsets[location] = end + len(padding)
                for piece in (padding, content):
                    target.write(piece)
                    hasher.update(piece)
                end = offsets[location] + len(content)
            refer(tensor, job.data_name, offsets[location], len(content))
    return AssembledFile(FileRole.DATA, job.data_name, end, hasher.hexdigest())


def _location(tensor: TensorProto) -> str:
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def _read(path: Path) -> memoryview:
    """Map a blob that is whole; raises DataLoss."""
    try:
        with path.open("rb") as file:
            content = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
    except (OSError, ValueError) as error:
        raise _damaged(path.name, f"it cannot be read ({error})") from error
    found = hashlib.sha256(content).hexdigest()
    if found != path.name:
        raise _damaged(path.name, f"its bytes have the sha256 {found}")
    return content


def _damaged(digest: str, why: str) -> DataLoss:
    return DataLoss(
        f"blob {digest} is damaged: {why}; register the same file again or restore a backup", facts={"digest": digest}
    )
