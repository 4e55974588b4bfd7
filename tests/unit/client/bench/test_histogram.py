"""Buckets that grow with what they hold."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interlock_client.bench.histogram import Histogram, bounds, bucket

MICROS = st.integers(0, 10**12)


@given(MICROS)
def test_every_duration_lies_within_the_bounds_of_its_bucket(micros: int) -> None:
    first, beyond = bounds(bucket(micros))
    assert first <= micros < beyond


@given(MICROS)
def test_a_bucket_is_no_wider_than_a_64th_of_what_it_holds(micros: int) -> None:
    first, beyond = bounds(bucket(micros))
    assert beyond - first == 1 or (beyond - first) * 64 <= first


@given(st.integers(0, 3000))
def test_a_bucket_begins_where_the_one_before_ends(number: int) -> None:
    assert bounds(number)[1] == bounds(number + 1)[0]
    assert bucket(bounds(number)[0]) == number


@given(st.lists(st.floats(1e-6, 100.0), min_size=1, max_size=300), st.sampled_from([0.5, 0.9, 0.99, 0.999]))
def test_quantiles_are_those_of_all_durations_within_the_width_of_a_bucket(found: list[float], share: float) -> None:
    histogram = Histogram()
    for each in found:
        histogram.record(each)
    exact = float(np.quantile(np.array(found), share, method="inverted_cdf"))
    assert histogram.quantile_s(share) == pytest.approx(exact, rel=0.009, abs=1.1e-6)


def test_two_histograms_added_are_one_of_all_durations() -> None:
    ours, theirs, both = Histogram(), Histogram(), Histogram()
    for histogram, values in ((ours, [0.001, 0.2]), (theirs, [0.001, 3.0, 0.0])):
        for value in values:
            histogram.record(value)
            both.record(value)
    ours.add(theirs)
    assert ours.spread() == both.spread()
    assert ours.spread().count == 5 and ours.spread().max_s == 3.0
    assert list(ours.buckets()) == list(both.buckets())


def test_a_histogram_survives_the_way_between_processes() -> None:
    histogram = Histogram()
    for value in (0.0, 0.0004, 12.5):
        histogram.record(value)
    read = Histogram.from_json(json.loads(json.dumps(histogram.to_json())))
    assert read.spread() == histogram.spread()


def test_an_empty_histogram_has_no_quantiles_and_no_buckets() -> None:
    spread = Histogram().spread()
    assert (spread.count, spread.mean_s, spread.p99_s, spread.max_s) == (0, 0.0, 0.0, 0.0)
    assert list(Histogram().buckets()) == []


def test_what_is_no_histogram_is_refused() -> None:
    with pytest.raises(ValueError, match="no histogram"):
        Histogram.from_json({"counts": {}, "total": 1, "highest": 1})
