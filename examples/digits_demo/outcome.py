"""What happened, in figures, and whether it was as it should be. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from examples.digits_demo.load import Answer


@dataclass(frozen=True, slots=True)
class SwitchTime:
    """A promote or rollback: when it was asked for and acknowledged, by `time.perf_counter`."""

    action: str
    to_version: int
    asked_s: float
    acknowledged_s: float
    prepare_s: float
    commit_s: float

    @property
    def took_s(self) -> float:
        """Seconds from asking to the acknowledgement."""
        return self.acknowledged_s - self.asked_s


@dataclass(frozen=True, slots=True)
class Phase:
    """The time during which one version was live."""

    title: str
    version: int
    from_s: float
    """When the switch to it was acknowledged, or the load began."""
    asked_s: float
    """When the next switch was asked for: from here on the next version may answer too."""
    until_s: float
    """When the next switch was acknowledged, or the load ended."""
    accuracy: float
    """On all held-out images, asked for over gRPC while the load ran."""
    switch: SwitchTime | None
    """What began it; None for the first."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The load during a phase."""

    requests: int
    failed: int
    wrong: int
    """Answers that are not their version's, or not of the version that was live."""
    p50_s: float
    p99_s: float
    rate: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """The whole run."""

    phases: Sequence[Phase]
    answers: Sequence[Answer]
    min_rate: float
    trained_accuracy: Sequence[float]
    """PyTorch's own, of versions 1 and 2."""
    live_at_end: int
    """The version that `stable` means after the rollback, as the registry says."""


def figures(phase: Phase, answers: Sequence[Answer]) -> Figures:
    """Return what the load saw of a phase; a request belongs to the phase that it was sent in."""
    mine = [answer for answer in answers if phase.from_s <= answer.sent_s < phase.until_s]
    good = [answer for answer in mine if not answer.error]
    latencies = [answer.latency_s for answer in good] or [float("nan")]
    return Figures(
        requests=len(mine),
        failed=len(mine) - len(good),
        wrong=sum(bool(answer.wrong) or is_misdirected(answer, phase) for answer in good),
        p50_s=float(np.percentile(latencies, 50)),
        p99_s=float(np.percentile(latencies, 99)),
        rate=len(mine) / max(phase.until_s - phase.from_s, 1e-9),
    )


def is_misdirected(answer: Answer, phase: Phase) -> bool:
    """Say whether a request of a phase was answered by another version although no switch was under way."""
    return answer.version != phase.version and answer.sent_s + answer.latency_s < phase.asked_s


def faults(outcome: Outcome) -> list[str]:
    """List what was not as promised; nothing means that the demo succeeded."""
    found: list[str] = []
    seen = [figures(phase, outcome.answers) for phase in outcome.phases]
    failed = [answer.error for answer in outcome.answers if answer.error]
    if failed:
        found.append(f"{len(failed)} requests failed; the first: {failed[0]}")
    wrong = [answer.wrong for answer in outcome.answers if answer.wrong]
    if wrong:
        found.append(f"{len(wrong)} answers were wrong; the first: {wrong[0]}")
    elif any(each.wrong for each in seen):
        found.append(f"{sum(each.wrong for each in seen)} answers were of a version that was not live")
    for phase, each in zip(outcome.phases, seen, strict=True):
        if each.rate < outcome.min_rate:
            found.append(f"{phase.title!r} saw {each.rate:.0f} requests/s; at least {outcome.min_rate:g} were promised")
        trained = outcome.trained_accuracy[phase.version - 1]
        if abs(phase.accuracy - trained) > 1e-9:
            found.append(f"{phase.title!r} told {phase.accuracy:.2%} right over gRPC, PyTorch {trained:.2%}")
    good, bad = outcome.trained_accuracy
    if bad > good - 0.1:
        found.append(f"version 2 is not really worse: {bad:.2%} against {good:.2%}")
    if outcome.live_at_end != 1:
        found.append(f"version {outcome.live_at_end} is live after the rollback, not 1")
    return found
