"""In what two versions differ, as far as the registry knows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from interlock.diff import (
    AnswerComparison,
    DiskUse,
    FieldChange,
    OperatorChange,
    TensorFigures,
    TensorForm,
    TensorStatus,
    VersionDiff,
)
from interlock.errors import DataLoss
from interlock.model import ServingConfig, Version, VersionState
from interlock.statement import SourceFile
from interlock_registry import comparison
from interlock_registry.comparison import Measured, VersionContents, compare
from interlock_registry.manifest import Blob, InlineTensor, Manifest, Operator, Opset, TensorBlob

from tests.unit.registry.builders import BREAKING, SIGNATURE, digest

NOTHING = Measured({}, {}, AnswerComparison(0, why="no"), AnswerComparison(0, why="no"))


def blob(name: str, content: str, dims: tuple[int, ...] = (4, 4), dtype: str = "FLOAT") -> TensorBlob:
    return TensorBlob(name, dtype, dims, Blob(digest(content), 64))


def inline(name: str, content: str) -> InlineTensor:
    return InlineTensor(name, "INT64", (2,), digest(content), 16)


def manifest(*tensors: TensorBlob | InlineTensor, graph: str = "graph", **more: object) -> Manifest:
    return replace(
        Manifest(
            graph=Blob(digest(graph), 100),
            tensors=tuple(each for each in tensors if isinstance(each, TensorBlob)),
            inline=tuple(each for each in tensors if isinstance(each, InlineTensor)),
        ),
        **more,  # type: ignore[arg-type]  # fields of several types
    )


def contents(number: int, made_of: Manifest, **more: object) -> VersionContents:
    version = Version(
        model="digits",
        version=number,
        state=VersionState.VALIDATED,
        digest=made_of.digest,
        size_bytes=100,
        signature=SIGNATURE,
        config=ServingConfig(),
        proven=True,
        golden_samples=3,
        note="",
        tags={},
        created_at=datetime(2026, 1, number, tzinfo=UTC),
        created_by="ann",
        report_json="{}",
    )
    return VersionContents(replace(version, **more), made_of)  # type: ignore[arg-type]  # fields of several types


def diff(before: Manifest, after: Manifest, measured: Measured = NOTHING) -> VersionDiff:
    return compare(contents(1, before), contents(2, after), measured)


def test_equal_versions_differ_in_nothing() -> None:
    made_of = manifest(blob("w", "w"), inline("shape", "s"))
    found = diff(made_of, made_of)
    assert found.same_artifact
    assert not any(
        (found.breaking, found.breaking_back, found.signature, found.config, found.metadata, found.environment)
    )
    assert not (found.operators or found.measured)
    assert [(each.name, each.status) for each in found.tensors] == [
        ("shape", TensorStatus.SHARED),
        ("w", TensorStatus.SHARED),
    ]


def test_every_tensor_has_one_fate() -> None:
    before = manifest(
        blob("same", "1"),
        blob("other", "2"),
        blob("gone", "3"),
        blob("old name", "4"),
        inline("i", "a"),
        blob("in", "5"),
    )
    after = manifest(
        blob("same", "1"),
        blob("other", "x"),
        blob("new", "y"),
        blob("new name", "4"),
        inline("i", "b"),
        blob("in", "5"),
    )
    found = diff(before, after)
    assert {each.name: each.status.value for each in found.tensors} == {
        "same": "SHARED",
        "in": "SHARED",
        "other": "CHANGED",
        "i": "CHANGED",
        "gone": "REMOVED",
        "new": "ADDED",
        "new name": "RENAMED",
    }
    assert next(each.renamed_from for each in found.tensors if each.name == "new name") == "old name"
    assert {each.status.value: (each.tensors, each.size_bytes) for each in found.tensor_counts} == {
        "CHANGED": (2, 80),
        "ADDED": (1, 64),
        "REMOVED": (1, 64),
        "RENAMED": (1, 64),
        "SHARED": (2, 128),
    }


def test_the_same_bytes_in_another_shape_are_a_change_but_no_more_disk() -> None:
    before, after = manifest(blob("w", "1")), manifest(blob("w", "1", dims=(16,)), graph="other graph")
    found = diff(before, after)
    (only,) = found.tensors
    assert (only.status, only.before, only.after) == (
        TensorStatus.CHANGED,
        TensorForm("FLOAT", (4, 4), 64),
        TensorForm("FLOAT", (16,), 64),
    )
    assert found.disk == DiskUse(before.size_bytes, after.size_bytes, 64)


def test_what_changed_most_comes_first_and_what_is_shared_last() -> None:
    before = manifest(*(blob(name, name) for name in "abcs"))
    after = manifest(*(blob(name, f"{name}2") for name in "abc"), blob("s", "s"), blob("n", "n"))
    figures = {"a": TensorFigures(16, 1, 0.1, 0.01), "b": TensorFigures(16, 2, 0.2, 0.5)}
    found = diff(before, after, replace(NOTHING, figures=figures, unmeasured={"c": "too late"}))
    assert [each.name for each in found.tensors] == ["c", "b", "a", "n", "s"]
    assert [each.figures for each in found.tensors] == [None, figures["b"], figures["a"], None, None]
    assert found.tensors[0].why == "too late"


def test_a_long_list_of_tensors_is_cut_and_counted_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "MAX_TENSORS", 2)
    made_of = manifest(*(blob(name, name) for name in "abcde"))
    found = diff(made_of, made_of)
    assert len(found.tensors) == 2 and found.tensor_counts[0].tensors == 5


def test_operators_are_compared_by_how_often_they_are_there() -> None:
    def operators(*found: tuple[str, int]) -> Manifest:
        return manifest(operators=tuple(Operator("ai.onnx", name, 20, count) for name, count in found))

    found = diff(operators(("Add", 2), ("Mul", 1), ("Relu", 3)), operators(("Add", 2), ("Gelu", 1), ("Relu", 1)))
    assert found.operators == (
        OperatorChange("ai.onnx", "Gelu", 0, 20, 0, 1),
        OperatorChange("ai.onnx", "Mul", 20, 0, 1, 0),
        OperatorChange("ai.onnx", "Relu", 20, 20, 3, 1),
    )


def test_fields_that_differ_are_named_with_both_values() -> None:
    report = '{"environment":{"torch":"%s","numpy":"2.0"},"load_s":%s,"memory_bytes":1048576,"runtime_version":"1.31"}'
    sources = (SourceFile("m.onnx", 1, "aa"),)
    before = contents(
        1,
        manifest(opsets=(Opset("ai.onnx", 17),), producer="pytorch 2.9", sources=sources),
        note="first",
        tags={"run": "7", "old": "x"},
        report_json=report % ("2.9", "0.01"),
    )
    after = contents(
        2,
        manifest(opsets=(Opset("ai.onnx", 20),), producer="pytorch 2.13", sources=sources),
        tags={"run": "8"},
        proven=False,
        golden_samples=0,
        config=ServingConfig(max_batch_size=8),
        report_json=report % ("2.13", "0.02"),
        created_by="bob",
    )
    found = compare(before, after, NOTHING)
    assert found.config == (FieldChange("max_batch_size", "32", "8"),)
    assert found.metadata == (
        FieldChange("proven", "yes", "no"),
        FieldChange("golden samples", "3", "0"),
        FieldChange("note", "first", ""),
        FieldChange("tag old", "x", ""),
        FieldChange("tag run", "7", "8"),
        FieldChange("registered by", "ann", "bob"),
    )
    assert found.environment == (
        FieldChange("producer", "pytorch 2.9", "pytorch 2.13"),
        FieldChange("opset ai.onnx", "17", "20"),
        FieldChange("torch", "2.9", "2.13"),
    )
    assert found.measured == (FieldChange("load time", "10 ms", "20 ms"),)


def test_both_ways_of_breaking_callers_are_told() -> None:
    found = compare(contents(1, manifest()), contents(2, manifest(graph="x"), signature=BREAKING), NOTHING)
    assert found.breaking == ("input 'x' is gone", "input 'image' is new")
    assert found.breaking_back == ("input 'image' is gone", "input 'x' is new")
    assert found.signature == (
        FieldChange("input x", "FP32[n,64]", ""),
        FieldChange("input image", "", "FP32[n,64]"),
    )


def test_a_damaged_report_is_said_to_be_damaged() -> None:
    with pytest.raises(DataLoss, match="report of version 1 of 'digits' is damaged"):
        compare(contents(1, manifest(), report_json="{"), contents(2, manifest()), NOTHING)
