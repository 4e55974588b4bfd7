"""The seam between whatever speaks gRPC and the inference path: (method, bytes, metadata, deadline, reply).

A front turns each RPC into a `Call` and hands it to one `Handler` on one of its threads; the handler must not block.
When no more calls have come with it, the front says `settle`: until then the handler may keep calls back, so that those
which came together are run together. The answer may come from any thread. Nothing on the other side imports grpc.
"""

from __future__ import annotations

import enum
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from interlock.errors import DeadlineExceeded, InterlockError

from interlock_server.access.gate import Caller

Trailing = tuple[tuple[str, str], ...]
"""Trailing metadata of an answer."""


MAX_UNANSWERED: Final = 64
"""Messages of a conversation that a front reads before they are answered: more would only queue elsewhere."""


class Arity(enum.Enum):
    """How many messages a method takes and answers with."""

    UNARY = "unary"
    STREAM = "stream"
    """One message in, any number out."""
    CONVERSATION = "conversation"
    """Any number of messages in, and one answer to each."""


class Call(ABC):
    """One RPC: what was asked, and the way to answer. Exactly one of `done` and `fail` ends it; later ones are lost."""

    __slots__ = (
        "_cancelled",
        "_lock",
        "_on_cancel",
        "address",
        "caller",
        "deadline",
        "metadata",
        "method",
        "peer",
        "received",
        "request",
    )

    def __init__(self, method: str, request: bytes, metadata: Mapping[str, str], deadline: float) -> None:
        self.method: Final = method
        """Full path: /package.Service/Method."""
        self.request = request
        """The message of a call that takes one; set before it is handled."""
        self.metadata: Final = metadata
        self.deadline = deadline
        """On the monotonic clock; only `shorten` changes it."""
        self.received: Final = time.monotonic()
        self.caller: Caller | None = None
        """Who it is from; None where nobody needs to know."""
        self.peer: Callable[[], Sequence[str]] | None = None
        """Tells the names in the caller's certificate, where the front asks for one."""
        self.address: Callable[[], str] | None = None
        """Tells where the call comes from, HOST:PORT, where the front knows."""
        self._lock = threading.Lock()
        self._cancelled = False
        self._on_cancel: Callable[[], None] | None = None

    def identities(self) -> Sequence[str]:
        """Return the names in the caller's certificate; none where it showed none."""
        return () if self.peer is None else self.peer()

    def line(self) -> str:
        """Return the address of the caller's end of the connection; "" where the front does not know."""
        return "" if self.address is None else self.address()

    def origin(self) -> str:
        """Return the address that the call comes from, without its port; "" where the front does not know."""
        return self.line().rpartition(":")[0]

    @property
    def asker(self) -> str:
        """Whose call it is, where callers share something: who is known, else the connection that it came over."""
        return self.line() if self.caller is None else self.caller.name

    @abstractmethod
    def message(self, data: bytes) -> None:
        """Send one message of a stream; more may follow."""

    def weigh(self, data: bytes) -> None:  # noqa: B027 - what streams send is weighed as it is sent
        """Hold an answer to the front's limits; raises TooLarge, ResourceExhausted.

        `done` does so itself, and fails the call. This is for whoever has to know before.
        """

    @abstractmethod
    def done(self, data: bytes | None = None, trailing: Trailing = ()) -> None:
        """End the call well: a unary one with its answer, a stream with nothing more."""

    @abstractmethod
    def fail(self, error: InterlockError) -> None:
        """End the call with an error."""

    @abstractmethod
    def alarm(self, at: float, callback: Callable[[], None]) -> None:
        """Call `callback` on a thread of the front at a time of the monotonic clock, unless the call has ended."""

    def shorten(self, deadline: float) -> None:
        """Let the call end by itself at an earlier deadline than its caller's own."""
        if deadline < self.deadline:
            self.deadline = deadline
            self.alarm(deadline, lambda: self.expire("the deadline passed that its parameter `timeout` names"))

    def expire(self, why: str) -> None:
        """End the call at a deadline that only this server knows of: the caller's own one is gRPC's business."""
        # Once the call has failed, gRPC may be through with it at once, and `release` come before the worker was told.
        with self._lock:
            self._cancelled = True
            callback, self._on_cancel = self._on_cancel, None
        self.fail(DeadlineExceeded(why))
        if callback is not None:
            callback()

    @property
    def cancelled(self) -> bool:
        """Whether the caller has gone away."""
        return self._cancelled

    def cancel(self) -> None:
        """Note that the caller has gone away (by cancelling, disconnecting or its deadline)."""
        with self._lock:
            self._cancelled = True
            callback, self._on_cancel = self._on_cancel, None
        if callback is not None:
            callback()

    def release(self) -> None:
        """Let go of whoever works for the call, now that gRPC is through with it.

        Who works for it refers to the call and is referred to by it: without this, a request's tensors would stay until
        the garbage collector comes by, which for a few large requests is seldom.
        """
        with self._lock:
            self._on_cancel = None

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Call `callback` once when the caller goes away; at once if it has."""
        with self._lock:
            if not self._cancelled:
                self._on_cancel = callback
                return
        callback()


class Conversation(Call):
    """A call whose messages come one by one; `message` answers the next of them, in their order."""

    __slots__ = ()

    @abstractmethod
    def listen(self, on_message: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        """Say who takes the messages, and who is told that no more will come; both must neither block nor raise."""


class Handler(Protocol):
    """The other side of the seam."""

    @property
    def methods(self) -> Mapping[str, Arity]:
        """Return every method that is served, by full path."""
        ...

    def handle(self, call: Call) -> None:
        """Take a call; must neither block nor raise."""
        ...

    def converse(self, call: Conversation) -> None:
        """Take a call whose method is a conversation, and listen to it; must neither block nor raise."""
        ...

    def settle(self) -> None:
        """See to what was kept back: no more calls have come together with it. Must not raise, and be brief."""
        ...


class Limits(Protocol):
    """The limits that a front keeps; a part of the settings."""

    @property
    def max_message_bytes(self) -> int:
        """Largest message either way."""
        ...

    @property
    def max_in_flight_bytes(self) -> int:
        """Bytes of all large requests that are here at a time."""
        ...

    @property
    def max_connections(self) -> int:
        """Connections at a time; one more is closed."""
        ...

    @property
    def max_streams(self) -> int:
        """Calls at a time on one connection; a client keeps back what is over it."""
        ...

    @property
    def default_deadline_s(self) -> float:
        """Deadline of a call that names none."""
        ...

    @property
    def max_deadline_s(self) -> float:
        """Longest deadline; longer ones are cut to it."""
        ...

    @property
    def keepalive_time_s(self) -> float:
        """How long a connection may be silent before it is pinged."""
        ...

    @property
    def keepalive_timeout_s(self) -> float:
        """How long a ping may stay unanswered before the connection is given up."""
        ...

    @property
    def min_ping_interval_s(self) -> float:
        """How often clients may ping without data."""
        ...


class Front(Protocol):
    """Something that speaks gRPC on one address."""

    @property
    def name(self) -> str:
        """Return the name that `--front` chooses it by."""
        ...

    @property
    def stuck_s(self) -> float:
        """Return how long the thread that takes calls has been busy with one event; 0 while it waits."""
        ...

    @property
    def turned_away(self) -> int:
        """Return how many calls were refused as they began, for want of time to look at them."""
        ...

    async def start(self, handler: Handler, address: str) -> None:
        """Listen; returns when bound. Raises OSError where the address cannot be bound."""
        ...

    async def stop(self, grace_s: float) -> None:
        """Take no new calls, let running ones finish for so long, then cancel them. Idempotent."""
        ...
