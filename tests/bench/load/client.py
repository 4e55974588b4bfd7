"""One client: a connection of its own, one request in flight, every answer checked."""

from __future__ import annotations

import threading
import time
from array import array
from typing import Final, cast

import grpc
import numpy as np

from tests.bench.load.questions import Questions, WrongAnswer
from tests.bench.load.records import Incident, Records

METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"
_OPTIONS: Final = (
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),  # else clients of one process would share one connection
    ("grpc.enable_http_proxy", 0),
)
_TIMEOUT_S: Final = 10.0
_MAX_INCIDENTS: Final = 1000
_MAX_RECORDS: Final = 5_000_000
_MAX_KNOWN: Final = 20_000


class Checker:
    """Checks answers; bytes that were found right once are only looked up. Shared by the threads of a process."""

    def __init__(self, questions: Questions | None) -> None:
        """Take what is right; None leaves answers unchecked (version 0), for servers that only echo."""
        self._questions = questions
        self._known: dict[tuple[int, bytes], int] = {}

    def version(self, question: int, data: bytes) -> int:
        """Return the version that answered; raises WrongAnswer."""
        if self._questions is None:
            return 0
        key = (question, data)
        known = self._known.get(key)
        if known is None:
            known = self._questions.check(question, data)
            if len(self._known) < _MAX_KNOWN:
                self._known[key] = known
        return known


class Client:
    """Asks in a closed loop, or at a steady pace."""

    def __init__(self, number: int, address: str, requests: list[bytes], checker: Checker) -> None:
        self._channel = grpc.insecure_channel(address, _OPTIONS)
        self._call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(METHOD)
        self._requests = requests
        self._checker = checker
        self._next = number
        self._started = array("d")
        self._sent = array("d")
        self._ended = array("d")
        self._version = array("h")
        self._incidents: list[Incident] = []

    def connect(self, timeout_s: float) -> None:
        """Connect and ask once, unrecorded; raises what goes wrong."""
        grpc.channel_ready_future(self._channel).result(timeout_s)
        self._checker.version(0, self._call(self._requests[0], timeout=timeout_s))

    def closed_loop(self, stop: threading.Event) -> None:
        """Send the next request as soon as the last one is answered."""
        while not stop.is_set() and self._goes_on():
            self._ask(time.monotonic())

    def paced(self, stop: threading.Event, interval_s: float, first: float) -> None:
        """Send a request every `interval_s` from `first` on.

        A request whose turn came while the one before was in flight counts from its turn: a stall is felt by all the
        requests that it held up, not by one.
        """
        due = first
        while not stop.is_set() and self._goes_on():
            ahead = due - time.monotonic()
            if ahead > 0 and stop.wait(ahead):
                return
            self._ask(time.monotonic() if ahead > 0 else due)
            due += interval_s

    def _goes_on(self) -> bool:
        return len(self._incidents) < _MAX_INCIDENTS and len(self._started) < _MAX_RECORDS

    def _ask(self, started: float) -> None:
        sent = time.monotonic()
        question = self._next % len(self._requests)
        self._next += 1
        try:
            data = self._call(self._requests[question], timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            status = cast(grpc.Call, error)  # what every error of a channel is, which grpc's type stubs deny
            self._incidents.append(Incident(started, "failed", f"{status.code().name}: {status.details()}"))
            return
        ended = time.monotonic()
        try:
            version = self._checker.version(question, data)
        except WrongAnswer as error:
            self._incidents.append(Incident(started, "wrong", str(error)))
            return
        self._started.append(started)
        self._sent.append(sent)
        self._ended.append(ended)
        self._version.append(version)

    def close(self) -> Records:
        """Disconnect and return what was recorded."""
        self._channel.close()
        return Records(
            np.array(self._started),
            np.array(self._sent),
            np.array(self._ended),
            np.array(self._version),
            tuple(self._incidents),
        )
