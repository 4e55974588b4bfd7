"""What the corpus is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from interlock.types import DType
from onnx import NodeProto, TensorProto, helper

from tests import models


@dataclass(frozen=True, slots=True)
class Case:
    """A model that must be refused."""

    family: str
    name: str
    make: Callable[[], bytes]
    words: str
    """What the refusal says, among other things."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Uploaded beside it, by what the model calls them."""
    is_wild: bool = False
    """It hangs, eats memory or the like: only ever let loose behind the walls."""


def float_model(nodes: list[NodeProto], initializers: list[TensorProto] | None = None, **parts: object) -> bytes:
    """A model of x FP32[batch, 64] → y FP32[batch, 64]."""
    value = [models.value(name, DType.FP32, ("batch", 64)) for name in ("x", "y")]
    return models.build(nodes, value[:1], value[1:], initializers or [], **parts)  # type: ignore[arg-type]


def branch(name: str, nodes: list[NodeProto], initializers: list[TensorProto] | None = None) -> object:
    """A branch of an If that gives z FP32[batch, 64]."""
    return helper.make_graph(nodes, name, [], [models.value("z", DType.FP32, ("batch", 64))], initializers or [])


def choice(inner: object) -> list[NodeProto]:
    """Nodes that make y of x by one of two branches."""
    other = branch("else", [helper.make_node("Identity", ["x"], ["z"])])
    return [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["positive"], to=TensorProto.BOOL),
        helper.make_node("If", ["positive"], ["y"], "choice", then_branch=inner, else_branch=other),
    ]
