"""The OpenAPI document tells of what is served, and of nothing else."""

from __future__ import annotations

import re
from collections.abc import Coroutine, Mapping
from typing import Any

import pytest
from interlock.errors import InvalidArgument
from interlock.types import ModelRef
from interlock_server.rest.app import Rest
from interlock_server.rest.body import Limits
from interlock_server.rest.calls import Answer
from interlock_server.rest.openapi import document


class Nobody:
    """A backend that is never asked."""

    def call(self, method: str, request: bytes) -> Coroutine[object, object, Answer]:
        raise AssertionError(f"{method} was called")


def test_every_path_and_method_is_in_the_document() -> None:
    rest = Rest(Nobody(), lambda: True, Limits(1, 1, 1, 1, 1.0))
    served = {route.path: {method.lower() for method in route.methods or ()} - {"head"} for route in rest.routes()}
    rest.close()
    paths: Mapping[str, Mapping[str, object]] = document()["paths"]  # type: ignore[assignment]
    assert {path: set(methods) - {"parameters"} for path, methods in paths.items()} == served


@pytest.mark.parametrize(
    "version",
    ["1", "9" * 18, "9" * 19, "0", "01", "+1", "0.1.0", "stable", "a-b_c", "Stable", "a" * 63, "a" * 64, "\u00e4"],
)
def test_the_document_takes_for_a_version_what_the_server_takes(version: str) -> None:
    components: Any = document()["components"]
    try:
        ModelRef.from_wire("m", version)
        taken = True
    except InvalidArgument:
        taken = False
    assert bool(re.fullmatch(components["parameters"]["version"]["schema"]["pattern"], version)) == taken
