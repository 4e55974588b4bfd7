"""The shortest whole story: register, promote, infer, promote, roll back."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests import models
from tests.server import Server


def test_a_rollback_brings_the_first_version_back(server: Server, tmp_path: Path) -> None:
    one = models.write(tmp_path / "one.onnx", models.affine(scale=2.0))
    two = models.write(tmp_path / "two.onnx", models.affine(scale=3.0))
    x = np.ones((1, 2), np.float32)
    with server.admin() as admin, server.client() as client:
        admin.register("m", one, golden=models.affine_golden(tmp_path / "one.npz", scale=2.0))
        admin.register("m", two, golden=models.affine_golden(tmp_path / "two.npz", scale=3.0))

        admin.promote("m", 1)
        first = client.infer("m", {"x": x})
        admin.promote("m", 2)
        second = client.infer("m", {"x": x})
        switch = admin.rollback("m", reason="worse")
        third = client.infer("m", {"x": x})

    assert (first.version, second.version, third.version) == (1, 2, 1)
    np.testing.assert_array_equal(first["y"], 2 * x)
    np.testing.assert_array_equal(second["y"], 3 * x)
    np.testing.assert_array_equal(third["y"], 2 * x)
    assert switch.resident and switch.lagging == ()
