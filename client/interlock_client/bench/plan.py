"""Which load is put on a model: closed or open loop, and when each request of an open one is due. Pure."""

from __future__ import annotations

import enum
import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Self

from interlock_client._access import Tls


class Arrivals(enum.Enum):
    """How the requests of an open loop lie in time."""

    POISSON = "poisson"
    """As from many callers who know nothing of one another: gaps of random length."""
    CONSTANT = "constant"
    """At equal distances."""


@dataclass(frozen=True, slots=True)
class Load:
    """One load; exactly one of `concurrency` and `rate` is not 0."""

    concurrency: int = 0
    """Closed loop: so many requests are in flight, each followed by the next as soon as it is answered."""
    rate: float = 0.0
    """Open loop: so many requests a second, whether the server keeps up or not."""
    arrivals: Arrivals = Arrivals.POISSON

    def __str__(self) -> str:
        return f"{self.concurrency} in flight" if self.concurrency else f"{self.rate:g}/s {self.arrivals.value}"

    def share(self, index: int, of: int) -> Load:
        """Return the part of the load that one of several processes makes."""
        if self.concurrency:
            return Load(self.concurrency * (index + 1) // of - self.concurrency * index // of)
        return Load(rate=self.rate / of, arrivals=self.arrivals)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """When a load runs, on the clock that all processes of a machine share; what begins before `from_s` is warm-up."""

    start_s: float
    from_s: float
    until_s: float

    def holds(self, moment: float) -> bool:
        """Return whether a request that was due at a moment counts."""
        return self.from_s <= moment < self.until_s


def due(load: Load, start_s: float, until_s: float, *, index: int = 0, of: int = 1, seed: int = 0) -> Iterator[float]:
    """Yield the moments at which the requests of an open loop are due, for one of several processes.

    Constant arrivals of the processes interleave evenly.
    """
    gap_s = 1 / load.rate
    if load.arrivals is Arrivals.CONSTANT:
        first = start_s + gap_s * index / of
        number = 0
        while (moment := first + number * gap_s) < until_s:
            yield moment
            number += 1
        return
    draw = random.Random(f"{seed}/{index}")
    moment = start_s + draw.expovariate(load.rate)
    while moment < until_s:
        yield moment
        moment += draw.expovariate(load.rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a load process is told once: whom to ask and what."""

    address: str
    requests: tuple[str, ...]
    """Files with one serialised ModelInferRequest each; they are asked in turn."""
    connections: int
    timeout_s: float
    index: int
    of: int
    seed: int
    tls: Tls | None = None
    token: str = field(default="", repr=False)

    def to_json(self) -> str:
        """Return it as one line."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        found = json.loads(text)
        tls = None if found["tls"] is None else Tls(**found["tls"])
        return cls(**{**found, "requests": tuple(found["requests"]), "tls": tls})


@dataclass(frozen=True, slots=True)
class Turn:
    """What a load process is told for each load: its share of it, and when."""

    load: Load
    window: Window

    def to_json(self) -> str:
        """Return it as one line."""
        load = {**asdict(self.load), "arrivals": self.load.arrivals.value}
        return json.dumps({"load": load, "window": asdict(self.window)})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        found = json.loads(text)
        load = {**found["load"], "arrivals": Arrivals(found["load"]["arrivals"])}
        return cls(Load(**load), Window(**found["window"]))
