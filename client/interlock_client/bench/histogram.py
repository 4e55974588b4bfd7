"""Durations counted in buckets that grow with them: exact to 0.8 %, whatever their size, in a few kilobytes. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Self

_BITS: Final = 7
_LINEAR: Final = 1 << _BITS
"""Durations under so many microseconds have a bucket for each; above, every doubling has half as many buckets."""
_HALF: Final = _LINEAR // 2


def bucket(micros: int) -> int:
    """Return the number of the bucket that holds a duration in whole microseconds; negative ones count as none."""
    if micros < _LINEAR:
        return max(0, micros)
    shift = micros.bit_length() - _BITS
    return _LINEAR + (shift - 1) * _HALF + (micros >> shift) - _HALF


def bounds(number: int) -> tuple[int, int]:
    """Return the first duration of a bucket, and the first one beyond it, in microseconds."""
    if number < _LINEAR:
        return number, number + 1
    shift, place = divmod(number - _LINEAR, _HALF)
    first = (place + _HALF) << (shift + 1)
    return first, first + (1 << (shift + 1))


@dataclass(frozen=True, slots=True)
class Bucket:
    """How many durations lay from `from_s` on and under `until_s`."""

    from_s: float
    until_s: float
    count: int


@dataclass(frozen=True, slots=True)
class Spread:
    """What a set of durations is like, in seconds; quantiles are off by 0.8 % at most."""

    count: int
    mean_s: float
    p50_s: float
    p90_s: float
    p95_s: float
    p99_s: float
    p999_s: float
    max_s: float


class Histogram:
    """A growing set of durations. Not for several threads at once: give each its own, and `add` them up."""

    __slots__ = ("_counts", "_highest", "_total")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._total = 0
        self._highest = 0

    def __len__(self) -> int:
        return sum(self._counts.values())

    def record(self, seconds: float) -> None:
        """Count one duration."""
        micros = max(0, round(seconds * 1e6))
        number = bucket(micros)
        self._counts[number] = self._counts.get(number, 0) + 1
        self._total += micros
        if micros > self._highest:
            self._highest = micros

    def add(self, other: Histogram) -> None:
        """Count all that another one counted."""
        for number, count in other._counts.items():
            self._counts[number] = self._counts.get(number, 0) + count
        self._total += other._total
        self._highest = max(self._highest, other._highest)

    def quantile_s(self, share: float) -> float:
        """Return the duration in seconds that a share (0 to 1) of all of them does not exceed; 0 where there are none.

        It is the middle of a bucket, but never beyond the longest duration that was counted.
        """
        wanted = share * len(self)
        seen = 0
        for number in sorted(self._counts):
            seen += self._counts[number]
            if seen >= wanted:
                first, beyond = bounds(number)
                return min(first if beyond == first + 1 else (first + beyond) / 2, self._highest) / 1e6
        return 0.0

    def spread(self) -> Spread:
        """Sum it up."""
        count = len(self)
        return Spread(
            count=count,
            mean_s=self._total / count / 1e6 if count else 0.0,
            p50_s=self.quantile_s(0.5),
            p90_s=self.quantile_s(0.9),
            p95_s=self.quantile_s(0.95),
            p99_s=self.quantile_s(0.99),
            p999_s=self.quantile_s(0.999),
            max_s=self._highest / 1e6,
        )

    def buckets(self) -> Iterator[Bucket]:
        """Yield the buckets that hold something, shortest durations first."""
        for number in sorted(self._counts):
            first, beyond = bounds(number)
            yield Bucket(first / 1e6, beyond / 1e6, self._counts[number])

    def to_json(self) -> Mapping[str, object]:
        """Return it as JSON types."""
        return {"counts": sorted(self._counts.items()), "total": self._total, "highest": self._highest}

    @classmethod
    def from_json(cls, found: Mapping[str, object]) -> Self:
        """Read what `to_json` made; raises ValueError."""
        counts, total, highest = found["counts"], found["total"], found["highest"]
        if not isinstance(counts, list) or not isinstance(total, int) or not isinstance(highest, int):
            raise ValueError("this is no histogram")
        made = cls()
        made._counts = {int(number): int(count) for number, count in counts}
        made._total, made._highest = total, highest
        return made
