"""What a model file must look like before ONNX Runtime may see it: format, versions, size, operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import onnx
from google.protobuf.message import DecodeError
from interlock.errors import InvalidModel
from interlock.locations import check_graph_size
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto

from interlock_registry.manifest import Operator, Opset
from interlock_registry.tool.interface import check_interface
from interlock_registry.tool.job import ModelLimits
from interlock_registry.tool.text import not_utf8, printable

DOMAINS: Final = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
"""Operator sets that a plain ONNX Runtime implements; a model may add functions of its own."""
_ONNX: Final = "ai.onnx"
_BAD_OPERATORS: Final = frozenset({"EPContext"})
_MAGIC: Final = (
    (b"PK\x03\x04", "a zip archive: a PyTorch checkpoint of torch.save, perhaps"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x03", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x80\x05", "a Python pickle"),
    (b"\x89HDF", "an HDF5 file (Keras)"),
    (b"\x1f\x8b", "gzip-compressed: unpack it first"),
    (b"version https://git-lfs", "a Git LFS pointer: fetch the real file with `git lfs pull`"),
    (b"<", "HTML or XML: perhaps an error page that was saved in place of the model"),
)
_ADVICE: Final = "export the model with `interlock_client.torch.export` or torch.onnx.export"


@dataclass(frozen=True, slots=True)
class Structure:
    """What is worth knowing of a graph."""

    opset: int
    ir_version: int
    producer: str
    nodes: int
    operators: tuple[Operator, ...]
    opsets: tuple[Opset, ...]

    def has(self, op_type: str) -> bool:
        """Say whether an operator of ONNX's own is in the graph."""
        return any(each.domain == _ONNX and each.op_type == op_type for each in self.operators)


def parse(path: Path) -> ModelProto:
    """Read an ONNX file without its external data; raises InvalidModel."""
    size = path.stat().st_size
    if size == 0:
        raise InvalidModel(f"the model file is empty; {_ADVICE}", check="format")
    check_graph_size("the model file", size)
    data = path.read_bytes()
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        why = f"the model file is not a whole ONNX model: it {_looks_like(data)}"
        raise InvalidModel(why, check="format") from error
    if model.ir_version == 0 or not model.HasField("graph"):
        raise InvalidModel(f"the model file is not an ONNX model: it {_looks_like(data)}", check="format")
    broken = not_utf8(model)
    if broken is not None:
        raise InvalidModel(
            f"the model holds a text that is not UTF-8: {broken}; rename it and save again", check="names"
        )
    return model


def _looks_like(data: bytes) -> str:
    head = data[:512]
    kind = next((text for magic, text in _MAGIC if head.lstrip().startswith(magic)), None)
    if kind is None and head[4:8] == b"ORTM":
        kind = "in ONNX Runtime's own format: register the .onnx file that it was made from"
    if kind is None and head[8:10] == b'{"':
        kind = "a safetensors file: weights without a graph"
    if kind is None and head[:1] == b"\x08":
        return f"begins like one, but breaks off or is damaged ({len(data)} bytes); upload it again or {_ADVICE}"
    if kind is None and all(byte in b"\t\n\r\f" or 32 <= byte < 127 for byte in head):
        kind = "plain text"
    return f"looks like {kind}; {_ADVICE}" if kind else f"cannot be parsed; {_ADVICE}"


def examine(model: ModelProto, limits: ModelLimits) -> Structure:
    """Refuse what is dangerous or not ours to run, by walking every graph and function; raises InvalidModel."""
    walk = _Walk(model, limits)
    walk.run()
    imports = _imports(model.opset_import)
    return Structure(
        opset=imports.get(_ONNX, 0),
        ir_version=model.ir_version,
        producer=printable(f"{model.producer_name} {model.producer_version}".strip()[:128]),
        nodes=walk.expanded,
        operators=walk.operators,
        opsets=tuple(Opset(domain, version) for domain, version in sorted(imports.items())),
    )


class _Walk:
    """One pass over a model: counts, and the first thing that is not allowed raises."""

    def __init__(self, model: ModelProto, limits: ModelLimits) -> None:
        self._model = model
        self._limits = limits
        self._functions = {_key(f.domain, f.name, f.overload): f for f in model.functions}
        self._sizes: dict[tuple[str, str, str], int] = {}
        self._open: list[tuple[str, str, str]] = []
        self._tensors = 0
        self._imports = _imports(model.opset_import)
        self._operators: Counter[tuple[str, str, int]] = Counter()
        self.expanded = 0

    @property
    def operators(self) -> tuple[Operator, ...]:
        return tuple(Operator(*key, count) for key, count in sorted(self._operators.items()))

    def run(self) -> None:
        if len(self._functions) != len(self._model.functions):
            raise InvalidModel("two model-local functions have the same name", check="functions")
        for info in self._model.training_info:
            self._graph(info.initialization, 1)
            self._graph(info.algorithm, 1)
        self._operators.clear()  # training is not served
        self.expanded = self._graph(self._model.graph, 1)
        for key in self._functions:  # also those that nothing calls: ONNX Runtime reads them all
            self._function(key)
        check_interface(self._model.graph)

    def _graph(self, graph: GraphProto, depth: int) -> int:
        if depth > self._limits.max_nesting:
            raise InvalidModel(f"subgraphs are nested deeper than {self._limits.max_nesting}", check="size")
        for _ in range(len(graph.initializer) + 2 * len(graph.sparse_initializer)):
            self._tensor()
        return self._nodes(graph.node, depth)

    def _nodes(self, nodes: Iterable[NodeProto], depth: int) -> int:
        total = 0
        for node in nodes:
            total += 1 + self._node(node, depth)
            if total > self._limits.max_nodes:
                raise InvalidModel(
                    f"the graph has more than {self._limits.max_nodes} nodes once its functions are expanded",
                    check="size",
                )
        return total

    def _node(self, node: NodeProto, depth: int) -> int:
        key = _key(node.domain, node.op_type, node.overload)
        inner = 0
        if key in self._functions:
            inner = self._function(key)
        elif node.domain not in DOMAINS:
            raise InvalidModel(
                f"operator {printable(node.op_type)} is of domain {printable(node.domain)!r}, which ONNX Runtime "
                f"lacks: custom operators are not loaded; supported are {', '.join(sorted(DOMAINS - {''}))} and "
                "functions inside the model",
                check="operators",
            )
        elif node.op_type in _BAD_OPERATORS:
            raise InvalidModel(
                f"operator {node.op_type} names compiled engine files and is not taken from an upload; "
                "register the model that it was compiled from",
                check="operators",
            )
        domain = node.domain or _ONNX
        self._operators[domain, node.op_type, self._imports.get(domain, 0)] += 1
        return inner + sum(self._attribute(attribute, depth) for attribute in node.attribute)

    def _attribute(self, attribute: AttributeProto, depth: int) -> int:
        for _ in _tensors(attribute):
            self._tensor()
        graphs = [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
        return sum(self._graph(graph, depth + 1) for graph in graphs)

    def _function(self, key: tuple[str, str, str]) -> int:
        """Count the nodes that a call expands to, once per function: the expansion itself may be exponential."""
        if key in self._sizes:
            return self._sizes[key]
        if key in self._open:
            raise InvalidModel(f"model-local function {printable(key[1])!r} calls itself", check="functions")
        if len(self._open) >= self._limits.max_nesting:
            raise InvalidModel(f"functions are nested deeper than {self._limits.max_nesting}", check="size")
        self._open.append(key)
        function: FunctionProto = self._functions[key]
        for attribute in function.attribute_proto:
            self._attribute(attribute, 1)
        outer, self._imports = self._imports, _imports(function.opset_import)
        self._sizes[key] = self._nodes(function.node, 1)
        self._imports = outer
        self._open.pop()
        return self._sizes[key]

    def _tensor(self) -> None:
        self._tensors += 1
        if self._tensors > self._limits.max_tensors:
            raise InvalidModel(f"the model has more than {self._limits.max_tensors} tensors", check="size")


def _tensors(attribute: AttributeProto) -> Iterator[TensorProto]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    sparse = [*attribute.sparse_tensors, *([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else [])]
    for each in sparse:
        yield each.values
        yield each.indices


def _imports(imports: Iterable[OperatorSetIdProto]) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in imports:
        domain = each.domain or _ONNX
        found[domain] = max(found.get(domain, 0), each.version)
    return found


def _key(domain: str, name: str, overload: str) -> tuple[str, str, str]:
    return ("" if domain == "ai.onnx" else domain, name, overload)
