"""The calls that the gate did not let in, for a process's metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from interlock.errors import PermissionDenied, RateExceeded, Unauthenticated
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

_ALWAYS: Final = dict.fromkeys((each.reason for each in (PermissionDenied, RateExceeded, Unauthenticated)), 0)
"""A series that appears with its first refusal would hide that one from whoever looks at rates."""


class RefusedCalls(Collector):
    """Reads the gate when it is scraped."""

    def __init__(self, name: str, text: str, read: Callable[[], Mapping[str, int]]) -> None:
        self._name = name
        self._text = text
        self._read = read

    def collect(self) -> Iterable[CounterMetricFamily]:
        """Return how many there were, by the reason of their errors."""
        family = CounterMetricFamily(self._name, self._text, labels=["reason"])
        for reason, count in sorted((_ALWAYS | dict(self._read())).items()):
            family.add_metric([reason], count)
        yield family
