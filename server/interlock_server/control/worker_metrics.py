"""The workers' Prometheus texts as one: every series added up over the workers. Pure but for what it remembers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

_COUNTED: Final = ("counter", "histogram")
"""Types whose values only grow: they must not fall because the process that counted has ended."""

Series = tuple[str, tuple[tuple[str, str], ...]]
"""A sample's name and its labels."""


@dataclass(frozen=True, slots=True)
class Scraped:
    """What one worker's process said."""

    worker: str
    pid: int
    text: bytes


@dataclass(slots=True)
class _Worker:
    pid: int
    families: dict[str, Metric] = field(default_factory=dict)
    """As they were when it answered last."""


class WorkerMetrics:
    """Adds the workers up, and what their ended processes had counted: a sum that falls would count as a restart."""

    def __init__(self) -> None:
        self._workers: dict[str, _Worker] = {}
        self._ended: dict[str, Metric] = {}

    def text(self, scraped: Iterable[Scraped]) -> bytes:
        """Take what the workers say now, and return the sums; of one that says nothing what it had counted."""
        heard: set[str] = set()
        for each in scraped:
            known = self._workers.get(each.worker)
            if known is not None and known.pid != each.pid:
                self._ended = summed([self._ended, _counted(known.families)])
            families = {family.name: family for family in text_string_to_metric_families(each.text.decode())}
            self._workers[each.worker] = _Worker(each.pid, families)
            heard.add(each.worker)
        now = (
            worker.families if name in heard else _counted(worker.families) for name, worker in self._workers.items()
        )
        total = summed([self._ended, *now])
        registry = CollectorRegistry()
        registry.register(_Given(total))
        return generate_latest(registry)


def summed(parts: Iterable[Mapping[str, Metric]]) -> dict[str, Metric]:
    """Return the families of all parts, with the values of equal series added up."""
    families: dict[str, Metric] = {}
    values: dict[str, dict[Series, float]] = {}
    for part in parts:
        for name, family in part.items():
            families.setdefault(name, family)
            sums = values.setdefault(name, {})
            for sample in family.samples:
                series = (sample.name, tuple(sample.labels.items()))
                sums[series] = sums.get(series, 0.0) + sample.value
    result: dict[str, Metric] = {}
    for name, family in families.items():
        result[name] = Metric(name, family.documentation, family.type)
        for (sample_name, labels), value in values[name].items():
            result[name].add_sample(sample_name, dict(labels), value)
    return result


def _counted(families: Mapping[str, Metric]) -> dict[str, Metric]:
    return {name: family for name, family in families.items() if family.type in _COUNTED}


class _Given(Collector):
    def __init__(self, families: Mapping[str, Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families.values()
