from __future__ import annotations

import asyncio
import logging
import tracemalloc
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
from google.rpc import status_pb2
from interlock.errors import GenerationConflict, InterlockError, InternalError, InvalidArgument, Violation
from interlock.status import DETAILS_KEY, MAX_DETAILS, MAX_MESSAGE, from_wire, to_wire
from interlock_server.rpc.errors import Context, streaming, unary

SERVICE = "test.Errors"


class Servicer:
    """Does what its request says."""

    @unary
    async def One(self, request: bytes, context: Context[bytes, bytes]) -> bytes:
        await act(request, context)
        return request

    @streaming
    async def Many(self, request: bytes, context: Context[bytes, bytes]) -> AsyncIterator[bytes]:
        yield b"first"
        await act(request, context)
        yield b"second"


async def act(request: bytes, context: Context[bytes, bytes]) -> None:
    match request:
        case b"ours":
            raise GenerationConflict("m", "stable", 3, 4)
        case b"fault":
            raise KeyError("a secret path")
        case b"abort":
            await context.abort(grpc.StatusCode.OUT_OF_RANGE, "as it is")
        case b"hang":
            await asyncio.Event().wait()
        case _:
            return


@pytest.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    servicer = Servicer()
    server = grpc.aio.server()
    server.add_registered_method_handlers(
        SERVICE,
        {
            "One": grpc.unary_unary_rpc_method_handler(servicer.One),
            "Many": grpc.unary_stream_rpc_method_handler(servicer.Many),
        },
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(0)


async def call(channel: grpc.aio.Channel, method: str, request: bytes) -> list[bytes]:
    if method == "One":
        one: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/One")
        return [await one(request)]
    many: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(f"/{SERVICE}/Many")
    return [data async for data in many(request)]


async def error_of(channel: grpc.aio.Channel, method: str, request: bytes) -> tuple[grpc.StatusCode, InterlockError]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(channel, method, request)
    error = caught.value
    return error.code(), from_wire(error.code(), error.details() or "", list(error.trailing_metadata()))


METHODS = pytest.mark.parametrize("method", ["One", "Many"])


@METHODS
async def test_what_does_not_fail_passes(channel: grpc.aio.Channel, method: str) -> None:
    assert (await call(channel, method, b"fine"))[-1] in (b"fine", b"second")


@METHODS
async def test_an_error_of_our_tree_comes_with_its_facts(channel: grpc.aio.Channel, method: str) -> None:
    code, error = await error_of(channel, method, b"ours")
    assert code is grpc.StatusCode.ABORTED
    assert type(error) is GenerationConflict
    assert error.facts == {"model": "m", "alias": "stable", "expected": "3", "actual": "4"}


@METHODS
async def test_an_unexpected_error_is_told_as_an_id_that_the_log_explains(
    channel: grpc.aio.Channel, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        code, error = await error_of(channel, method, b"fault")
    assert code is grpc.StatusCode.INTERNAL
    assert type(error) is InternalError
    assert "secret" not in error.message
    (record,) = [record for record in caplog.records if record.name == "interlock.faults"]
    assert record.__dict__["fault"] in error.message
    assert record.exc_info is not None and "a secret path" in str(record.exc_info[1])


@METHODS
async def test_an_abort_passes_as_it_is(channel: grpc.aio.Channel, method: str) -> None:
    code, error = await error_of(channel, method, b"abort")
    assert code is grpc.StatusCode.OUT_OF_RANGE
    assert error.message == "as it is"


@METHODS
async def test_a_cancelled_call_is_no_fault(
    channel: grpc.aio.Channel, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    task = asyncio.ensure_future(call(channel, method, b"hang"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await call(channel, "One", b"after") == [b"after"]
    assert not [record for record in caplog.records if record.name == "interlock.faults"]


def test_what_is_kept_of_refusals_is_short_however_long_the_words_of_their_callers_are() -> None:
    tracemalloc.start()
    try:
        for index in range(20):
            words = f"{index:0100000}"
            violations = [Violation(words, words)] * 100
            wire = to_wire(InvalidArgument(words, violations=violations, facts={"words": words}))
            assert len(wire.message) <= MAX_MESSAGE
            assert len(dict(wire.trailing)[DETAILS_KEY]) <= MAX_DETAILS + MAX_MESSAGE + 8
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept_bytes < 1_000_000, "20 refusals of 100 kB each"


@pytest.mark.parametrize("text", ["there is no 'm'", "x" * 5000, "gr\u00f6\u00dfer \U0001f600" * 500])
def test_the_details_carry_the_code_and_the_text_of_the_status_itself(text: str) -> None:
    """gRPC for Go shows what the details say; gRPC's own reader for Python raises where the two differ."""
    wire = to_wire(InvalidArgument(text, violations=[Violation("x", text)]))
    inside = status_pb2.Status.FromString(bytes(dict(wire.trailing)[DETAILS_KEY]))  # type: ignore[arg-type]
    assert (inside.code, inside.message) == (wire.code.value[0], wire.message)
    assert wire.message and inside.details
