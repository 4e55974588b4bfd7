"""Conversations with a server as generators: they yield calls and are sent answers, so sync and async share them.

A flow holds all the logic and does no I/O; a connection (`_connection.py`) runs it, and carries bytes. An error of a
call is raised at the flow's `yield`, where it may be handled like any other.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import DecodeError, Message
from interlock.errors import InternalError

R_co = TypeVar("R_co", bound=Message, covariant=True)
R = TypeVar("R", bound=Message)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """One unary RPC to make: the method's name and the serialised request."""

    method: str
    request: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the serialised answer and the text entries of the trailing metadata."""

    data: bytes
    trailing: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reply(Generic[R_co]):
    """An answer that was read."""

    message: R_co
    trailing: Mapping[str, str]


Flow = Generator[Call, Answer, T]


def ask(method: str, request: Message, reply: type[R]) -> Flow[Reply[R]]:
    """Make one call and return its answer as a message of type `reply`; raises InternalError where it is none."""
    answer = yield Call(method, request.SerializeToString())
    try:
        return Reply(reply.FromString(answer.data), answer.trailing)
    except DecodeError as error:
        raise InternalError(
            f"the answer to {method} is no {reply.DESCRIPTOR.full_name}: its bytes do not parse"
        ) from error


def following(method: str, token: str, offered: str) -> str:
    """Return the token of the page that comes next, "" after the last; raises InternalError where it is this page."""
    if offered and offered == token:
        raise InternalError(f"{method} answered the same page twice (token {token[:40]!r}); the server is at fault")
    return offered
