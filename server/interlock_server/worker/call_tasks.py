"""Calls that are answered by coroutines, for what has to wait for somebody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from google.protobuf.message import DecodeError, Message
from interlock.errors import InterlockError, ResourceExhausted

from interlock_server.faults import opaque
from interlock_server.front.seam import Call
from interlock_server.worker.inference import not_a_message

Work = Callable[[Call], Coroutine[None, None, Message]]


class CallTasks:
    """Owns a task for each call that is under way, on the loop that it is made on."""

    def __init__(self, what: str, at_once: int) -> None:
        """Take what the calls are, in the plural, and how many of them may be under way."""
        self._what = what
        self._at_once = at_once
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def method(self, work: Work) -> Callable[[Call], None]:
        """Return what takes a call, on any thread, and answers it with what `work` returns or raises."""
        return lambda call: self._start(call, work)

    async def close(self) -> None:
        """End what is under way. Idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, call: Call, work: Work) -> None:
        self._loop.call_soon_threadsafe(self._begin, call, work)

    def _begin(self, call: Call, work: Work) -> None:
        if len(self._tasks) >= self._at_once:
            call.fail(ResourceExhausted(f"{self._at_once} {self._what} are under way, which is the limit; try again"))
            return
        task = self._loop.create_task(_answer(call, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _answer(call: Call, work: Work) -> None:
    try:
        call.done((await work(call)).SerializeToString())
    except InterlockError as error:
        call.fail(error)
    except DecodeError:
        call.fail(not_a_message(call.method))
    except Exception as error:  # noqa: BLE001 - a fault of ours must end as this call's answer, and in the log
        call.fail(opaque(error))
