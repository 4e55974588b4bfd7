"""A diff with something of everything in it."""

from __future__ import annotations

import math
from typing import Final

from interlock.diff import (
    AnswerComparison,
    AnswerDifference,
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

from tests.unit.client.scripted import a_version

FORM: Final = TensorForm("FLOAT", (64, 10), 2560)

DIFF: Final = VersionDiff(
    before=a_version(2, note="the first one"),
    after=a_version(3, aliases=("canary",), digest="cd" * 32, note="<script>alert(1)</script>\x1b[31m"),
    same_artifact=False,
    breaking=("input 'x' is gone", "input 'image' is new"),
    breaking_back=("input 'image' is gone",),
    signature=(FieldChange("input x", "FP32[?,2]", ""), FieldChange("input image", "", "FP32[?,2]")),
    config=(FieldChange("max_batch_size", "32", "8"),),
    metadata=(FieldChange("note", "the first one", "<script>alert(1)</script>\x1b[31m"),),
    environment=(FieldChange("torch", "2.9", "2.13"),),
    measured=(FieldChange("run time", "1.2 ms", "2.4 ms"),),
    operators=(OperatorChange("ai.onnx", "Relu", 20, 20, 3, 1), OperatorChange("ai.onnx", "Gelu", 0, 20, 0, 2)),
    tensors=(
        TensorChange(
            "embedding", TensorStatus.CHANGED, FORM, TensorForm("FLOAT", (65, 10), 2600), None, "another shape"
        ),
        TensorChange("head.weight", TensorStatus.CHANGED, FORM, FORM, TensorFigures(640, 12, 0.25, 0.0123)),
        TensorChange("head.bias", TensorStatus.CHANGED, FORM, FORM, TensorFigures(640, 640, math.inf, math.inf)),
        TensorChange("new", TensorStatus.ADDED, None, FORM),
        TensorChange("gone", TensorStatus.REMOVED, FORM, None),
        TensorChange("renamed", TensorStatus.RENAMED, FORM, FORM, renamed_from="before"),
        TensorChange("body.weight", TensorStatus.SHARED, FORM, FORM),
    ),
    tensor_counts=(
        TensorCount(TensorStatus.CHANGED, 3, 7720),
        TensorCount(TensorStatus.ADDED, 1, 2560),
        TensorCount(TensorStatus.REMOVED, 1, 2560),
        TensorCount(TensorStatus.RENAMED, 1, 2560),
        TensorCount(TensorStatus.SHARED, 1, 2560),
    ),
    disk=DiskUse(102_400, 104_448, 96_256),
    golden=AnswerComparison(0, why="version 3 has no golden samples"),
    replayed=AnswerComparison(
        8,
        (
            AnswerDifference("y", 64, 3, 0.125, 0.01, 0.96875, False, ("0.1", "0.9"), ("0.2", "0.8")),
            AnswerDifference("text", 64, 0, 0.0, 0.0, None, True, ("a",), ("a",)),
            AnswerDifference("old", 0, 0, 0.0, 0.0, None, False, (), (), "it is gone"),
        ),
        "only 8 of 9 samples: the time for it (54 s) was over",
    ),
)
