"""Quantized versions: the forms there are, what each may cost in accuracy, and what one did cost. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, Final

from interlock.errors import InvalidArgument, Violation
from interlock.golden import Tolerance
from interlock.model import Version


class Form(Enum):
    """A narrower form of a model."""

    INT8 = "int8"
    """Weights of matrix products, LSTMs and embeddings in 8 bits; activations are scaled for each run."""
    FP16 = "fp16"
    """Weights and arithmetic in 16 bits; inputs and outputs keep their datatypes."""


SHARES: Final[Mapping[Form, Tolerance]] = {
    Form.INT8: Tolerance(atol=0.05, rtol=0.1),
    Form.FP16: Tolerance(atol=0.01, rtol=0.01),
}
"""The tolerance of each form where none is stated; `atol` is a share of the largest golden output, since outputs have
scales of their own."""


@dataclass(frozen=True, slots=True)
class OutputParity:
    """How far one output is from the parent's, over every golden sample."""

    output: str
    max_abs: float
    max_rel: float
    """Of elements that are not next to nothing: at least a hundredth of the output's largest."""
    rel_l2: float
    """The length of the difference over the length of the parent's output."""
    argmax: float | None
    """The share of rows whose largest element is the same one; None where rows have no elements to choose from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """What a quantized version has lost and gained against its parent."""

    form: Form
    parent: int
    """The version that it was made of."""
    samples: int
    """Golden samples that both answered."""
    tolerance: Tolerance
    """What was allowed from the golden outputs, which are PyTorch's."""
    outputs: tuple[OutputParity, ...]
    parent_bytes: int
    bytes: int
    parent_run_s: float
    """The median of the runs over the golden samples, on one thread of a CPU."""
    run_s: float
    converted: int
    """Operators (int8) or weight tensors (fp16) that have the new form."""

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {
            **asdict(self),
            "form": self.form.value,
            "outputs": [asdict(each) for each in self.outputs],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Quantization:
        """Read a report; raises KeyError, TypeError, ValueError where it is not one."""
        return cls(
            form=Form(data["form"]),
            parent=int(data["parent"]),
            samples=int(data["samples"]),
            tolerance=Tolerance(atol=float(data["tolerance"]["atol"]), rtol=float(data["tolerance"]["rtol"])),
            outputs=tuple(
                OutputParity(
                    output=str(each["output"]),
                    max_abs=float(each["max_abs"]),
                    max_rel=float(each["max_rel"]),
                    rel_l2=float(each["rel_l2"]),
                    argmax=None if each["argmax"] is None else float(each["argmax"]),
                )
                for each in data["outputs"]
            ),
            parent_bytes=int(data["parent_bytes"]),
            bytes=int(data["bytes"]),
            parent_run_s=float(data["parent_run_s"]),
            run_s=float(data["run_s"]),
            converted=int(data["converted"]),
        )


@dataclass(frozen=True, slots=True)
class Quantized:
    """A new version, and how it compares with the one that it was made of."""

    version: Version
    report: Quantization


def form_named(text: str) -> Form:
    """Return the form of a name; raises InvalidArgument."""
    try:
        return Form(text)
    except ValueError as error:
        known = ", ".join(form.value for form in Form)
        what = f"there is no form {text[:40]!r}; there are {known}"
        raise InvalidArgument(what, violations=[Violation("to", what)]) from error


def allowed(form: Form, atol: float | None, rtol: float | None, largest: float, max_share: float) -> Tolerance:
    """Return the tolerance that is meant, for outputs up to `largest`; raises InvalidArgument.

    What is not stated is the form's. Nobody may state more than `max_share` of the largest output, or as `rtol`.
    """
    share = SHARES[form]
    meant = Tolerance(atol=share.atol * largest if atol is None else atol, rtol=share.rtol if rtol is None else rtol)
    for name, value, most in (("atol", meant.atol, max_share * largest), ("rtol", meant.rtol, max_share)):
        if not (math.isfinite(value) and 0 <= value <= most * (1 + 1e-9)):
            what = (
                f"{name} is {value:g}; between 0 and {most:g} is possible: quantize_max_share of the server is "
                f"{max_share:g}, and the largest golden output {largest:g}"
            )
            raise InvalidArgument(what, violations=[Violation(name, what)])
    return meant
