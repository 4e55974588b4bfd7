"""Models that reach for data outside of themselves: other files, the server's memory, past the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import onnx
from onnx import SparseTensorProto, TensorProto, helper

from tests import models
from tests.hostile.cases import Case, branch, choice, float_model

DATA: Final = bytes(64 * 64 * 4)
FILES: Final = {"weights.bin": DATA}
_MARKER: Final = {"location": "*/_ORT_MEM_ADDR_/*", "offset": "140000000000000", "length": str(len(DATA))}
_PLAIN: Final = "only files in the model's own directory"
_ADDRESS: Final = "an address in memory"
_MATMUL: Final = [helper.make_node("MatMul", ["x", "w"], ["y"])]


def tensor(entries: Mapping[str, str] | None = None, dims: Sequence[int] = (64, 64)) -> TensorProto:
    """A tensor whose data is in `weights.bin`, or where `entries` say."""
    made = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
    for key, value in ({"location": "weights.bin"} | dict(entries or {})).items():
        made.external_data.add(key=key, value=value)
    return made


def cases() -> Iterator[Case]:
    """Yield them."""
    for name, entries, words in (
        ("the directory above", {"location": "../weights.bin"}, _PLAIN),
        ("above by way of a directory below", {"location": "sub/../../weights.bin"}, _PLAIN),
        ("the password file", {"location": "/etc/passwd"}, _PLAIN),
        ("a process's memory", {"location": "/proc/self/mem"}, _PLAIN),
        ("a path with a backslash", {"location": "..\\weights.bin"}, _PLAIN),
        ("a dot in front", {"location": "./weights.bin"}, _PLAIN),
        ("no name", {"location": ""}, _PLAIN),
        ("a NUL in the name", {"location": "weights.bin\0.png"}, _PLAIN),
        ("a URL", {"location": "http://169.254.169.254/latest"}, ""),
        ("an address in memory", _MARKER, _ADDRESS),
        ("a file that was not uploaded", {"location": "other.bin"}, "was not uploaded"),
        ("the registry", {"location": "registry.db"}, "was not uploaded"),
        ("an offset past the end", {"offset": "1"}, "ends at byte 16385"),
        ("an offset below zero", {"offset": "-1"}, "is no number"),
        ("an offset of 2^62", {"offset": str(2**62)}, "ends at byte"),
        ("an offset of 30 digits", {"offset": "9" * 30}, "is no number"),
        ("a length that is too short", {"length": "100"}, "takes 16384 bytes"),
        ("a length that is no number", {"length": "0x10"}, "is no number"),
        ("a checksum of another file", {"checksum": "0" * 40}, "has the SHA-1"),
        ("a key that ONNX does not know", {"__class__": "x"}, "means nothing in ONNX"),
    ):
        yield _case(name, lambda entries=entries: float_model(_MATMUL, [tensor(entries)]), words)  # type: ignore[misc]
    for name, dims in (("2^40 elements", (2**40,)), ("sizes that overflow 64 bits", (2**62, 8))):
        yield _case(name, lambda dims=dims: float_model(_MATMUL, [tensor(dims=dims)]), "ends at byte")  # type: ignore[misc]
    yield _case("a key twice", _twice, "contradicts itself")
    yield _case("data inside and outside", _both, "both in the model and in another file")
    yield _case("text in a file", _text, "of text")
    yield Case("outside", "a file that no tensor uses", models.affine, "no tensor of the model", FILES)
    for place, make in PLACES.items():
        yield _case(f"the directory above, {place}", lambda make=make: make({"location": "../w"}), _PLAIN)  # type: ignore[misc]
        yield _case(f"an address in memory, {place}", lambda make=make: make(_MARKER), _ADDRESS)  # type: ignore[misc]


def _case(name: str, make: Callable[[], bytes], words: str) -> Case:
    return Case("outside", name, make, words, FILES)


def _twice() -> bytes:
    made = tensor()
    made.external_data.add(key="location", value="../other.bin")
    return float_model(_MATMUL, [made])


def _both() -> bytes:
    made = tensor()
    made.raw_data = DATA
    return float_model(_MATMUL, [made])


def _text() -> bytes:
    made = tensor()
    made.data_type = TensorProto.STRING
    return float_model(_MATMUL, [made])


def _in_constant(entries: Mapping[str, str]) -> bytes:
    return float_model([helper.make_node("Constant", [], ["w"], value=tensor(entries)), *_MATMUL])


def _in_subgraph(entries: Mapping[str, str]) -> bytes:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"])]
    return float_model(choice(branch("then", nodes, [tensor(entries)])))


def _in_function(entries: Mapping[str, str]) -> bytes:
    body = [
        helper.make_node("Constant", [], ["w"], value=tensor(entries)),
        helper.make_node("MatMul", ["a", "w"], ["b"]),
    ]
    opsets = [helper.make_opsetid("", models.OPSET)]
    made = helper.make_function("mine", "dense", ["a"], ["b"], body, opsets)
    call = [helper.make_node("dense", ["x"], ["y"], domain="mine")]
    return float_model(call, functions=[made], opsets={"mine": 1})


def _in_unused_function(entries: Mapping[str, str]) -> bytes:
    model = onnx.load_from_string(_in_function(entries))
    model.graph.node[0].op_type, model.graph.node[0].domain = "Neg", ""
    return model.SerializeToString()


def _in_attribute(entries: Mapping[str, str]) -> bytes:
    shape = helper.make_node("Shape", ["x"], ["shape"])
    fill = helper.make_node("ConstantOfShape", ["shape"], ["y"], value=tensor(entries, (64, 64)))
    return float_model([shape, fill])


def _in_sparse(entries: Mapping[str, str]) -> bytes:
    model = onnx.load_from_string(float_model(_MATMUL))
    indices = helper.make_tensor("", TensorProto.INT64, [1], [0])
    sparse = SparseTensorProto(values=tensor(entries, (1,)), indices=indices, dims=[64, 64])
    sparse.values.name = "w"
    model.graph.sparse_initializer.append(sparse)
    return model.SerializeToString()


def _in_indices(entries: Mapping[str, str]) -> bytes:
    model = onnx.load_from_string(float_model(_MATMUL))
    values = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    indices = tensor(entries, (1,))
    indices.data_type = TensorProto.INT64
    model.graph.sparse_initializer.append(SparseTensorProto(values=values, indices=indices, dims=[64, 64]))
    return model.SerializeToString()


PLACES: Final[Mapping[str, Callable[[Mapping[str, str]], bytes]]] = {
    "in a Constant": _in_constant,
    "in a subgraph": _in_subgraph,
    "in a function": _in_function,
    "in a function that nothing calls": _in_unused_function,
    "in an attribute": _in_attribute,
    "in a sparse tensor": _in_sparse,
    "in a sparse tensor's indices": _in_indices,
}
