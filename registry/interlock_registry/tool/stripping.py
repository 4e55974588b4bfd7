"""What a stored graph must not tell: source paths and stack traces of the machine that it was exported on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, MutableSequence
from typing import Final

from onnx import GraphProto, ModelProto, NodeProto, StringStringEntryProto

from interlock_registry.tool.text import printable

_KEPT: Final = frozenset({"namespace", "pkg.torch.onnx.name_scopes"})
"""Of a node's notes: which module of the user's it comes from, which is what an error should name."""
_PATH: Final = re.compile(r"(?:^|[\s\"'=:(,\[])(?:/[^/\s\"']+){2,}|[A-Za-z]:\\\\?[^\\]|\bFile \"|\bTraceback\b")
_SHOWN: Final = 5
_Entries = MutableSequence[StringStringEntryProto]


def strip(model: ModelProto) -> tuple[str, ...]:
    """Remove documentation and notes that name files, and what only training needs; return remarks on it.

    What the model's author noted of the model as a whole (labels, strides, authors) stays, unless it names files.
    """
    remarks: list[str] = []
    model.doc_string = ""
    lost = _drop(model.metadata_props, lambda entry: not _PATH.search(entry.value))
    if lost:
        more = f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
        names = ", ".join(repr(printable(key)[:40]) for key in lost[:_SHOWN])
        remarks.append(f"metadata that names files was left out: {names}{more}")
    if len(model.training_info):
        del model.training_info[:]
        remarks.append("what the model holds for training alone was left out")
    _graph(model.graph)
    for function in model.functions:
        function.doc_string = ""
        del function.metadata_props[:]
        for value in function.value_info:
            value.doc_string = ""
            del value.metadata_props[:]
        for attribute in function.attribute_proto:
            attribute.doc_string = ""
        _nodes(function.node)
    return tuple(remarks)


def _graph(graph: GraphProto) -> None:
    graph.doc_string = ""
    del graph.metadata_props[:]
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.doc_string = ""
        del value.metadata_props[:]
    sparse = [part for each in graph.sparse_initializer for part in (each.values, each.indices)]
    for tensor in (*graph.initializer, *sparse):
        tensor.doc_string = ""
        del tensor.metadata_props[:]
    _nodes(graph.node)


def _nodes(nodes: Iterable[NodeProto]) -> None:
    for node in nodes:
        node.doc_string = ""
        _drop(node.metadata_props, lambda entry: entry.key in _KEPT and not _PATH.search(entry.value))
        for attribute in node.attribute:
            attribute.doc_string = ""
            tensors = [*attribute.tensors, *([attribute.t] if attribute.HasField("t") else [])]
            for tensor in tensors:
                tensor.doc_string = ""
                del tensor.metadata_props[:]
            for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                _graph(graph)


def _drop(entries: _Entries, keep: Callable[[StringStringEntryProto], bool]) -> list[str]:
    """Remove the entries that are not to be kept; return their keys."""
    lost = [index for index, entry in enumerate(entries) if not keep(entry)]
    keys = [entries[index].key for index in lost]
    for index in reversed(lost):
        del entries[index]
    return keys
