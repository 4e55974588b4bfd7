"""Graphs that are too much, name what is not ours to run, cannot be right, or run wild."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import onnx
from interlock.types import DType
from onnx import FunctionProto, NodeProto, TensorProto, helper

from tests import models
from tests.hostile.cases import Case, branch, choice, float_model


def cases() -> Iterator[Case]:
    """Yield them."""
    yield Case("operator", "a custom operator", lambda: _custom("acme.corp"), "is of domain 'acme.corp'")
    yield Case("operator", "a custom operator in a subgraph", _custom_inside, "is of domain 'acme.corp'")
    yield Case("operator", "a custom operator in a function", _custom_in_function, "is of domain 'acme.corp'")
    yield Case("operator", "Python in the graph", lambda: _custom("ai.onnx.contrib"), "'ai.onnx.contrib'")
    yield Case("operator", "PyTorch's fallback to itself", lambda: _custom("org.pytorch.aten"), "org.pytorch.aten")
    yield Case("operator", "a compiled engine", _engine, "compiled engine files")
    yield Case("operator", "an operator that ONNX lacks", lambda: _one("Mystery"), "Mystery")
    yield Case("operator", "training operators", lambda: _custom("ai.onnx.preview.training"), "training")

    yield Case("size", "functions that double 26 times", lambda: functions(26), "more than 200000 nodes")
    yield Case("size", "functions 40 deep", lambda: functions(40, calls=1), "nested deeper than 32")
    yield Case("size", "a function that calls itself", _recursive, "calls itself")
    yield Case("size", "two functions that call each other", _mutual, "calls itself")
    yield Case("size", "a function twice", _double, "the same name")
    yield Case("size", "300,000 nodes", _many_nodes, "more than 200000 nodes", is_wild=True)
    yield Case("size", "300,000 tensors", _many_tensors, "more than 200000 tensors", is_wild=True)
    yield Case("size", "a size below zero", lambda: _weights((-64, 64), 0), "has the shape")
    yield Case("size", "fewer elements than its shape says", lambda: _weights((64, 64), 100), "do not fill")
    yield Case("size", "a shape that overflows", lambda: _weights((2**62, 8), 4), "do not fill")
    yield Case("size", "an element type that is none", lambda: _weights((64, 64), 16384, 99), "unknown element type 99")

    for what, name in (
        ("a line break", "a\nlevel=error"),
        ("a change of direction", "a\u202eb"),
        ("a NUL", "a\0b"),
        ("an escape sequence", "a\x1b[2J"),
        ("300 characters", "x" * 300),
    ):
        yield Case("name", f"an input named with {what}", lambda name=name: _named(name), "no good name")  # type: ignore[misc]

    yield Case("graph", "an operator without its inputs", lambda: _one("Add"), "")
    yield Case("graph", "a circle", _circle, "")
    yield Case("graph", "a value that nobody makes", lambda: _one("Neg", "ghost"), "ghost")
    yield Case("graph", "two values of one name", _clash, "")
    yield Case("graph", "no outputs", _silent, "no outputs")
    yield Case("graph", "an attribute of the wrong kind", _wrong_attribute, "")

    yield Case("behaviour", "an endless loop", endless, "was stopped", is_wild=True)
    yield Case("behaviour", "8 GiB from 200 bytes", lambda: bomb(1 << 31), "of memory", is_wild=True)
    yield Case("behaviour", "100 GiB from 200 bytes", lambda: bomb(25 << 30), "memory", is_wild=True)
    yield Case("behaviour", "an Expand to 64 GiB", lambda: _expand(1 << 34), "", is_wild=True)
    yield Case("behaviour", "a Loop that grows by itself", _growing, "", is_wild=True)
    yield Case("behaviour", "other answers every time", _random, "different answers")
    yield Case("behaviour", "dropout that is left on", _dropout, "model.eval()")


def _one(op_type: str, source: str = "x", domain: str = "") -> bytes:
    opsets = {domain: 1} if domain else None
    return float_model([helper.make_node(op_type, [source], ["y"], domain=domain)], opsets=opsets)


def _custom(domain: str) -> bytes:
    return _one("Mystery", domain=domain)


def _custom_inside() -> bytes:
    node = helper.make_node("Mystery", ["x"], ["z"], domain="acme.corp")
    return float_model(choice(branch("then", [node])), opsets={"acme.corp": 1})


def _custom_in_function() -> bytes:
    node = helper.make_node("Mystery", ["a"], ["b"], domain="acme.corp")
    made = helper.make_function("mine", "f", ["a"], ["b"], [node], [helper.make_opsetid("acme.corp", 1)])
    call = [helper.make_node("f", ["x"], ["y"], domain="mine")]
    return float_model(call, functions=[made], opsets={"mine": 1, "acme.corp": 1})


def _engine() -> bytes:
    node = helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft", ep_cache_context="/etc/engine.trt")
    return float_model([node], opsets={"com.microsoft": 1})


def functions(count: int, calls: int = 2) -> bytes:
    """Function k calls function k + 1 so many times: calls**count nodes from some bytes each."""
    made = [_function(f"f{index}", f"f{index + 1}" if index < count - 1 else "Neg", calls) for index in range(count)]
    call = [helper.make_node("f0", ["x"], ["y"], domain="mine")]
    return float_model(call, functions=made, opsets={"mine": 1})


def _function(name: str, callee: str, calls: int = 1) -> FunctionProto:
    domain = "" if callee == "Neg" else "mine"
    names = ["a", *(f"t{index}" for index in range(calls - 1)), "b"]
    nodes = [helper.make_node(callee, [names[index]], [names[index + 1]], domain=domain) for index in range(calls)]
    opsets = [helper.make_opsetid("", models.OPSET), helper.make_opsetid("mine", 1)]
    return helper.make_function("mine", name, ["a"], ["b"], nodes, opsets)


def _calling(made: Sequence[FunctionProto]) -> bytes:
    call = [helper.make_node(made[0].name, ["x"], ["y"], domain="mine")]
    return float_model(call, functions=list(made), opsets={"mine": 1})


def _recursive() -> bytes:
    return _calling([_function("f", "f")])


def _mutual() -> bytes:
    return _calling([_function("f", "g"), _function("g", "f")])


def _double() -> bytes:
    return _calling([_function("f", "Neg"), _function("f", "Neg")])


def _many_nodes() -> bytes:
    names = ["x", *(f"t{index}" for index in range(300_000 - 1)), "y"]
    return float_model([NodeProto(op_type="Neg", input=[a], output=[b]) for a, b in pairwise(names)])


def _many_tensors() -> bytes:
    tensors = [TensorProto(name=f"w{index}", data_type=TensorProto.FLOAT, float_data=[1.0]) for index in range(300_000)]
    return float_model([helper.make_node("Mul", ["x", "w0"], ["y"])], tensors)


def _weights(dims: Sequence[int], size: int, kind: int = TensorProto.FLOAT) -> bytes:
    made = TensorProto(name="w", data_type=kind, dims=dims, raw_data=bytes(size))
    return float_model([helper.make_node("MatMul", ["x", "w"], ["y"])], [made])


def _named(name: str) -> bytes:
    node = helper.make_node("Identity", [name], ["y"])
    return models.build([node], [models.value(name, DType.FP32, (1,))], [models.value("y", DType.FP32, (1,))])


def _circle() -> bytes:
    return float_model([helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Neg", ["a"], ["b"])])


def _clash() -> bytes:
    return float_model([helper.make_node("Neg", ["x"], ["y"]), helper.make_node("Abs", ["x"], ["y"])])


def _silent() -> bytes:
    model = onnx.load_from_string(models.affine())
    del model.graph.output[:]
    return model.SerializeToString()


def _wrong_attribute() -> bytes:
    return float_model([helper.make_node("Softmax", ["x"], ["y"], axis="first")])


def endless(rounds: int = 10**12) -> bytes:
    """A loop that takes sines for ever."""
    return _loop([helper.make_node("Sin", ["state"], ["next"])], rounds)


def _growing() -> bytes:
    return _loop([helper.make_node("Concat", ["state", "state"], ["next"], axis=0)], 64)


def _loop(nodes: list[NodeProto], rounds: int) -> bytes:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), *nodes],
        "body",
        [
            models.value("i", DType.INT64, ()),
            models.value("go", DType.BOOL, ()),
            models.value("state", DType.FP32, (None, 64)),
        ],
        [models.value("go_on", DType.BOOL, ()), models.value("next", DType.FP32, (None, 64))],
    )
    constants = [models.constant("rounds", np.asarray(rounds)), models.constant("yes", np.asarray(True))]
    return float_model([helper.make_node("Loop", ["rounds", "yes", "x"], ["y"], body=body)], constants)


def bomb(elements: int) -> bytes:
    """A file of some hundred bytes whose run takes four bytes for each of so many elements."""
    return float_model(
        [
            helper.make_node("ConstantOfShape", ["size"], ["big"]),
            helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0),
            helper.make_node("Add", ["x", "sum"], ["y"]),
        ],
        [models.constant("size", np.asarray([elements], dtype=np.int64))],
    )


def _expand(elements: int) -> bytes:
    return float_model(
        [
            helper.make_node("Expand", ["one", "size"], ["big"]),
            helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0),
            helper.make_node("Add", ["x", "sum"], ["y"]),
        ],
        [models.constant("size", np.asarray([elements])), models.constant("one", np.ones(1, np.float32))],
    )


def _random() -> bytes:
    noise = helper.make_node("RandomNormalLike", ["x"], ["noise"])
    return float_model([noise, helper.make_node("Add", ["x", "noise"], ["y"])])


def _dropout() -> bytes:
    constants = [models.constant("ratio", np.asarray(0.5, np.float32)), models.constant("on", np.asarray(True))]
    return float_model([helper.make_node("Dropout", ["x", "ratio", "on"], ["y"])], constants)
