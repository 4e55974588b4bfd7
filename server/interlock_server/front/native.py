"""The front for trusted listeners: HTTP/2 in Rust, outside the GIL, by the package pygrpc-native.

It takes unary calls in batches. Every other kind of call, and every unknown method, goes through a unix socket to
another front of ours, which the package connects to by itself.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import grpc
from interlock.errors import Cancelled, InterlockError, TooLarge, Unavailable
from interlock.status import DETAILS_KEY, to_wire

from interlock_server.faults import opaque
from interlock_server.front.alarms import Alarms, Bucket, Patience
from interlock_server.front.limits import LARGE, LARGE_AT_ONCE, OVER, check_size
from interlock_server.front.seam import Arity, Call, Front, Handler, Limits, Trailing

if TYPE_CHECKING:
    from pygrpc_native import NativeGrpcFront

log = logging.getLogger("interlock.front")

OLDEST_KNOWN: Final = (0, 5)
NEWEST_KNOWN: Final = (0, 6)
"""The package is only used below this release: it promises much within 0.x, and was tried up to here."""

_BATCH: Final = 64
_IO_THREADS: Final = 1
"""A second one costs a request more hand-overs between threads than it takes work off the first: reading and writing is
a few microseconds of a request, and Python's share of it bounds the rate long before."""
_TICK_S: Final = 0.02


def missing() -> str:
    """Say why the package cannot be used; "" where it can."""
    try:
        installed = version("pygrpc-native")
        import pygrpc_native  # noqa: F401 - whether it loads here
    except (PackageNotFoundError, ImportError) as error:
        return f"the package pygrpc-native cannot be loaded ({error}); run: pip install 'interlock[native]'"
    found = tuple(int(part) for part in installed.split(".")[:2])
    if not OLDEST_KNOWN <= found < NEWEST_KNOWN:
        oldest, newest = (".".join(map(str, each)) for each in (OLDEST_KNOWN, NEWEST_KNOWN))
        return f"pygrpc-native {installed} is not between {oldest} and {newest}; run: pip install 'interlock[native]'"
    return ""


@dataclass(frozen=True, slots=True)
class _Common:
    """What all calls of a front have in common."""

    line: NativeGrpcFront
    alarms: Alarms
    patience: Patience
    most: int
    """Bytes of one message, either way."""
    open_calls: dict[int, _UnaryCall] = field(default_factory=dict)
    """By number. Who takes a call out of it ends the call."""


class _UnaryCall(Call):
    """One call of the package's, named by a number until it has ended."""

    __slots__ = ("_alarm_list", "_common", "_number", "_peer")

    def __init__(
        self,
        method: str,
        request: bytes,
        metadata: Mapping[str, str],
        deadline: float,
        number: int,
        common: _Common,
        peer: str,
    ) -> None:
        super().__init__(method, request, metadata, deadline)
        self._number = number
        self._common = common
        self._peer = peer
        self._alarm_list: list[tuple[Bucket, Callable[[], None]]] | None = None

    def line(self) -> str:
        return self._peer

    def message(self, data: bytes) -> None:
        raise TypeError(f"{self.method} answers with one message: end it with done()")

    def weigh(self, data: bytes) -> None:
        check_size("an answer", data, self._common.most)

    def done(self, data: bytes | None = None, trailing: Trailing = ()) -> None:
        answer = data or b""
        try:
            self.weigh(answer)
        except TooLarge as error:
            self.fail(error)
            return
        if self._first_end():
            self._common.line.respond(self._number, answer, None, trailing or None)
            self.release()

    def fail(self, error: InterlockError) -> None:
        if not self._first_end():
            return
        self.release()
        if isinstance(error, Cancelled):
            self._common.line.fail(self._number, grpc.StatusCode.CANCELLED.value[0], error.message)
            return
        status = to_wire(error)
        # The package sends no keys of gRPC's own, such as how long to wait before a retry; RetryInfo says that too.
        trailing = [(key, value) for key, value in status.trailing if not key.startswith("grpc-") or key == DETAILS_KEY]
        self._common.line.fail(self._number, status.code.value[0], status.message, trailing)

    def alarm(self, at: float, callback: Callable[[], None]) -> None:
        if self._alarm_list is None:
            self._alarm_list = []
        self._alarm_list.append((self._common.alarms.set(at, callback), callback))

    def wait_patiently(self) -> None:
        """End at the deadline, which is the server's own and as far off as those of other such calls."""
        if not self._common.patience.add(self, self.deadline):
            self.alarm(self.deadline, self.overdue)

    def overdue(self) -> None:
        """End the call at this server's deadline."""
        self.expire(OVER)

    def gone(self) -> None:
        """Note that the caller has gone away."""
        if self._first_end():
            self.cancel()
            self.release()

    @property
    def ended(self) -> bool:
        """Whether it was answered, or is over."""
        return self._number not in self._common.open_calls

    def _first_end(self) -> bool:
        """Tell whether the call was still open."""
        first = self._common.open_calls.pop(self._number, None) is not None
        if first:
            self._common.patience.remove(self)
        if first and self._alarm_list is not None:
            for bucket, callback in self._alarm_list:
                bucket.discard(callback)
        return first


class NativeFront:
    """pygrpc-native behind the seam. Start and stop on one event loop; unary calls never touch it."""

    name: Final = "native"

    def __init__(self, limits: Limits, other: Front) -> None:
        """Take the front that everything but unary calls goes through."""
        self._limits = limits
        self._other = other
        self._handler: Handler | None = None
        self._paths: list[str] = []
        self._common: _Common | None = None
        self._thread: threading.Thread | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._large = ThreadPoolExecutor(LARGE_AT_ONCE, thread_name_prefix="large requests")
        self._stopping = False
        self._busy_since = 0.0

    @property
    def stuck_s(self) -> float:
        """How long the polling thread, or the front behind it, has been busy with one event; 0 while both wait."""
        since = self._busy_since
        return max(time.monotonic() - since if since else 0.0, self._other.stuck_s)

    @property
    def turned_away(self) -> int:
        """Those of the front behind it: it looks at every call of its own."""
        return self._other.turned_away

    async def start(self, handler: Handler, address: str) -> None:
        """Listen; returns when bound. Raises OSError."""
        from pygrpc_native import NativeGrpcFront

        self._handler = handler
        self._paths = [path for path, arity in handler.methods.items() if arity is Arity.UNARY]
        line = NativeGrpcFront(
            address,
            [(path, False) for path in self._paths],
            io_threads=_IO_THREADS,
            call_details=True,
            keepalive_time_ms=round(self._limits.keepalive_time_s * 1000),
            keepalive_timeout_ms=round(self._limits.keepalive_timeout_s * 1000),
            reuse_port=True,
        )
        self._folder = tempfile.TemporaryDirectory(prefix="interlock-")
        socket_path = str(Path(self._folder.name) / "other")
        await self._other.start(handler, f"unix:{socket_path}")
        line.set_fallback(socket_path)
        alarms = Alarms()
        self._common = _Common(line, alarms, Patience(alarms), self._limits.max_message_bytes)
        line.start()
        self._thread = threading.Thread(target=self._poll, args=(self._common,), name="front native", daemon=True)
        self._thread.start()

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls, let running ones finish for so long, then cancel them. Idempotent."""
        common, self._common = self._common, None
        if common is None:
            return
        self._stopping = True
        deadline = time.monotonic() + grace_s
        await self._other.stop(grace_s)
        await asyncio.to_thread(self._close, common, deadline)
        assert self._folder is not None
        for call in list(common.open_calls.values()):
            call.gone()
        common.alarms.close()
        self._large.shutdown(wait=False, cancel_futures=True)
        self._folder.cleanup()

    def _close(self, common: _Common, deadline: float) -> None:
        while common.open_calls and time.monotonic() < deadline:
            time.sleep(_TICK_S)  # the package tells of calls that begin and that are given up, of no others
        common.line.close()
        assert self._thread is not None
        self._thread.join()

    def _poll(self, common: _Common) -> None:
        from pygrpc_native import EVENT_CALL

        while (events := common.line.recv_batch_details(_BATCH)) is not None:
            for kind, number, method, request, _, details in events:
                self._busy_since = time.monotonic()
                try:
                    if kind != EVENT_CALL:
                        call = common.open_calls.get(number)
                        if call is not None:
                            call.gone()
                    elif request is not None and details is not None:
                        self._begin(common, number, self._paths[method], request, *details)
                except Exception:
                    log.exception("an event of a call could not be handled")
            self._settle()
            self._busy_since = 0.0
            # What the events refer to must not live on until the next ones come.
            events = None

    def _begin(
        self,
        common: _Common,
        number: int,
        method: str,
        request: bytes,
        pairs: Sequence[tuple[str, str | bytes]],
        peer: str,
        remaining_s: float | None,
    ) -> None:
        limit = self._limits.default_deadline_s if remaining_s is None else self._limits.max_deadline_s
        allowed = limit if remaining_s is None else min(remaining_s, limit)
        call = _UnaryCall(
            method,
            request,
            {key: value for key, value in pairs if isinstance(value, str)},
            time.monotonic() + allowed,
            number,
            common,
            peer,
        )
        common.open_calls[number] = call
        if self._stopping:
            call.fail(Unavailable("the server is shutting down; try again elsewhere"))
            return
        if remaining_s is None:
            call.wait_patiently()
        elif remaining_s > limit:
            call.alarm(call.deadline, call.overdue)
        if len(request) > LARGE:
            self._large.submit(self._take_large, call)
        else:
            self._handle(call)

    def _take_large(self, call: _UnaryCall) -> None:
        if call.ended:
            return
        self._handle(call)
        self._settle()

    def _settle(self) -> None:
        assert self._handler is not None
        try:
            self._handler.settle()
        except Exception:
            log.exception("calls that came together could not be handled")

    def _handle(self, call: _UnaryCall) -> None:
        assert self._handler is not None
        try:
            check_size("a request", call.request, self._limits.max_message_bytes)
            self._handler.handle(call)
        except InterlockError as error:
            call.fail(error)
        except Exception as error:  # noqa: BLE001 - it must end as this call's answer, and in the log
            call.fail(opaque(error))
