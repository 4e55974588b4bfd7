"""PyTorch module → ONNX bytes: torch's exporter, without its noise and without what it tells about this machine."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from interlock.errors import ExportRefused

from interlock_client.torch._example import Example

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto
    from torch import nn

IR_VERSION: Final = 10
"""Read by every ONNX Runtime since 1.18; later ones add nothing that an export of ours uses."""
_MAX_BYTES: Final = (1 << 31) - (64 << 20)
_NOISY: Final = ("torch", "torch.onnx", "torch.export", "torch.fx", "torch._dynamo", "onnxscript", "onnx_ir")


def to_onnx(model: nn.Module, example: Example, output_names: Sequence[str], opset: int) -> bytes:
    """Export a module; raises ExportRefused with what torch said. The same module gives the same bytes."""
    import torch

    weights = sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers()))
    if weights > _MAX_BYTES:
        raise ExportRefused(
            f"the model's weights take {weights} bytes; one ONNX file holds at most 2 GiB, and models of several files "
            "are not taken yet: convert it to float16 with model.half()"
        )
    names = list(example.tensors)
    shapes = {name: dict(example.dynamic.get(name, {})) for name in names}
    try:
        with quiet(), torch.no_grad():
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
        raise ExportRefused(f"torch cannot export {type(model).__name__}: {_cause(error)}") from error
    if program is None:
        raise ExportRefused(f"torch gave no program for {type(model).__name__}")
    proto = program.model_proto
    strip(proto)
    proto.ir_version = min(proto.ir_version, IR_VERSION)
    return proto.SerializeToString(deterministic=True)


def _cause(error: BaseException) -> str:
    """Return the first cause's text: torch wraps it into a page of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines)[:500]}"


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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
