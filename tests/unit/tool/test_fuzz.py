"""Bytes that are almost a model: each is examined or refused, nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from interlock.errors import InvalidModel
from interlock_registry.manifest import Operator
from interlock_registry.tool import ModelLimits
from interlock_registry.tool.structure import examine, parse

from tests import models

MODEL = models.mlp(width=2, hidden=2, classes=2)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(MODEL)
    for _ in range(draw(st.integers(0, 8))):
        at = draw(st.integers(0, len(data) - 1))
        data[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(data[: draw(st.integers(0, len(data)))])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.one_of(damaged(), st.binary(max_size=200)))
def test_any_bytes_are_examined_or_refused(tmp_path: Path, data: bytes) -> None:
    path = models.write(tmp_path / "m.onnx", data)
    try:
        found = examine(parse(path), ModelLimits())
    except InvalidModel as refusal:
        assert refusal.facts["check"] and len(refusal.message) < 1000
        return
    assert found.nodes >= 0


def test_the_undamaged_model_passes(tmp_path: Path) -> None:
    found = examine(parse(models.write(tmp_path / "m.onnx", MODEL)), ModelLimits())
    assert found.operators == (Operator("ai.onnx", "MatMul", 20, 3), Operator("ai.onnx", "Relu", 20, 2))
    with pytest.raises(InvalidModel):
        parse(models.write(tmp_path / "m.onnx", MODEL[:-7]))
