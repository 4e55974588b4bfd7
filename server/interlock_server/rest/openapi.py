"""The OpenAPI document of what is served."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib.resources import files

import interlock
import orjson


@functools.cache
def document() -> Mapping[str, object]:
    """Return the document, with this server's version in it."""
    found: dict[str, dict[str, object]] = orjson.loads(files(__package__).joinpath("openapi.json").read_bytes())
    return {**found, "info": {**found["info"], "version": interlock.__version__}}
