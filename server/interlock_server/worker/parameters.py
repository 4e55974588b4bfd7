"""The parameters that a request may carry, and those that it may not. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from interlock.errors import InvalidInput, Violation
from interlock.protocols.open_inference_pb2 import InferParameter, ModelInferRequest

from interlock_server.worker.work import DEFAULT_PRIORITY, PRIORITY_LEVELS

_SEQUENCES: Final = ("sequence_id", "sequence_start", "sequence_end")
_RESERVED_PREFIX: Final = "triton_"
_RESERVED: Final = frozenset({"triton_enable_empty_final_response"})
TELLING: Final = frozenset({"priority", "timeout", *_RESERVED})
"""Parameters that are looked at and leave nothing else to look at: requests with the same ones ask for the same."""
_MAX_TIMEOUT_US: Final = 1 << 53


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """What a request asks for beside its tensors."""

    priority: int = DEFAULT_PRIORITY
    """1 goes first."""
    timeout_s: float | None = None
    """How long the caller gives it, from its arrival; None leaves it to the call's deadline."""


NO_OPTIONS: Final = RequestOptions()


@dataclass(frozen=True, slots=True)
class SharedSlice:
    """A part of a shared memory region."""

    region: str
    offset: int
    byte_size: int


def read_options(request: ModelInferRequest) -> RequestOptions:
    """Read a request's parameters; raises InvalidInput for wrong values and for reserved names that do not work here.

    Names that nobody has reserved are the caller's own and mean nothing.
    """
    if not request.parameters:
        return NO_OPTIONS
    for name in request.parameters:
        if name in _SEQUENCES:
            raise _refuse(f"parameters[{name}]", f"parameter {name!r}: no model of this server takes sequences")
        if name.startswith(_RESERVED_PREFIX) and name not in _RESERVED:
            raise _refuse(f"parameters[{name}]", f"parameter {name!r}: this server knows no such reserved parameter")
    priority = _integer(request.parameters, "priority", "parameters", PRIORITY_LEVELS)
    timeout_us = _integer(request.parameters, "timeout", "parameters", _MAX_TIMEOUT_US)
    return RequestOptions(priority or DEFAULT_PRIORITY, timeout_us / 1e6 if timeout_us else None)


def shared_slice(parameters: Mapping[str, InferParameter], where: str) -> SharedSlice | None:
    """Read where a tensor lies in shared memory, None where it does not; raises InvalidInput."""
    if "shared_memory_region" not in parameters:
        return None
    named = parameters["shared_memory_region"]
    if named.WhichOneof("parameter_choice") != "string_param":
        raise _refuse(where, f"{where}: parameter 'shared_memory_region' must be a string")
    size = _integer(parameters, "shared_memory_byte_size", where, (1 << 63) - 1)
    if not size:
        raise _refuse(where, f"{where}: parameter 'shared_memory_byte_size' must be given and over 0")
    offset = _integer(parameters, "shared_memory_offset", where, (1 << 63) - 1)
    return SharedSlice(named.string_param, offset, size)


def refuse_classification(parameters: Mapping[str, InferParameter], where: str) -> None:
    """Raise InvalidInput where an output is asked for as classes, which this server does not do."""
    if "classification" in parameters:
        raise _refuse(where, f"{where}: the classification extension is not supported; take the output itself")


def _integer(parameters: Mapping[str, InferParameter], name: str, where: str, most: int) -> int:
    """Return an integer parameter; 0 where it is not given."""
    if name not in parameters:
        return 0
    kind = parameters[name].WhichOneof("parameter_choice")
    if kind not in ("int64_param", "uint64_param"):
        raise _refuse(f"{where}[{name}]", f"{where}: parameter {name!r} must be an integer")
    value: int = getattr(parameters[name], kind)
    if not 0 <= value <= most:
        raise _refuse(f"{where}[{name}]", f"{where}: parameter {name!r} is {value}; it must be from 0 to {most}")
    return value


def _refuse(where: str, what: str) -> InvalidInput:
    return InvalidInput(what, [Violation(where, what)])
