"""The OpenAPI document tells of what is served, and of nothing else."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping

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
