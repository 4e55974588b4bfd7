"""What the idempotency store holds: answers as canonical JSON, and back."""

from __future__ import annotations

import json
from dataclasses import fields

from interlock.model import Switch


def switch_answer(switch: Switch) -> str:
    """Return the outcome of a promote or rollback as it is stored."""
    document = {field.name: getattr(switch, field.name) for field in fields(switch)}
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def read_switch(answer: str) -> Switch:
    """Read a stored outcome."""
    fields = json.loads(answer)
    for name in ("stack", "lagging", "breaking", "late"):
        fields[name] = tuple(fields.get(name, ()))
    return Switch(**fields)
