"""How many sessions a version has in a process, and which of its runs they take. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Placement:
    """One session of a version."""

    device: int
    """The GPU; on the CPU it means nothing."""
    lanes: int
    """How many runs it may have at the same time."""
    alone: bool = False
    """Whether it is for runs beside which there is no other: on the CPU such a run has all cores."""


def on_cpu(instances: int, threads: int) -> Sequence[Placement]:
    """Return the sessions of a version with so many instances on the CPU, where a session has any number of runs.

    Instances share out the threads. A run beside which there is no other has them all, in a session of its own.
    """
    shared = Placement(0, instances)
    return (shared,) if share(threads, instances) == threads else (shared, Placement(0, 1, alone=True))


def share(threads: int, lanes: int) -> int:
    """Return how many threads a run has where so many take place at a time: more would only be in each other's way."""
    return max(1, threads // lanes)


def on_gpus(instances: int, devices: Sequence[int]) -> Sequence[Placement]:
    """Return the sessions of a version with so many instances on GPUs.

    A session's runs go one after the other there, so each instance has its own, on the devices in turn.
    """
    return tuple(Placement(devices[index % len(devices)], 1) for index in range(instances))
