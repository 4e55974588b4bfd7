"""Models whose weights lie beside the graph, through everything; the long form has more than one message can hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from interlock_client import LoadedFrom

from tests.bench.large import Course, expected, round_trip

IDS = np.asarray([[0, 1, 7], [2, 5, 3]], np.int64)


def check(course: Course) -> None:
    assert len(course.answers) == 3
    for each in course.answers:
        assert np.array_equal(each, expected(IDS))
    assert course.files == 2 and course.pulled == ("m.onnx", "m.onnx.data")
    assert course.largest_message_bytes < 100_000
    assert course.loaded_from in (LoadedFrom.DERIVED, LoadedFrom.ARTIFACT)
    assert course.disk_bytes["of it blobs"] < 1.01 * course.size_bytes + 1_000_000


def test_a_model_with_its_weights_beside_it_goes_all_the_way_and_back(tmp_path: Path) -> None:
    check(round_trip(tmp_path, 900_000))


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_model_over_two_gigabytes_goes_all_the_way_and_back(tmp_path: Path) -> None:
    check(round_trip(tmp_path, 2_200_000_000))
