"""PyTorch module → ONNX file: torch's exporter, without its noise and without what it tells about this machine."""

from __future__ import annotations

import io
import itertools
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Final

from interlock.errors import ExportRefused

from interlock_client.torch._blame import Blame, explain
from interlock_client.torch._example import Example
from interlock_client.torch._recurrent import whole

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto
    from onnx_ir import Graph
    from torch import nn

IR_VERSION: Final = 10
"""Read by every ONNX Runtime since 1.18; later ones add nothing that an export of ours uses."""
_MAX_BYTES: Final = (1 << 31) - (64 << 20)
"""Of weights inside an ONNX file: a protobuf message ends at 2 GiB, and the graph needs room too."""
_SMALL: Final = 4096
"""Weights below this stay in the graph even if others go to a file of their own."""
_NOISY: Final = ("torch", "torch.onnx", "torch.export", "torch.fx", "torch._dynamo", "onnxscript", "onnx_ir")


def write_onnx(
    model: nn.Module,
    example: Example,
    output_names: Sequence[str],
    opset: int,
    path: Path,
    external_data: bool | None = None,
) -> Sequence[Path]:
    """Export a module to `path`; return the files beside it that hold its weights, in the order of their names.

    They are written where `external_data` says so, by default where one file cannot hold the weights. The same module
    gives the same bytes. Raises ExportRefused with what torch said.
    """
    import onnx_ir
    import torch

    names = list(example.tensors)
    shapes = {name: dict(example.dynamic.get(name, {})) for name in names}
    try:
        with quiet(), torch.no_grad(), whole(model):
            program = torch.onnx.export(
                model,
                () if example.by_keyword else tuple(example.tensors.values()),
                kwargs=dict(example.tensors) if example.by_keyword else None,
                input_names=names,
                output_names=list(output_names),
                dynamic_shapes=shapes if example.by_keyword else tuple(shapes.values()),
                opset_version=opset,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:
        raise _refusal(model, explain(error, example)) from error
    if program is None:
        raise ExportRefused(f"torch gave no program for {type(model).__name__}")
    _own_names(program.model.graph)
    weights = sum(value.const_value.nbytes for value in program.model.graph.initializers.values() if value.const_value)
    outside = weights > _MAX_BYTES if external_data is None else external_data
    data = path.with_name(f"{path.name}.data")
    ir = program.model
    if outside:
        ir = onnx_ir.external_data.unload_from_model(ir, path.parent, data.name, size_threshold_bytes=_SMALL)
    proto = onnx_ir.to_proto(ir)
    strip(proto)
    proto.ir_version = min(proto.ir_version, IR_VERSION)
    path.write_bytes(proto.SerializeToString(deterministic=True))
    return [data] if outside and data.exists() else []


def _refusal(model: nn.Module, blame: Blame) -> ExportRefused:
    facts = {"operator": blame.operator} if blame.operator else {}
    if blame.place is not None:
        facts |= {"file": blame.place.file, "line": str(blame.place.line)}
    where = f" (at {blame.place})" if blame.place is not None else ""
    return ExportRefused(f"torch cannot export {type(model).__name__}: {blame.why}{where}", facts=facts)


def _own_names(graph: Graph) -> None:
    """Rename inner values that are called as an input or output is: torch names those without looking."""
    edge = {id(value): value.name for value in (*graph.inputs, *graph.outputs)}
    taken = set(edge.values())
    inner = [output for node in graph.all_nodes() for output in node.outputs]
    inner += [value for each in (graph, *graph.subgraphs()) for value in (*each.initializers.values(), *each.inputs)]
    names = taken | {value.name for value in inner}
    for value in inner:
        if id(value) not in edge and value.name in taken:
            name = next(name for count in itertools.count(1) if (name := f"{value.name}_{count}") not in names)
            names.add(name)
            value.name = name


def strip(model: ModelProto) -> None:
    """Remove notes from a model: torch writes the stack of every operator there, with the paths of its source."""
    del model.metadata_props[:]
    model.doc_string = ""
    _strip_graph(model.graph)
    for function in model.functions:
        function.doc_string = ""
        del function.metadata_props[:]
        _strip_nodes(function.node)


def _strip_graph(graph: GraphProto) -> None:
    graph.doc_string = ""
    del graph.metadata_props[:]
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.doc_string = ""
        del value.metadata_props[:]
    for tensor in graph.initializer:
        tensor.doc_string = ""
        del tensor.metadata_props[:]
    _strip_nodes(graph.node)


def _strip_nodes(nodes: Sequence[NodeProto]) -> None:
    for node in nodes:
        node.doc_string = ""
        del node.metadata_props[:]
        for attribute in node.attribute:
            attribute.doc_string = ""
            for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                _strip_graph(graph)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep torch's warnings and log lines away: they are about torch's inside, and nothing can be done about them."""
    loggers = [logging.getLogger(name) for name in _NOISY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        # Where it fails, torch prints the graph so far; what is worth knowing of it is in our error.
        with redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
