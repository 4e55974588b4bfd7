"""NaN and infinity: found in what goes in and out of the versions that ask for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from interlock.errors import InvalidInput, NonFiniteOutput, Violation
from interlock.model import NonFinite
from interlock.types import Array, DType, TensorSpec

from interlock_server.snapshot import VersionKey, VersionSpec

INPUT: Final = "input"
OUTPUT: Final = "output"
SIDES: Final = (INPUT, OUTPUT)

Count = Callable[[VersionKey, str], None]
"""Counts a request of a version that had such numbers on a side."""

_FLOATS: Final = frozenset({DType.FP16, DType.FP32, DType.FP64, DType.BF16})
_BF16_EXPONENT: Final = np.uint16(0x7F80)
"""All ones in NaN and infinity, and in nothing else."""


class Screen:
    """Looks at the numbers of one version's requests."""

    def __init__(self, spec: VersionSpec) -> None:
        self._key: Final = spec.key
        self._refuses: Final = spec.config.non_finite is NonFinite.REFUSE
        self._inputs: Final = _floats(spec.signature.inputs)
        self._optional: Final = {each.name: each for each in spec.signature.optional if each.dtype in _FLOATS}
        self._outputs: Final = _floats(spec.signature.outputs)

    @classmethod
    def of(cls, spec: VersionSpec) -> Screen | None:
        """Return what looks at a version's numbers; None where nobody asks for it."""
        return None if spec.config.non_finite is NonFinite.PASS else cls(spec)

    def inputs(self, arrays: Sequence[Array], optional: Mapping[str, Array], count: Count) -> None:
        """Count a request whose inputs (in signature order, and optional ones by name) have such numbers.

        Raises InvalidInput where the version refuses them.
        """
        for position, spec in self._inputs.items():
            if not is_finite(spec.dtype, arrays[position]):
                return self._found(spec, count)
        for name, array in optional.items():
            if name in self._optional and not is_finite(self._optional[name].dtype, array):
                return self._found(self._optional[name], count)

    def outputs(self, arrays: Sequence[Array], positions: Sequence[int], count: Count) -> None:
        """Count a request that is answered with outputs (at positions of the signature) that have such numbers.

        Raises NonFiniteOutput where the version refuses to give them.
        """
        for position in positions:
            spec = self._outputs.get(position)
            if spec is not None and not is_finite(spec.dtype, arrays[position]):
                count(self._key, OUTPUT)
                if self._refuses:
                    raise NonFiniteOutput(spec.name)
                return

    def _found(self, spec: TensorSpec, count: Count) -> None:
        count(self._key, INPUT)
        if self._refuses:
            what = (
                f"input {spec.name!r} holds NaN or infinity, which {self._key} does not take (serving config, "
                "non_finite); replace those numbers before you ask"
            )
            raise InvalidInput(what, [Violation(f"inputs[{spec.name}]", what)])


def _floats(specs: Sequence[TensorSpec]) -> Mapping[int, TensorSpec]:
    return {position: spec for position, spec in enumerate(specs) if spec.dtype in _FLOATS}


def is_finite(dtype: DType, array: Array) -> bool:
    """Tell whether every number of a tensor of floats is finite."""
    if dtype is DType.BF16:
        bits = array.astype(np.uint16, copy=False)
        return not np.any((bits & _BF16_EXPONENT) == _BF16_EXPONENT)
    return bool(np.isfinite(array).all())
