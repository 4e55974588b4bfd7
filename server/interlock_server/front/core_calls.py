"""The calls of the core front: each is lived through in batches of operations, whose ends are events."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
from interlock.errors import Cancelled, InterlockError, ResourceExhausted, TooLarge
from interlock.status import to_wire

from interlock_server.faults import opaque
from interlock_server.front.alarms import Alarms, Bucket, Patience
from interlock_server.front.completion import (
    SEND_METADATA,
    Batchable,
    Event,
    Operation,
    receive_close,
    receive_message,
    send_message,
    send_ok,
    send_status,
)
from interlock_server.front.limits import COUNTED, LARGE, MAX_STREAM_BACKLOG, OVER, Parked, Room, check_size
from interlock_server.front.seam import MAX_UNANSWERED, Call, Conversation, Trailing
from interlock_server.front.turnstile import Turnstile, came_to_nothing


class Census:
    """How many calls there are whose end has not come. Only the front's thread counts."""

    __slots__ = ("open",)

    def __init__(self) -> None:
        self.open = 0


@dataclass(frozen=True, slots=True)
class Common:
    """What all calls of a front have in common."""

    alarms: Alarms
    patience: Patience
    most: int
    """Bytes of one message, either way."""
    room: Room
    turnstile: Turnstile
    census: Census


class CoreCall(Call):
    """One RPC on the completion queue; its batches' events come to the methods named `on_…`, on the front's thread."""

    __slots__ = ("_closed", "_common", "_core", "_ended", "_held", "_set_alarms", "parked")

    def __init__(
        self,
        method: str,
        metadata: Mapping[str, str],
        deadline: float,
        core: Batchable,
        common: Common,
    ) -> None:
        super().__init__(method, b"", metadata, deadline)
        self._core = core
        self._common = common
        self._set_alarms: list[tuple[Bucket, Callable[[], None]]] | None = None
        self._ended = False
        self._closed = False
        self._held = 0
        self.parked: Parked | None = None
        """Its request, while that waits for a thread."""
        common.census.open += 1

    def line(self) -> str:
        """Return the address of the caller's end."""
        return self._core.peer().decode(errors="replace")

    def hold(self, count: int) -> None:
        """Count bytes as here until gRPC is through with the call; raises ResourceExhausted."""
        self._common.room.take(count)
        with self._lock:
            if not self._closed:
                self._held += count
                return
        self._common.room.give(count)

    def alarm(self, at: float, callback: Callable[[], None]) -> None:
        """Have `callback` called at a time of the monotonic clock, unless the call has ended."""
        with self._lock:
            if self._closed:
                return
            # A conversation may stay for days: what has rung must go before its end.
            left = [each for each in self._set_alarms or () if each[1] in each[0]]
            self._set_alarms = [*left, (self._common.alarms.set(at, callback), callback)]

    def on_close(self, event: Event) -> None:
        """Note that the call is over: by our status, by the caller or by its deadline."""
        gone = event.batch_operations[0].cancelled()
        with self._lock:
            self._ended = self._closed = True
            held, self._held = self._held, 0
        if self.parked is not None:
            self.parked.take()  # what is not counted any more must not be kept
        if held:
            self._common.room.give(held)
        if self._set_alarms is not None:
            for bucket, callback in self._set_alarms:
                bucket.discard(callback)
        self._common.census.open -= 1
        self._leave(gone)

    def _leave(self, gone: bool) -> None:
        """Tell whoever works for the call that its caller has gone away; where it was answered, only let go of him."""
        if gone:
            self.cancel()
        else:
            self.release()


class UnaryCall(CoreCall):
    """One message in, one out.

    Whether its caller has gone away is only watched once the call was not answered at once: that costs an event.
    """

    __slots__ = ("_take", "_watched", "_weighed")

    def __init__(
        self,
        method: str,
        metadata: Mapping[str, str],
        deadline: float,
        core: Batchable,
        common: Common,
        take: Callable[[UnaryCall, bytes | None], None],
    ) -> None:
        super().__init__(method, metadata, deadline, core, common)
        self._take = take
        self._watched = self._weighed = False

    def wait_patiently(self) -> None:
        """End at the deadline, which is the server's own and as far off as those of other such calls."""
        if not self._common.patience.add(self, self.deadline):
            self.alarm(self.deadline, self.overdue)

    def receive(self) -> None:
        """Ask for the message: `take` is called with it."""
        self._core.start_server_batch((receive_message(),), self.on_request)

    def on_request(self, event: Event) -> None:
        """Pass the message on."""
        self._take(self, event.batch_operations[0].message())

    @property
    def ended(self) -> bool:
        """Whether it was answered, or is over."""
        return self._ended

    def watch(self) -> None:
        """Learn when the caller goes away, unless the call was answered meanwhile."""
        with self._lock:
            if self._ended or self._watched:
                return
            self._watched = True
            self._core.start_server_batch((receive_close(),), self.on_close)

    def on_close(self, event: Event) -> None:
        """Note that the call is over."""
        self._common.patience.remove(self)
        super().on_close(event)

    def message(self, data: bytes) -> None:
        """Refuse: a unary call answers with `done`."""
        raise TypeError(f"{self.method} answers with one message: end it with done()")

    def weigh(self, data: bytes) -> None:
        """Count an answer as here; raises TooLarge, ResourceExhausted."""
        check_size("an answer", data, self._common.most)
        if len(data) > COUNTED:
            self.hold(len(data))
        self._weighed = True

    def done(self, data: bytes | None = None, trailing: Trailing = ()) -> None:
        """End the call with its answer."""
        data = data or b""
        if not self._weighed:
            try:
                self.weigh(data)
            except (TooLarge, ResourceExhausted) as error:
                self.fail(error)
                return
        self._end(SEND_METADATA, send_message(data), send_ok(trailing))

    def overdue(self) -> None:
        """End the call at this server's deadline; by force where its answer is on its way and nobody reads it."""
        with self._lock:
            unread = self._ended and not self._closed
        if unread:
            self._core.cancel()
        else:
            self.expire(OVER)

    def fail(self, error: InterlockError) -> None:
        """End the call with an error."""
        if self._common.turnstile.busy and came_to_nothing(error) and (self._closed or not self._ended):
            self.in_vain()
        self._end(SEND_METADATA, status_of(error))

    def in_vain(self) -> None:
        """Count the call as one that came to nothing."""
        self._common.turnstile.refused(self.method, self._core.peer())

    def _end(self, *operations: Operation) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = True
            # Under the lock: once `on_close` was here the queue may be shut down, and to begin anything then is fatal.
            if self._watched:
                self._core.start_server_batch(operations, ignore)
            else:
                self._core.start_server_batch((receive_close(), *operations), self.on_close)


class StreamCall(CoreCall):
    """Sends one message after the other; those that wait are bounded, as a slow reader must not fill the memory."""

    __slots__ = ("_begun", "_outbox", "_sending", "_status", "_waiting")

    def __init__(
        self,
        method: str,
        metadata: Mapping[str, str],
        deadline: float,
        core: Batchable,
        common: Common,
        waiting: int = MAX_STREAM_BACKLOG,
    ) -> None:
        super().__init__(method, metadata, deadline, core, common)
        self._outbox: deque[bytes] = deque(maxlen=waiting)
        self._sending = False
        self._begun = False
        self._status: Operation | None = None

    def message(self, data: bytes) -> None:
        """Send one message, once those before it are sent."""
        with self._lock:
            if self._ended or self._status is not None:
                return
            self._outbox.append(data)
            self._send()

    def done(self, data: bytes | None = None, trailing: Trailing = ()) -> None:
        """End the call well, once everything is sent."""
        self._finish(send_ok(trailing))

    def fail(self, error: InterlockError) -> None:
        """End the call with an error, once everything is sent."""
        self._finish(status_of(error))

    def _finish(self, status: Operation) -> None:
        with self._lock:
            if self._ended or self._status is not None:
                return
            self._status = status
            self._send()

    def _send(self) -> None:
        """Send what is next, unless something is on its way; the lock is held."""
        if self._sending:
            return
        operations = [] if self._begun else [SEND_METADATA]
        if self._outbox:
            operations.append(send_message(self._outbox.popleft()))
        elif self._status is not None:
            operations.append(self._status)
            self._ended = True
        else:
            return
        self._begun = self._sending = True
        self._core.start_server_batch(operations, self.on_sent)

    def on_sent(self, event: Event) -> None:
        """Go on with what waits."""
        with self._lock:
            self._sending = False
            if not self._ended:
                self._send()


def _unheard(data: bytes) -> None:
    raise TypeError("a conversation's handler must listen to it before it returns")


class ConversationCall(StreamCall, Conversation):
    """Reads only so far ahead of the answers: what the caller sends beyond that waits on its own side."""

    __slots__ = ("_counted", "_large", "_on_end", "_on_message", "_reading", "_settle", "_settle_soon", "_unanswered")

    def __init__(
        self,
        method: str,
        metadata: Mapping[str, str],
        deadline: float,
        core: Batchable,
        common: Common,
        large: ThreadPoolExecutor,
        settle: Callable[[], None],
        settle_soon: Callable[[], None],
    ) -> None:
        """Take whom to tell that the handler has a message: on a thread of its own, and on the front's."""
        super().__init__(method, metadata, deadline, core, common, MAX_UNANSWERED + 1)
        self._large = large
        self._settle = settle
        self._settle_soon = settle_soon
        self._counted: deque[int] = deque()
        self._on_message: Callable[[bytes], None] = _unheard
        self._on_end: Callable[[], None] = self.done
        self._unanswered = 0
        self._reading = False

    def listen(self, on_message: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        """Say who takes the messages, and who is told that no more will come."""
        self._on_message, self._on_end = on_message, on_end

    def read(self) -> None:
        """Ask for the next message, unless too many are unanswered."""
        with self._lock:
            if self._reading or self._ended or self._unanswered >= MAX_UNANSWERED:
                return
            self._reading = True
            self._core.start_server_batch((receive_message(),), self.on_message)

    def on_message(self, event: Event) -> None:
        """Pass a message on."""
        data = event.batch_operations[0].message()
        counted = len(data) if data is not None and len(data) > COUNTED else 0
        try:
            self._common.room.take(counted)
        except ResourceExhausted as error:
            self.fail(error)
            return
        if data is not None and counted > LARGE:
            self._large.submit(self._take_large, data, counted)
        else:
            self._take(data, counted)
            self._settle_soon()

    def _take_large(self, data: bytes, counted: int) -> None:
        self._take(data, counted)
        self._settle()

    def _take(self, data: bytes | None, counted: int) -> None:
        if data is not None:
            self._count(counted)
        try:
            if data is None:
                self._on_end()
                return
            check_size("a request", data, self._common.most)
            self._on_message(data)
        except InterlockError as error:
            self.fail(error)
            return
        except Exception as error:  # noqa: BLE001 - it must end as this call's answer, and in the log
            self.fail(opaque(error))
            return
        with self._lock:
            self._reading = False
        self.read()

    def _count(self, count: int) -> None:
        """Count a message as unanswered, and its bytes as held until it is answered or the conversation is over."""
        with self._lock:
            self._unanswered += 1
            if not self._closed:
                self._counted.append(count)
                return
        self._common.room.give(count)

    def message(self, data: bytes) -> None:
        """Send the answer to the oldest message that has none."""
        try:
            check_size("an answer", data, self._common.most)
        except TooLarge as error:
            self.fail(error)
            return
        super().message(data)

    def on_sent(self, event: Event) -> None:
        """Make room for one more message."""
        with self._lock:
            self._unanswered -= 1
            held = self._counted.popleft() if self._counted else 0
        if held:
            self._common.room.give(held)
        super().on_sent(event)
        self.read()

    def on_close(self, event: Event) -> None:
        """Let go of what was never answered."""
        super().on_close(event)
        with self._lock:
            held = sum(self._counted)
            self._counted.clear()
        self._common.room.give(held)

    def _leave(self, gone: bool) -> None:
        self.cancel()  # one that failed may have messages that are still worked on


def ignore(event: Event) -> None:
    """Nothing waits for the end of this batch."""


def status_of(error: InterlockError) -> Operation:
    """Return the operation that ends a call with an error."""
    if isinstance(error, Cancelled):
        return send_status(grpc.StatusCode.CANCELLED, error.message, ())
    status = to_wire(error)
    return send_status(status.code, status.message, status.trailing)
