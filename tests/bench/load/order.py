"""What a load process is told to do."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One process's share of a load. It ends when its standard input does, or after `max_s`."""

    address: str
    model: str
    questions: str
    """File of the questions."""
    result: str
    """File to write the records to."""
    first_client: int
    clients: int
    all_clients: int
    """Clients of all processes together: paced ones take turns."""
    rate: float
    """Requests per second of all clients together; 0 is a closed loop."""
    max_s: float
    checked: bool = True
    """False leaves answers unread: for servers that only echo."""

    def to_json(self) -> str:
        """Return it as one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Order:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))
