"""Reading a request's body: bounded in bytes, in time, and in what all requests together may hold."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from interlock.errors import DeadlineExceeded, InvalidArgument, ResourceExhausted, TooLarge, Violation
from starlette.requests import ClientDisconnect, Request

HEADER_LENGTH: Final = "inference-header-content-length"
"""The binary tensor extension's header: how many bytes of JSON come before the tensors."""
_RETRY_AFTER_S: Final = 1.0
_WINDOW: Final = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_PIECE: Final = 1 << 20
_LONGEST_NUMBER: Final = 20
"""Digits: Python refuses to read a number of thousands of them."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of HTTP the process takes on."""

    max_body_bytes: int
    """Of one request, unpacked."""
    max_json_bytes: int
    """Of one request's JSON, which takes many times its size to read."""
    max_requests: int
    """Bodies at a time."""
    max_bytes: int
    """Bytes of all bodies at a time."""
    read_timeout_s: float
    """How long a body may take to arrive."""


class Bodies:
    """The bodies that are being read and answered now. Use it on one event loop."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        """May be changed at any time: whoever reads a body keeps to those that it began with."""
        self._requests = 0
        self._bytes = 0

    @contextmanager
    def admit(self) -> Iterator[Body]:
        """Make room for one request; raises ResourceExhausted where too many are here."""
        if self._requests >= self.limits.max_requests:
            raise ResourceExhausted(
                f"{self._requests} requests are being answered, which is the limit (setting max_http_requests)",
                retry_after_s=_RETRY_AFTER_S,
            )
        body = Body(self)
        self._requests += 1
        try:
            yield body
        finally:
            self._requests -= 1
            self._bytes -= body.held

    def hold(self, count: int) -> None:
        """Take so many bytes more; raises ResourceExhausted where there is no room for them."""
        if self._bytes + count > self.limits.max_bytes:
            raise ResourceExhausted(
                f"the requests that are being answered hold {self._bytes} bytes, and {count} more are over the limit "
                f"of {self.limits.max_bytes} (setting max_http_bytes)",
                retry_after_s=_RETRY_AFTER_S,
            )
        self._bytes += count


class Body:
    """The body of one request, read once."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self.held = 0

    async def read(self, request: Request) -> bytes:
        """Return the whole body, unpacked; raises TooLarge, InvalidArgument, DeadlineExceeded, ResourceExhausted."""
        limits = self._bodies.limits
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > limits.max_body_bytes:
            raise _too_large(int(announced), limits)
        parts: list[bytes] = []
        try:
            async with asyncio.timeout(limits.read_timeout_s):
                async for part in self._unpacked(request):
                    if self.held + len(part) > limits.max_body_bytes:
                        raise _too_large(self.held + len(part), limits)
                    self._bodies.hold(len(part))
                    self.held += len(part)
                    parts.append(part)
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"the request's body did not arrive within {limits.read_timeout_s:g} s; {self.held} bytes did"
            ) from error
        except ClientDisconnect as error:
            raise InvalidArgument("the connection ended inside the request's body") from error
        return b"".join(parts)

    async def _unpacked(self, request: Request) -> AsyncIterator[bytes]:
        coding = request.headers.get("content-encoding", "identity").strip().lower()
        if coding in ("", "identity"):
            async for part in request.stream():
                yield part
            return
        if coding not in _WINDOW:
            raise invalid(
                "content-encoding", f"content-encoding {coding[:80]!r} is not known; send gzip, deflate or no encoding"
            )
        packer, taken, limits = zlib.decompressobj(_WINDOW[coding]), 0, self._bodies.limits
        try:
            async for part in request.stream():
                taken += len(part)  # what unpacks to nothing is no body of any size, and could go on for ever
                if taken > limits.max_body_bytes:
                    raise _too_large(taken, limits)
                while part:  # in pieces: what a few bytes unpack to has no bound of its own
                    yield packer.decompress(part, _PIECE)
                    part = packer.unconsumed_tail
                if packer.unused_data:  # now: the packer would keep all that is still to come
                    break
        except zlib.error as error:
            raise invalid("body", f"the body is not {coding}: {error}") from error
        if not packer.eof or packer.unused_data:
            raise invalid("body", f"the body is not one whole {coding} stream")


def _too_large(size: int, limits: Limits) -> TooLarge:
    return TooLarge("the request's body", size, limits.max_body_bytes, "max_message_bytes")


@dataclass(frozen=True, slots=True)
class Parts:
    """A body of the binary tensor extension, taken apart; without the extension all of it is JSON."""

    json: memoryview
    binary: memoryview


def split(body: bytes, header_length: str | None, max_json_bytes: int) -> Parts:
    """Return the JSON and the binary part of a body; raises InvalidArgument, TooLarge."""
    whole = memoryview(body)
    size = len(body)
    if header_length is not None:
        # isdecimal() alone also takes other scripts' digits.
        is_number = header_length.isascii() and header_length.isdecimal() and len(header_length) <= _LONGEST_NUMBER
        if not is_number or int(header_length) > len(body):
            raise invalid(
                "Inference-Header-Content-Length",
                f"Inference-Header-Content-Length is {header_length[:80]!r}; it must be the number of bytes of JSON "
                f"that the body of {len(body)} bytes begins with",
            )
        size = int(header_length)
    if size > max_json_bytes:
        raise TooLarge("the request's JSON (send large tensors as binary data)", size, max_json_bytes, "max_json_bytes")
    return Parts(whole[:size], whole[size:])


def invalid(field: str, what: str) -> InvalidArgument:
    """Say which part of a request is wrong, and how."""
    return InvalidArgument(what, violations=[Violation(field, what)])
