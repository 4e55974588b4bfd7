"""What a load process brings back: when each request was sent and answered, and by which version."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Incident:
    """A request that failed, or whose answer was wrong."""

    at: float
    kind: str
    """"failed" or "wrong"."""
    what: str


@dataclass(frozen=True, slots=True)
class Records:
    """Answered requests in the order in which they began, on the clock that all processes of a machine share."""

    started: Times
    """When the request was to be sent; latency counts from here."""
    sent: Times
    """When it was sent: later than `started` where a paced client was still waiting for the answer before."""
    ended: Times
    version: npt.NDArray[np.int16]
    incidents: tuple[Incident, ...]

    def save(self, path: Path) -> None:
        """Write them where the parent process finds them."""
        text = json.dumps([asdict(each) for each in self.incidents])
        np.savez(
            path,
            started=self.started,
            sent=self.sent,
            ended=self.ended,
            version=self.version,
            incidents=np.array(text),
        )

    @classmethod
    def load(cls, path: Path) -> Records:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            incidents = tuple(Incident(**each) for each in json.loads(str(file["incidents"])))
            return cls(file["started"], file["sent"], file["ended"], file["version"], incidents)

    @classmethod
    def merge(cls, parts: Sequence[Records]) -> Records:
        """Join several into one, in the order in which requests began."""
        started = np.concatenate([part.started for part in parts])
        order = np.argsort(started, kind="stable")
        return cls(
            started[order],
            np.concatenate([part.sent for part in parts])[order],
            np.concatenate([part.ended for part in parts])[order],
            np.concatenate([part.version for part in parts])[order],
            tuple(sorted((each for part in parts for each in part.incidents), key=lambda each: each.at)),
        )

    def count(self, kind: str) -> int:
        """Return the number of incidents of a kind."""
        return sum(each.kind == kind for each in self.incidents)
