"""How two versions differ, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from interlock.diff import (
    AnswerComparison,
    AnswerDifference,
    FieldChange,
    TensorChange,
    TensorForm,
    TensorStatus,
    VersionDiff,
)
from interlock.model import Version
from rich.console import RenderableType

from interlock_client.cli.cells import clean, pairs, rows, size

_LISTED: Final = 20
"""Tensors of each kind that are listed unless all are asked for."""


def diff(found: VersionDiff, *, everything: bool) -> Sequence[RenderableType]:
    """Return a diff as tables, those left out that would be empty."""
    parts: list[RenderableType] = [headline(found), callers(found)]
    for title, changes in sections(found):
        if changes:
            parts += [title, rows(("what", "before", "after"), ((x.name, x.before, x.after) for x in changes))]
    if found.operators:
        columns = ("operator", "before", "after")
        kinds = ((f"{x.domain}.{x.op_type}", x.count_before, x.count_after) for x in found.operators)
        parts += ["operators", rows(columns, kinds)]
    parts += _weights(found, everything)
    parts += _answers("golden samples of both, where the inputs are the same", found.golden)
    parts += _answers(
        f"golden samples of {found.before.version}, and what {found.after.version} answers to them", found.replayed
    )
    return parts


def headline(found: VersionDiff) -> str:
    """Say in a sentence what is compared."""
    old, new = found.before, found.after
    same = ": the same artifact" if found.same_artifact else ""
    return f"{_named(old)} → {_named(new)}{same}"


def _named(version: Version) -> str:
    return f"{version.model}@{version.version} ({', '.join(version.aliases) or 'no alias'})"


def callers(found: VersionDiff) -> str:
    """Say whether callers break."""
    ways = (
        (f"serving {found.after.version} breaks callers of {found.before.version}", found.breaking),
        (f"going back to {found.before.version} breaks callers of {found.after.version}", found.breaking_back),
    )
    broken = [f"{what}: {'; '.join(why)}" for what, why in ways if why]
    return clean("\n".join(broken)) or "callers of either can be served by the other"


def sections(found: VersionDiff) -> Sequence[tuple[str, Sequence[FieldChange]]]:
    """Return the lists of fields by title."""
    return (
        ("signature", found.signature),
        ("serving", found.config),
        ("metadata", found.metadata),
        ("environment", found.environment),
        ("measured when they were validated", found.measured),
    )


def _weights(found: VersionDiff, everything: bool) -> Iterable[RenderableType]:
    if not found.tensor_counts:
        return ["weights: the registry lists none of these versions'"]
    parts: list[RenderableType] = ["weights", pairs(weight_facts(found))]
    shown = [
        each
        for status in TensorStatus
        for each in [x for x in found.tensors if x.status is status][: None if everything else _LISTED]
        if everything or status is not TensorStatus.SHARED
    ]
    if shown:
        columns = ("tensor", "what", "before", "after", "elements that differ", "largest", "relative L2")
        parts.append(rows(columns, map(tensor, shown)))
    left_out = sum(each.tensors for each in found.tensor_counts) - len(shown)
    if left_out and not everything:
        parts.append(f"{_tensors(left_out)} more; --all lists them")
    return parts


def weight_facts(found: VersionDiff) -> Sequence[tuple[str, object]]:
    """Return how many tensors there are of each kind, and the bytes on disk, by name."""
    disk = found.disk
    both = disk.before_bytes + disk.after_bytes - disk.shared_bytes
    counted = [
        (kind.status.value.lower(), f"{_tensors(kind.tensors)}, {size(kind.size_bytes)}")
        for kind in found.tensor_counts
    ]
    apart = f"{size(disk.before_bytes)} and {size(disk.after_bytes)}"
    return (*counted, ("on disk", f"{apart}, {size(disk.shared_bytes)} of it shared: {size(both)}"))


def _tensors(count: int) -> str:
    return "1 tensor" if count == 1 else f"{count} tensors"


def tensor(each: TensorChange) -> Sequence[str]:
    """Return a tensor as a row."""
    figures = each.figures
    what = f"renamed from {each.renamed_from}" if each.renamed_from else each.status.value.lower()
    if figures is None:
        return (each.name, what, form(each.before), form(each.after), each.why, "", "")
    differing = f"{figures.changed} of {figures.elements}"
    return (
        *(each.name, what, form(each.before), form(each.after)),
        *(differing, number(figures.max_abs), number(figures.relative_l2)),
    )


def form(value: TensorForm | None) -> str:
    """Write a tensor's datatype and shape."""
    return "-" if value is None else f"{value.dtype}{list(value.dims)}"


def number(value: float) -> str:
    """Write a figure in three digits."""
    return f"{value:.3g}"


def _answers(title: str, found: AnswerComparison) -> Iterable[RenderableType]:
    if not found.outputs:
        return [f"{title}: {clean(found.why)}"]
    columns = ("output", "rows", "differ", "largest", "relative L2", "same top", "tolerance", "before", "after")
    note = f" ({clean(found.why)})" if found.why else ""
    return [f"{title}: {found.samples} compared{note}", rows(columns, map(answer, found.outputs))]


def answer(each: AnswerDifference) -> Sequence[str]:
    """Return an output as a row."""
    if each.why:
        return (each.output, "-", "-", "-", "-", "-", each.why, " ".join(each.before), " ".join(each.after))
    top = "-" if each.same_top is None else f"{each.same_top:.1%}"
    return (
        *(each.output, str(each.rows), str(each.differing), number(each.max_abs), number(each.relative_l2), top),
        *("within" if each.within_tolerance else "BEYOND", " ".join(each.before), " ".join(each.after)),
    )
