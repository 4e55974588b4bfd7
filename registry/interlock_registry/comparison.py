"""In what two versions differ, from what the registry knows of them and what the model tool measured. Pure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from interlock.diff import (
    AnswerComparison,
    DiskUse,
    FieldChange,
    OperatorChange,
    TensorChange,
    TensorCount,
    TensorFigures,
    TensorForm,
    TensorStatus,
    VersionDiff,
)
from interlock.errors import DataLoss
from interlock.model import Version
from interlock.types import Signature, TensorSpec, breaking_changes

from interlock_registry.manifest import Manifest, Operator

MAX_TENSORS: Final = 10_000
"""Tensors that are listed; all are counted."""


@dataclass(frozen=True, slots=True)
class VersionContents:
    """A version and what its artifact consists of."""

    version: Version
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Measured:
    """What it took the bytes and a run to find out."""

    figures: Mapping[str, TensorFigures]
    """Of tensors that changed, by name."""
    unmeasured: Mapping[str, str]
    """Why others that changed have no figures, by name."""
    golden: AnswerComparison
    replayed: AnswerComparison


def compare(before: VersionContents, after: VersionContents, measured: Measured) -> VersionDiff:
    """Put a diff together; raises DataLoss where a version's stored report is none."""
    tensors = [_with_figures(each, measured) for each in match_tensors(before.manifest, after.manifest)]
    old, new = before.version, after.version
    return VersionDiff(
        before=old,
        after=new,
        same_artifact=old.digest == new.digest,
        breaking=breaking_changes(old.signature, new.signature),
        breaking_back=breaking_changes(new.signature, old.signature),
        signature=_changes(_signature(old.signature), _signature(new.signature)),
        config=_changes(_fields(old.config), _fields(new.config)),
        metadata=_changes(_metadata(before), _metadata(after)),
        environment=_changes(_environment(before), _environment(after)),
        measured=_changes(_measured(old), _measured(new)),
        operators=_operators(before.manifest.operators, after.manifest.operators),
        tensors=tuple(sorted(tensors, key=_rank)[:MAX_TENSORS]),
        tensor_counts=_counts(tensors),
        disk=_disk(before.manifest, after.manifest),
        golden=measured.golden,
        replayed=measured.replayed,
    )


# --- fields ---


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[FieldChange, ...]:
    names = [*before, *(name for name in after if name not in before)]
    found = (FieldChange(name, before.get(name, ""), after.get(name, "")) for name in names)
    return tuple(each for each in found if each.before != each.after)


def _signature(signature: Signature) -> Mapping[str, str]:
    return {
        f"{side} {spec.name}": _shape(spec)
        for side, specs in (("input", signature.inputs), ("output", signature.outputs))
        for spec in specs
    }


def _shape(spec: TensorSpec) -> str:
    return str(spec).removeprefix(f"{spec.name} ")


def _fields(config: object) -> Mapping[str, str]:
    assert dataclasses.is_dataclass(config)
    return {each.name: str(getattr(config, each.name)) for each in dataclasses.fields(config)}


def _metadata(contents: VersionContents) -> Mapping[str, str]:
    version = contents.version
    return {
        "state": version.state.value,
        "proven": "yes" if version.proven else "no",
        "golden samples": str(version.golden_samples),
        "note": version.note,
        **{f"tag {key}": value for key, value in sorted(version.tags.items())},
        "registered by": version.created_by,
        "bytes": str(version.size_bytes),
        **{f"file {each.name}": each.sha256 for each in contents.manifest.sources},
    }


def _environment(contents: VersionContents) -> Mapping[str, str]:
    manifest, report = contents.manifest, _report(contents.version)
    packages = report.get("environment", {})
    return {
        "producer": manifest.producer or str(report.get("producer", "")),
        "IR version": str(manifest.ir_version or report.get("ir_version", "")),
        **{f"opset {each.domain}": str(each.version) for each in manifest.opsets},
        "validated by": f"ONNX Runtime {report['runtime_version']}" if "runtime_version" in report else "",
        **({str(name): str(value) for name, value in sorted(packages.items())} if isinstance(packages, dict) else {}),
    }


def _measured(version: Version) -> Mapping[str, str]:
    report = _report(version)
    times = {"load": report.get("load_s"), "run": report.get("run_s")}
    found = {f"{what} time": f"{value * 1000:.3g} ms" for what, value in times.items() if isinstance(value, float)}
    memory = report.get("memory_bytes")
    return found | ({"memory": f"{memory / (1 << 20):.3g} MiB"} if isinstance(memory, int) else {})


def _report(version: Version) -> Mapping[str, object]:
    try:
        found = json.loads(version.report_json or "{}")
    except ValueError as error:
        raise DataLoss(
            f"the stored report of version {version.version} of {version.model!r} is damaged ({error}); "
            "restore the registry from a backup"
        ) from error
    return found if isinstance(found, dict) else {}


# --- operators ---


@dataclass(frozen=True, slots=True)
class _Kind:
    domain: str
    op_type: str


def _operators(before: Iterable[Operator], after: Iterable[Operator]) -> tuple[OperatorChange, ...]:
    old = {_Kind(each.domain, each.op_type): each for each in before}
    new = {_Kind(each.domain, each.op_type): each for each in after}
    kinds = sorted(old.keys() | new.keys(), key=lambda kind: (kind.domain, kind.op_type))
    return tuple(
        _operator(kind, old.get(kind), new.get(kind))
        for kind in kinds
        if (old[kind].count if kind in old else 0) != (new[kind].count if kind in new else 0)
    )


def _operator(kind: _Kind, before: Operator | None, after: Operator | None) -> OperatorChange:
    return OperatorChange(
        domain=kind.domain,
        op_type=kind.op_type,
        opset_before=before.opset if before else 0,
        opset_after=after.opset if after else 0,
        count_before=before.count if before else 0,
        count_after=after.count if after else 0,
    )


# --- tensors ---


@dataclass(frozen=True, slots=True)
class _Tensor:
    form: TensorForm
    digest: str


def match_tensors(before: Manifest, after: Manifest) -> tuple[TensorChange, ...]:
    """Say what became of every tensor, by name; figures are left out.

    What is gone under one name and new under another one, with the same elements, was renamed.
    """
    old, new = _tensors(before), _tensors(after)
    gone = {(each.digest, each.form): name for name, each in sorted(old.items()) if name not in new}
    found: list[TensorChange] = []
    renamed: set[str] = set()
    for name, tensor in sorted(new.items()):
        known = old.get(name)
        if known is not None:
            status = TensorStatus.SHARED if known == tensor else TensorStatus.CHANGED
            found.append(TensorChange(name, status, known.form, tensor.form))
            continue
        source = gone.pop((tensor.digest, tensor.form), "")
        if source:
            renamed.add(source)
            found.append(TensorChange(name, TensorStatus.RENAMED, tensor.form, tensor.form, renamed_from=source))
        else:
            found.append(TensorChange(name, TensorStatus.ADDED, None, tensor.form))
    for name, tensor in sorted(old.items()):
        if name not in new and name not in renamed:
            found.append(TensorChange(name, TensorStatus.REMOVED, tensor.form, None))
    return tuple(found)


def _tensors(manifest: Manifest) -> Mapping[str, _Tensor]:
    blobs = {
        each.name: _Tensor(TensorForm(each.dtype, each.dims, each.blob.size_bytes), each.blob.digest)
        for each in manifest.tensors
    }
    inline = {
        each.name: _Tensor(TensorForm(each.dtype, each.dims, each.size_bytes), each.sha256) for each in manifest.inline
    }
    return blobs | inline


def _with_figures(change: TensorChange, measured: Measured) -> TensorChange:
    if change.status is not TensorStatus.CHANGED:
        return change
    figures = measured.figures.get(change.name)
    why = "" if figures is not None else measured.unmeasured.get(change.name, "it was not measured")
    return dataclasses.replace(change, figures=figures, why=why)


_ORDER: Final = {status: place for place, status in enumerate(TensorStatus)}


def _rank(change: TensorChange) -> tuple[int, float, str]:
    # What cannot be measured (another shape) is the bigger change.
    size = change.figures.relative_l2 if change.figures is not None else float("inf")
    return _ORDER[change.status], -size, change.name


def _counts(tensors: Iterable[TensorChange]) -> tuple[TensorCount, ...]:
    sizes: dict[TensorStatus, list[int]] = {status: [] for status in TensorStatus}
    for each in tensors:
        form = each.after or each.before
        sizes[each.status].append(form.size_bytes if form else 0)
    return tuple(TensorCount(status, len(found), sum(found)) for status, found in sizes.items() if found)


def _disk(before: Manifest, after: Manifest) -> DiskUse:
    theirs = {each.digest for each in before.blobs}
    shared = sum(each.size_bytes for each in after.blobs if each.digest in theirs)
    return DiskUse(before.size_bytes, after.size_bytes, shared)
