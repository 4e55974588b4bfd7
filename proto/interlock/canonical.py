"""Canonical JSON: one value has one sequence of bytes, so that a digest of it means something."""

from __future__ import annotations

import json
from collections.abc import Mapping


def dumps(value: Mapping[str, object]) -> str:
    """Write JSON with sorted keys, no spaces and plain UTF-8; raises ValueError on NaN and infinities."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
