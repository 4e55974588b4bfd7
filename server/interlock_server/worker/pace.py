"""How quick a version's runs are, and so which of them may run on the thread that receives requests.

A run there delays every other request, health checks too; one on an engine thread costs two hand-overs between threads,
several times what a tiny run costs. So runs are judged by their size: those no larger than twice what was measured to
be quick are expected to be quick. Pure, but for its memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from interlock_registry.manifest import Operator

QUICK_S: Final = 300e-6
"""The longest run that the receiving thread takes."""
_CALM_S: Final = 200e-6
"""A run must be as quick as this to count for a return: what lies between changes nothing."""
_OUTRAGEOUS_S: Final = 10e-3
"""One such run is enough; shorter ones may have been the scheduler's doing."""
_STRIKES: Final = 4
_MOST_CALM: Final = 256
_FORGIVEN_AFTER: Final = 4096


_ONNX: Final = "ai.onnx"
_NAMES: Final = """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization BitShift Cast CastLike
    Ceil Celu Clip Concat Constant Conv ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Det Div Dropout
    Einsum Elu Equal Erf Exp Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm GlobalAveragePool
    GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish Hardmax Identity
    InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax
    LpNormalization LpPool MatMul MatMulInteger Max MaxPool Mean MeanVarianceNormalization Min Mish Mod Mul Neg Not Or
    PRelu Pow QLinearConv QLinearMatMul QuantizeLinear RMSNormalization RNN Reciprocal ReduceL1 ReduceL2 ReduceLogSum
    ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Round
    ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Softmax Softplus Softsign SpaceToDepth Split
    Sqrt Squeeze Sub Sum Swish Tan Tanh ThresholdedRelu Transpose Trilu Unsqueeze Where Xor
"""
_PLAIN: Final = frozenset(_NAMES.split())
"""Operators whose time follows from the sizes of their inputs, whatever is in them."""


def depends_on_sizes_alone(operators: Iterable[Operator]) -> bool:
    """Tell whether the sizes of a graph's inputs decide how long it runs; False where its operators are not known.

    One that loops as often as an input says must never run where requests are received.
    """
    found = [each.domain == _ONNX and each.op_type in _PLAIN for each in operators]
    return bool(found) and all(found)


class Pace:
    """Learns from each run. Not thread-safe: its batcher holds a lock."""

    __slots__ = ("_calm", "_good", "_needed", "_strikes", "limit", "may_be_quick")

    def __init__(self, *, may_be_quick: bool = True) -> None:
        """Begin with knowing nothing; what may not be quick is never expected to be."""
        self.may_be_quick: Final = may_be_quick
        self.limit = -1
        """The size, in bytes of inputs, up to which a run is expected to be quick; -1 where none is."""
        self._calm = 0
        self._needed = 1
        self._strikes = 0
        self._good = 0

    def ran(self, size: int, run_s: float) -> None:
        """Take the time of a run of inputs of that size."""
        if not self.may_be_quick:
            return
        expected = size <= self.limit
        if run_s > QUICK_S:
            if expected:
                self._disappoint(size, run_s)
            return
        if expected and (self._strikes or self._needed > 1):
            self._forgive()
        if 2 * size > self.limit and run_s <= _CALM_S:
            self._calm += 1
            if self._calm >= self._needed:
                self._calm, self.limit = 0, 2 * size + 1

    def _disappoint(self, size: int, run_s: float) -> None:
        """Count a run that was expected to be quick; after too many of them, runs of its size are no longer."""
        self._strikes += _STRIKES if run_s > _OUTRAGEOUS_S else 1
        if self._strikes >= _STRIKES:
            self.limit = size // 2 - 1
            # It takes longer to be trusted again: a version must not change its mind all the time.
            self._needed = min(4 * self._needed, _MOST_CALM)
            self._strikes = self._calm = self._good = 0

    def _forgive(self) -> None:
        self._strikes = max(0, self._strikes - 1)
        self._good += 1
        if self._good >= _FORGIVEN_AFTER:
            self._good, self._needed = 0, max(1, self._needed // 2)
