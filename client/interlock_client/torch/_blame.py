"""What torch's exporter could not do, in one sentence: which operator or dimension, and which line of the model."""

from __future__ import annotations

import importlib.util
import re
import sysconfig
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Final

from interlock_client.torch._example import Example

if TYPE_CHECKING:
    from torch import fx

_PACKAGES: Final = ("torch", "onnxscript", "onnx_ir", "onnx", "interlock_client", "numpy", "sympy")
_DATA_DEPENDENT: Final = re.compile(r"data-dependent|GuardOnDataDependent|UnbackedSymInt")
_FROZEN: Final = re.compile(
    r"inferred a static shape of (?P<size>\d+) for dimension (?:inputs|args|kwargs)\S*?"
    r"\[(?:'(?P<name>[^']+)'|(?P<index>\d+))\]\.shape\[(?P<axis>\d+)\]"
)
_NO_OPERATOR: Final = re.compile(r"No ONNX function found for <OpOverload\(op='(?P<name>[^']+)'")
_STACK_LINE: Final = re.compile(
    r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)\n\s*(?P<code>[^\n]*)'
)
_MAX_TEXT: Final = 400


@dataclass(frozen=True, slots=True)
class Place:
    """A line of the user's model."""

    file: str
    line: int
    function: str
    code: str

    def __str__(self) -> str:
        """Return it for a message."""
        return f"{self.file}:{self.line} in {self.function}: {self.code.strip()[:120]}"


@dataclass(frozen=True, slots=True)
class Blame:
    """Why an export failed, and where, as far as torch tells."""

    why: str
    place: Place | None
    operator: str = ""


def explain(error: BaseException, example: Example) -> Blame:
    """Read torch's exception and everything that it was raised from."""
    chain = list(_causes(error))
    root = chain[-1]
    text = "\n".join(str(each) for each in chain)
    frozen = _FROZEN.search(text)
    missing = _NO_OPERATOR.search(text)
    if missing:
        node = next((node for each in chain if (node := _node(each.__traceback__))), None)
        name = missing["name"].replace("::", ".")
        place = _place_of_node(node)
        return Blame(f"operator {name} has no ONNX form: compute it before or after the model", place, name)
    if frozen:
        return Blame(_frozen(frozen, example), None)
    place = next((line for each in reversed(chain) if (line := _place(each.__traceback__))), None)
    if any(_is_packed(each.__traceback__) for each in chain):
        return Blame(
            "packed sequences have no ONNX form: run the layer on the padded batch, and mask what comes after each "
            "sequence's end",
            place,
        )
    if _DATA_DEPENDENT.search(f"{type(root).__name__} {text}"):
        return Blame(
            "its control flow depends on the values of a tensor, and one graph holds one way only: "
            "use torch.where or torch.cond",
            place,
        )
    return Blame(f"{type(root).__name__}: {_one_line(str(root))}", place)


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__


def _frozen(found: re.Match[str], example: Example) -> str:
    names = list(example.tensors)
    name = found["name"] or names[int(found["index"])]
    if name not in example.dynamic and len(names) == 1:
        name = names[0]  # a bare input is listed under the name that torch gave it
    axis = int(found["axis"])
    symbol = example.dynamic.get(name, {}).get(axis, "")
    return (
        f"dimension {axis} of input {name!r}{f' ({symbol})' if symbol else ''} is to be dynamic, but the model fixes "
        f"it at {found['size']}, the example's size: take sizes from the tensor (x.shape[{axis}]) where it reshapes or "
        "loops, or say that it is fixed by leaving it out of `dynamic`"
    )


def _one_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines)[:_MAX_TEXT]


def _place(trace: TracebackType | None) -> Place | None:
    """Return the innermost line that is neither ours nor a library's."""
    frames = [(frame, line) for frame, line in traceback.walk_tb(trace) if _is_users(frame.f_code.co_filename)]
    if not frames:
        return None
    frame, line = frames[-1]
    return _at(frame, line)


def _at(frame: FrameType, line: int) -> Place:
    summary = traceback.FrameSummary(frame.f_code.co_filename, line, frame.f_code.co_name)
    module = frame.f_locals.get("self")
    owner = f"{type(module).__name__}." if frame.f_code.co_name == "forward" and module is not None else ""
    return Place(_shown(summary.filename), line, f"{owner}{summary.name}", summary.line or "")


def _is_packed(trace: TracebackType | None) -> bool:
    """Return whether it broke where a sequence is packed, unpacked, or read packed by a recurrent layer."""
    from torch.nn.utils.rnn import PackedSequence

    return any(
        frame.f_code.co_name in ("pack_padded_sequence", "pad_packed_sequence")
        or any(isinstance(value, PackedSequence) for value in list(frame.f_locals.values()))
        for frame, _ in traceback.walk_tb(trace)
    )


def _node(trace: TracebackType | None) -> fx.Node | None:
    """Return the node that torch was translating: its exceptions tell the name only, its frames have the node."""
    from torch import fx

    for frame, _ in reversed(list(traceback.walk_tb(trace))):
        for value in frame.f_locals.values():
            if isinstance(value, fx.Node) and value.op == "call_function":
                return value
    return None


def _place_of_node(node: fx.Node | None) -> Place | None:
    stack = (node.meta.get("stack_trace") or "") if node is not None else ""
    lines = [found for found in _STACK_LINE.finditer(stack) if _is_users(found["file"])]
    if not lines:
        return None
    last = lines[-1]
    return Place(_shown(last["file"]), int(last["line"]), last["function"], last["code"])


def _is_users(file: str) -> bool:
    if file.startswith("<"):
        return False
    return not any(Path(file).is_relative_to(folder) for folder in _library_folders())


def _library_folders() -> Iterator[Path]:
    yield Path(sysconfig.get_path("stdlib"))
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            yield Path(folder)


def _shown(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
