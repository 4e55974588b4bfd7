"""Conversations with a server as generators: they yield calls and are sent answers, so sync and async share them.

A flow holds all the logic and does no I/O; a connection (`_connection.py`) runs it. An error of a call is raised at the
flow's `yield`, where it may be handled like any other.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message
from interlock.errors import InternalError

R_co = TypeVar("R_co", bound=Message, covariant=True)
R = TypeVar("R", bound=Message)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """One unary RPC to make: the stub's method name and the request."""

    method: str
    request: Message


@dataclass(frozen=True, slots=True)
class Answer(Generic[R_co]):
    """What came back: the message and the text entries of the trailing metadata."""

    message: R_co
    trailing: Mapping[str, str]


Flow = Generator[Call, Answer[Message], T]


def ask(method: str, request: Message, reply: type[R]) -> Flow[Answer[R]]:
    """Make one call and return its answer as a message of type `reply`."""
    answer = yield Call(method, request)
    if not isinstance(answer.message, reply):
        raise TypeError(f"{method} answered {type(answer.message).__name__}, not {reply.__name__}")
    return Answer(answer.message, answer.trailing)


def following(method: str, token: str, offered: str) -> str:
    """Return the token of the page that comes next, "" after the last; raises InternalError where it is this page."""
    if offered and offered == token:
        raise InternalError(f"{method} answered the same page twice (token {token[:40]!r}); the server is at fault")
    return offered
