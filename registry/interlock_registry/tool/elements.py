"""Tensors of a graph: every one with a name of its own, how big it is, and its elements as plain bytes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from interlock.errors import InvalidModel
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from interlock_registry.tool.external import SideFiles
from interlock_registry.tool.text import printable

_BITS: Final[Mapping[int, int]] = {
    TensorProto.INT4: 4,
    TensorProto.UINT4: 4,
    TensorProto.FLOAT4E2M1: 4,
    TensorProto.INT2: 2,
    TensorProto.UINT2: 2,
}
"""Of the element types that are smaller than a byte."""


@dataclass(frozen=True, slots=True)
class Site:
    """A tensor and where it is."""

    name: str
    """Unique in the model: a path with slashes below the main graph's initializers."""
    tensor: TensorProto
    is_movable: bool
    """ONNX Runtime reads a tensor in this place from another file."""

    @property
    def where(self) -> str:
        """How a message names it."""
        return f"tensor {printable(self.name)[:200]!r}"


def sites(model: ModelProto) -> Iterator[Site]:
    """Yield every tensor of the graph, its subgraphs and the model's own functions, in the order of the file."""
    seen: dict[str, int] = {}
    for site in _all(model):
        times = seen[site.name] = seen.get(site.name, 0) + 1
        yield site if times == 1 else Site(f"{site.name}#{times}", site.tensor, site.is_movable)


def _all(model: ModelProto) -> Iterator[Site]:
    yield from _graph(model.graph, "")
    for function in model.functions:
        prefix = "/".join(each for each in (function.domain, function.name, function.overload) if each) + "/"
        yield from _nodes(function.node, prefix)
        for attribute in function.attribute_proto:
            yield from _attribute(attribute, prefix)


def _graph(graph: GraphProto, prefix: str) -> Iterator[Site]:
    for tensor in graph.initializer:
        yield Site(f"{prefix}{tensor.name}", tensor, True)
    for sparse in graph.sparse_initializer:
        yield Site(f"{prefix}{sparse.values.name}/values", sparse.values, False)
        yield Site(f"{prefix}{sparse.values.name}/indices", sparse.indices, False)
    yield from _nodes(graph.node, prefix)


def _nodes(nodes: Sequence[NodeProto], prefix: str) -> Iterator[Site]:
    for node in nodes:
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx") and len(node.output) == 1:
            for attribute in node.attribute:
                if attribute.name == "value" and attribute.HasField("t"):
                    yield Site(f"{prefix}{node.output[0]}", attribute.t, True)
                else:
                    yield from _attribute(attribute, f"{prefix}{node.output[0]}/")
            continue
        label = node.name or next((each for each in node.output if each), "") or node.op_type
        for attribute in node.attribute:
            yield from _attribute(attribute, f"{prefix}{label}/")


def _attribute(attribute: AttributeProto, prefix: str) -> Iterator[Site]:
    # Kernels read the tensors of their attributes themselves, and not all of them from another file.
    prefix = f"{prefix}{attribute.name}"
    if attribute.HasField("t"):
        yield Site(prefix, attribute.t, False)
    for index, tensor in enumerate(attribute.tensors):
        yield Site(f"{prefix}/{index}", tensor, False)
    sparse = [*attribute.sparse_tensors, *([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else [])]
    for index, each in enumerate(sparse):
        yield Site(f"{prefix}/{index}/values", each.values, False)
        yield Site(f"{prefix}/{index}/indices", each.indices, False)
    graphs = [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
    for index, graph in enumerate(graphs):
        yield from _graph(graph, f"{prefix}/{index}/" if len(graphs) > 1 else f"{prefix}/")


def dtype_name(tensor: TensorProto) -> str:
    """Return ONNX's name of an element type; raises InvalidModel for one that it lacks."""
    try:
        return TensorProto.DataType.Name(tensor.data_type)
    except ValueError as error:
        raise InvalidModel(
            f"tensor {printable(tensor.name)!r} is of the unknown element type {tensor.data_type}", check="size"
        ) from error


def is_packed(tensor: TensorProto) -> bool:
    """Say whether the elements are smaller than a byte, several to one."""
    return tensor.data_type in _BITS


def size_bytes(site: Site) -> int:
    """Return how many bytes the elements take by shape and type, 0 for text; raises InvalidModel."""
    tensor = site.tensor
    if any(dim < 0 for dim in tensor.dims):
        raise InvalidModel(f"{site.where} has the shape {list(tensor.dims)}", check="size")
    if tensor.data_type == TensorProto.STRING:
        return 0
    count = math.prod(tensor.dims)
    if tensor.data_type in _BITS:
        return -(-count * _BITS[tensor.data_type] // 8)
    try:
        return count * int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    except KeyError as error:
        raise InvalidModel(f"{site.where} is of the unknown element type {dtype_name(tensor)}", check="size") from error


def content(site: Site, files: SideFiles) -> bytes | memoryview:
    """Return the elements in row-major order, little-endian; raises InvalidModel where they are not what dims say.

    Text is each string's length in four bytes and its UTF-8.
    """
    tensor, expected = site.tensor, size_bytes(site)
    if tensor.data_location == TensorProto.EXTERNAL or len(tensor.external_data):
        if tensor.data_type == TensorProto.STRING:
            raise InvalidModel(f"{site.where} is of text, which ONNX keeps inside the model", check="external-data")
        return files.read(files.find(tensor, expected, site.where))
    if tensor.data_type == TensorProto.STRING:
        if len(tensor.string_data) != math.prod(tensor.dims):
            raise _wrong(site, f"{len(tensor.string_data)} strings")
        return b"".join(len(text).to_bytes(4, "little") + text for text in tensor.string_data)
    if tensor.HasField("raw_data"):
        data = tensor.raw_data
    elif is_packed(tensor):
        data = bytes(value & 0xFF for value in tensor.int32_data)
    else:
        try:
            data = numpy_helper.to_array(tensor).tobytes()
        except (ValueError, TypeError, OverflowError) as error:
            raise _wrong(site, f"data that cannot be read ({str(error)[:200]})") from error
    if len(data) != expected:
        raise _wrong(site, f"{len(data)} bytes")
    return data


def _wrong(site: Site, what: str) -> InvalidModel:
    return InvalidModel(
        f"{site.where} is {dtype_name(site.tensor)} of the shape {list(site.tensor.dims)}, which {what} do not fill",
        check="size",
    )


def sha256(data: bytes | memoryview) -> str:
    """Return the digest of a tensor's elements."""
    return hashlib.sha256(data).hexdigest()
