"""Traces of sampled requests: one line in the log for each, with where its time went."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from interlock.errors import InvalidArgument, Violation
from interlock.types import TensorSpec

from interlock_server.process.logs import TRACES
from interlock_server.worker.trace_budget import Budget, OwnBudget
from interlock_server.worker.work import Ran

log = logging.getLogger(TRACES)

_MAX_RATE: Final = (1 << 32) - 1


class TraceLevel(Enum):
    """How much of a request is traced."""

    OFF = "OFF"
    TIMESTAMPS = "TIMESTAMPS"
    TENSORS = "TENSORS"
    """The names, datatypes and shapes of its tensors too."""


@dataclass(frozen=True, slots=True)
class TraceSetting:
    """Which requests are traced, and how."""

    level: TraceLevel = TraceLevel.OFF
    rate: int = 1000
    """Every n-th request."""
    count: int = -1
    """So many more; -1 is without end."""


@dataclass(frozen=True, slots=True)
class OwnSetting:
    """What was set for a model, in the words of the protocol; for all of them where it has no name."""

    model: str
    values: Mapping[str, str]


@dataclass(slots=True)
class _Sampling:
    """A setting with its counter."""

    setting: TraceSetting
    budget: str
    """Whose count it draws from, where the setting has one: its model's, or "" for the common one."""
    seen: int = 0
    spent: bool = False
    """Whether nothing is left of its count."""

    @property
    def is_off(self) -> bool:
        """Whether no request can be chosen by it."""
        return self.setting.level is TraceLevel.OFF or self.setting.count == 0 or self.spent


def _text(value: TraceLevel | int) -> str:
    return value.value if isinstance(value, TraceLevel) else str(value)


class Tracer:
    """Chooses requests and writes their traces. Thread-safe."""

    def __init__(self, budget: Budget | None = None) -> None:
        """Take what counts the requests that are still to be traced; without it this worker counts its own."""
        self._lock = threading.Lock()
        self._budget = OwnBudget() if budget is None else budget
        self._common = _Sampling(TraceSetting(), "")
        self._own: dict[str, dict[str, TraceLevel | int]] = {}
        self._by_model: dict[str, _Sampling] = {}
        self.active = False
        """Whether any request may be traced: what is asked for each of them."""

    def begin(self, model: str, changes: Mapping[str, Sequence[str]]) -> TraceSetting:
        """Change a setting as `change` does, and count its trace_count from the start."""
        read = {name: _read(name, values) for name, values in changes.items()}
        count = read.get("trace_count")
        if isinstance(count, int) and count >= 0:
            with self._lock:
                self._budget.put(model, count)
        return self.change(model, changes)

    def change(self, model: str, changes: Mapping[str, Sequence[str]]) -> TraceSetting:
        """Change the setting of a model, "" for all that have none of their own, and return what it is now.

        An empty value goes back to what the setting is derived from. Raises InvalidArgument, and then changes nothing.
        """
        read = [(name, _read(name, values)) for name, values in changes.items()]
        with self._lock:
            if model:
                own = dict(self._own.get(model, {}))
                for name, value in read:
                    own.pop(name, None)
                    if value is not None:
                        own[name] = value
                self._own[model] = own
                if not own:
                    del self._own[model]
            else:
                common = self._common.setting
                for name, value in read:
                    common = _with(common, name, _BUILT_IN[name] if value is None else value)
                self._common = _Sampling(common, "")
            self._by_model = {name: self._derived(name, values) for name, values in self._own.items()}
            self._look()
            return self._now(self._by_model.get(model, self._common))

    def own(self) -> tuple[OwnSetting, ...]:
        """Return what was set: for all models first, then for single ones."""
        with self._lock:
            common = self._common.setting
            values: dict[str, TraceLevel | int] = {
                "trace_level": common.level,
                "trace_rate": common.rate,
                "trace_count": common.count,
            }
            return tuple(
                OwnSetting(model, {name: _text(value) for name, value in own.items()})
                for model, own in {"": values, **self._own}.items()
            )

    def _derived(self, model: str, values: Mapping[str, TraceLevel | int]) -> _Sampling:
        setting = self._common.setting
        for name, value in values.items():
            setting = _with(setting, name, value)
        return _Sampling(setting, model if "trace_count" in values else "")

    def _now(self, sampling: _Sampling) -> TraceSetting:
        setting = sampling.setting
        return setting if setting.count < 0 else replace(setting, count=self._budget.left(sampling.budget))

    def _look(self) -> None:
        self.active = not all(each.is_off for each in (self._common, *self._by_model.values()))

    def sample(self, model: str) -> TraceLevel:
        """Return how the next request of a model is traced; OFF where it is not."""
        with self._lock:
            sampling = self._by_model.get(model, self._common)
            if sampling.is_off:
                return TraceLevel.OFF
            sampling.seen += 1
            if sampling.seen % sampling.setting.rate:
                return TraceLevel.OFF
            if sampling.setting.count > 0 and not self._budget.take(sampling.budget):
                sampling.spent = self._budget.left(sampling.budget) <= 0
                self._look()
                return TraceLevel.OFF
            return sampling.setting.level


@dataclass(frozen=True, slots=True)
class Trace:
    """A request that was chosen."""

    level: TraceLevel
    request_id: str
    model: str
    version: str
    alias: str
    inputs: Sequence[TensorSpec]
    shapes: Sequence[Sequence[int]]

    def answered(self, total_s: float, queue_s: float, output_s: float, ran: Ran) -> None:
        """Write the trace of a request that was answered."""
        self._write(
            "OK",
            total_s,
            queue_us=_us(queue_s),
            compute_input_us=_us(ran.input_s),
            compute_infer_us=_us(ran.run_s),
            compute_output_us=_us(output_s),
            rows_of_run=ran.rows,
        )

    def failed(self, code: str, total_s: float) -> None:
        """Write the trace of a request that failed."""
        self._write(code, total_s)

    def _write(self, code: str, total_s: float, **times: int) -> None:
        facts: dict[str, object] = {
            "request_id": self.request_id,
            "model": self.model,
            "version": self.version,
            "alias": self.alias,
            "code": code,
            "total_us": _us(total_s),
            **times,
        }
        if self.level is TraceLevel.TENSORS:
            facts["inputs"] = [
                {"name": spec.name, "datatype": spec.dtype.value, "shape": list(shape)}
                for spec, shape in zip(self.inputs, self.shapes, strict=True)
            ]
        log.info("traced request", extra=facts)


def _us(seconds: float) -> int:
    return int(seconds * 1e6)


_BUILT_IN: Final[Mapping[str, TraceLevel | int]] = {
    "trace_level": TraceSetting().level,
    "trace_rate": TraceSetting().rate,
    "trace_count": TraceSetting().count,
}


def _with(setting: TraceSetting, name: str, value: TraceLevel | int) -> TraceSetting:
    if isinstance(value, TraceLevel):
        return replace(setting, level=value)
    return replace(setting, rate=value) if name == "trace_rate" else replace(setting, count=value)


def _read(name: str, values: Sequence[str]) -> TraceLevel | int | None:
    """Read one setting of a request; None where it is to be dropped."""
    if name not in _BUILT_IN:
        if name in ("trace_file", "log_frequency", "trace_mode"):
            raise _refuse(name, f"'{name}' can not be updated through network protocol: traces go to the server's log")
        raise _refuse(name, f"there is no trace setting {name[:100]!r}")
    if not values:
        return None
    if name == "trace_level":
        return _level(values)
    if len(values) != 1:
        raise _refuse(name, f"expect only 1 value for '{name}'")
    least, most = (1, _MAX_RATE) if name == "trace_rate" else (-1, (1 << 31) - 1)
    try:
        number = int(values[0])
    except ValueError:
        raise _refuse(name, f"Unable to parse '{name}', got: {values[0][:100]}") from None
    if not least <= number <= most:
        raise _refuse(name, f"Unable to parse '{name}', value is out of range [ {least}, {most} ], got: {number}")
    return number


def _level(values: Sequence[str]) -> TraceLevel:
    known = {level.value for level in TraceLevel}
    for value in values:
        if value not in known:
            raise _refuse("trace_level", f"there is no trace level {value[:100]!r}; use {', '.join(sorted(known))}")
    if "OFF" in values and len(values) > 1:
        raise _refuse("trace_level", "Expect only one trace level 'OFF' is specified")
    return TraceLevel.TENSORS if "TENSORS" in values else TraceLevel(values[0])


def _refuse(name: str, what: str) -> InvalidArgument:
    return InvalidArgument(what, violations=[Violation(f"settings[{name[:100]}]", what)])
