"""What waits in a batcher: one request, and what it is told about its run."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from interlock.errors import InterlockError
from interlock.types import Array

from interlock_server.worker.engine import NO_OPTIONAL

PRIORITY_LEVELS: Final = 16
"""Requests of level 1 go first."""
DEFAULT_PRIORITY: Final = 8
_LEVEL_S: Final = 0.1
"""What a level is worth: a request goes before those that came so much earlier with one level less of urgency. So
whatever is more urgent, nothing waits for ever."""

JoinKey = tuple[tuple[object, ...], ...]
"""Datatype and non-batch sizes of each input: equal ones may run together."""


@dataclass(frozen=True, slots=True)
class Ran:
    """One run of a session, which answered one request or a batch of them."""

    started: float
    """On the monotonic clock."""
    input_s: float
    """What joining the batch's inputs took."""
    run_s: float
    rows: int
    first: Work
    """The first of its requests that was answered: whoever counts runs counts with this one."""
    lane: int
    """Which of the batcher's places it ran in: no two run in one at the same time."""


class Work(ABC):
    """One request in the queue. Exactly one of `answer` and `refuse` is called, once; on any thread."""

    __slots__ = ("cancelled", "counted", "deadline", "enqueued", "inputs", "key", "optional", "rank", "rows", "size")

    def __init__(
        self,
        inputs: Sequence[Array],
        *,
        rows: int | None,
        deadline: float,
        priority: int = DEFAULT_PRIORITY,
        optional: Mapping[str, Array] = NO_OPTIONAL,
        key: JoinKey | None = None,
        size: int | None = None,
    ) -> None:
        """Take arrays in signature order; `rows` is the batch size, None where the request must run alone.

        A request with optional inputs must run alone. `key` and `size` (bytes) are found from the inputs if not given.
        """
        self.inputs: Final = inputs
        self.rows: Final = rows
        self.optional: Final = optional
        self.deadline: Final = deadline
        self.enqueued: Final = time.monotonic()
        self.rank = rank_of(self.enqueued, priority)
        """Where it stands in the queue: lower ones go first."""
        self.counted: str | None = None
        """Whose it is counted as while it waits in a crowd; None where it is not."""
        self.cancelled = False
        self.key: Final = join_key(inputs) if key is None else key
        self.size: Final = sum(array.nbytes for array in inputs) if size is None else size

    def caller(self) -> str:
        """Return whose it is: callers share a queue."""
        return ""

    @abstractmethod
    def answer(self, outputs: Sequence[Array], ran: Ran) -> None:
        """Take the request's own rows of the outputs, in signature order."""

    @abstractmethod
    def refuse(self, error: InterlockError) -> None:
        """Take why it was not answered."""


def rank_of(enqueued: float, priority: int) -> float:
    """Return where a request of a priority stands that came at a time."""
    return enqueued + priority * _LEVEL_S


def join_key(inputs: Sequence[Array]) -> JoinKey:
    """Return what must be equal for requests to run together."""
    return tuple((array.dtype.str, *array.shape[1:]) for array in inputs)
