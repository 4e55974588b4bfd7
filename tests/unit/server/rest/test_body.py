"""Bodies are bounded: in bytes packed and unpacked, in time, in number, and in what they hold together."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field

import httpx
import pytest
from interlock.errors import InvalidArgument, TooLarge
from interlock.protocols.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from interlock_server.rest.app import Rest
from interlock_server.rest.body import Limits, split
from interlock_server.rest.calls import Answer
from starlette.applications import Starlette

from tests.support import eventually_async

LIMITS = Limits(max_body_bytes=2000, max_json_bytes=500, max_requests=2, max_bytes=3000, read_timeout_s=60.0)
BODY = {"inputs": [{"name": "x", "datatype": "UINT8", "shape": [2], "data": [1, 2]}]}


@dataclass(frozen=True)
class Told:
    data: bytes
    trailing: tuple[tuple[str, str], ...] = ()


@dataclass
class Echo:
    """A worker that answers with what it was sent, once it may."""

    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0
    given_up: int = 0

    def call(self, method: str, request: bytes) -> Coroutine[object, object, Answer]:
        return self._answer(ModelInferRequest.FromString(request))

    async def _answer(self, request: ModelInferRequest) -> Answer:
        self.asked += 1
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        answer = ModelInferResponse(model_name=request.model_name, model_version="1")
        for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True):
            answer.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
            answer.raw_output_contents.append(raw)
        return Told(answer.SerializeToString(), (("interlock-alias", "stable"),))


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def make(echo: Echo) -> AsyncIterator[Callable[[Limits], httpx.AsyncClient]]:
    made: list[Rest] = []

    def client(limits: Limits) -> httpx.AsyncClient:
        made.append(Rest(echo, lambda: True, limits))
        application = Starlette(routes=made[-1].routes())
        return httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://here/v2/models/m/")

    yield client
    for rest in made:
        rest.close()


@pytest.mark.parametrize(
    ("coding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes), ("GZIP", gzip.compress)],
)
async def test_packed_bodies_are_unpacked(
    make: Callable[[Limits], httpx.AsyncClient], echo: Echo, coding: str, pack: Callable[[bytes], bytes]
) -> None:
    echo.may_answer.set()
    packed = pack(json.dumps(BODY).encode())
    answer = await make(LIMITS).post("infer", content=packed, headers={"content-encoding": coding})
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["data"] == [1, 2]
    assert answer.headers["interlock-alias"] == "stable"


async def test_large_tensors_pass_both_ways(make: Callable[[Limits], httpx.AsyncClient], echo: Echo) -> None:
    echo.may_answer.set()
    million = Limits(max_body_bytes=10**6, max_json_bytes=10**6, max_requests=1, max_bytes=10**6, read_timeout_s=60.0)
    values = list(range(50_000))
    body = {"inputs": [{"name": "x", "datatype": "INT32", "shape": [50_000], "data": values}]}
    assert (await make(million).post("infer", json=body)).json()["outputs"][0]["data"] == values
    body["parameters"] = {"binary_data_output": True}  # type: ignore[assignment]
    answer = await make(million).post("infer", json=body)
    packed = answer.content[int(answer.headers["inference-header-content-length"]) :]
    assert packed == b"".join(value.to_bytes(4, "little") for value in values)


@pytest.mark.parametrize(
    ("coding", "content", "mentioned"),
    [
        ("br", b"x", "'br' is not known"),
        ("gzip", b"no gzip", "is not gzip"),
        ("gzip", gzip.compress(b"{}", mtime=0)[:-4], "not one whole gzip stream"),
        ("gzip", gzip.compress(b"{}", mtime=0) + b"more", "not one whole gzip stream"),
        ("deflate", b"", "not one whole deflate stream"),
    ],
)
async def test_wrongly_packed_bodies_are_refused(
    make: Callable[[Limits], httpx.AsyncClient], coding: str, content: bytes, mentioned: str
) -> None:
    answer = await make(LIMITS).post("infer", content=content, headers={"content-encoding": coding})
    assert (answer.status_code, mentioned in answer.json()["error"]) == (400, True), answer.text


@pytest.mark.parametrize(
    ("begin", "more", "status"),
    [
        (gzip.compress(b"{}", mtime=0), b"x" * 1000, 400),
        (zlib.compress(b"{}", wbits=31)[:10], b"\0\0\0\xff\xff" * 200, 413),  # blocks of which each holds nothing
    ],
    ids=["junk behind its end", "nothing without end"],
)
async def test_a_packed_body_that_goes_on_and_gives_nothing_is_not_read_to_its_end(
    make: Callable[[Limits], httpx.AsyncClient], begin: bytes, more: bytes, status: int
) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield begin
        while sent < 100:
            sent += 1
            yield more

    answer = await make(LIMITS).post("infer", content=endless(), headers={"content-encoding": "gzip"})
    assert (answer.status_code, sent < 5) == (status, True), (answer.text, sent)


async def test_a_body_over_the_limit_is_too_large_however_it_comes(
    make: Callable[[Limits], httpx.AsyncClient], echo: Echo
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b" " * 1000

    client = make(LIMITS)
    bomb = gzip.compress(b" " * 1_000_000)
    assert len(bomb) < 2000
    for answer in (
        await client.post("infer", content=b" " * 2001),
        await client.post("infer", content=chunks()),
        await client.post("infer", content=bomb, headers={"content-encoding": "gzip"}),
    ):
        assert (answer.status_code, answer.json()["reason"]) == (413, "TOO_LARGE"), answer.text
        assert answer.json()["facts"]["setting"] == "max_message_bytes"
    assert echo.asked == 0


async def test_json_has_a_limit_of_its_own(make: Callable[[Limits], httpx.AsyncClient], echo: Echo) -> None:
    echo.may_answer.set()
    client = make(LIMITS)
    padded = json.dumps(BODY).encode() + b" " * 500
    refused = await client.post("infer", content=padded)
    assert (refused.status_code, refused.json()["facts"]["setting"]) == (413, "max_json_bytes")
    head = json.dumps(
        {"inputs": [{"name": "x", "datatype": "UINT8", "shape": [600], "parameters": {"binary_data_size": 600}}]}
    ).encode()
    headers = {"inference-header-content-length": str(len(head))}
    assert (await client.post("infer", content=head + b"\0" * 600, headers=headers)).status_code == 200


async def test_a_body_that_does_not_arrive_is_given_up(make: Callable[[Limits], httpx.AsyncClient]) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    limits = Limits(max_body_bytes=2000, max_json_bytes=500, max_requests=2, max_bytes=3000, read_timeout_s=0.2)
    answer = await make(limits).post("infer", content=slow())
    assert answer.status_code == 504
    assert "did not arrive within 0.2 s; 1 bytes did" in answer.json()["error"]


async def test_requests_beyond_the_limit_are_refused_and_come_again(
    make: Callable[[Limits], httpx.AsyncClient], echo: Echo
) -> None:
    client = make(LIMITS)
    waiting = [asyncio.create_task(client.post("infer", json=BODY)) for _ in range(2)]
    await eventually_async(lambda: echo.asked == 2, "both requests are with the worker")
    refused = await client.post("infer", json=BODY)
    assert (refused.status_code, refused.json()["reason"]) == (429, "RESOURCE_EXHAUSTED")
    assert "max_http_requests" in refused.json()["error"] and refused.headers["retry-after"] == "1"
    echo.may_answer.set()
    assert [answer.status_code for answer in await asyncio.gather(*waiting)] == [200, 200]
    assert (await client.post("infer", json=BODY)).status_code == 200


async def test_all_bodies_together_have_a_limit(make: Callable[[Limits], httpx.AsyncClient], echo: Echo) -> None:
    limits = Limits(max_body_bytes=400, max_json_bytes=400, max_requests=9, max_bytes=500, read_timeout_s=60.0)
    client = make(limits)
    padded = json.dumps(BODY).encode().ljust(300)
    waiting = asyncio.create_task(client.post("infer", content=padded))
    await eventually_async(lambda: echo.asked == 1, "the first request is with the worker")
    refused = await client.post("infer", content=padded)
    assert (refused.status_code, "max_http_bytes" in refused.json()["error"]) == (429, True)
    echo.may_answer.set()
    assert (await waiting).status_code == 200
    assert (await client.post("infer", content=padded)).status_code == 200


async def test_a_caller_that_goes_away_ends_the_call(echo: Echo) -> None:
    rest = Rest(echo, lambda: True, LIMITS)
    messages: list[dict[str, object]] = [
        {"type": "http.request", "body": json.dumps(BODY).encode()},
        {"type": "http.disconnect"},
    ]
    gone = asyncio.Event()

    async def receive() -> dict[str, object]:
        if len(messages) == 1:
            await gone.wait()
        return messages.pop(0)

    async def send(message: dict[str, object]) -> None:
        pass

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v2/models/m/infer",
        "headers": [],
        "query_string": b"",
        "root_path": "",
    }
    serving = asyncio.create_task(Starlette(routes=rest.routes())(scope, receive, send))  # type: ignore[arg-type]
    await eventually_async(lambda: echo.asked == 1, "the request is with the worker")
    gone.set()
    await serving
    assert echo.given_up == 1
    rest.close()


@pytest.mark.parametrize("length", ["-1", "5", "1.0", "", "\u0661", "9" * 500, "0" * 5000, " 2", "0x2"])
def test_a_wrong_header_length_is_refused(length: str) -> None:
    with pytest.raises(InvalidArgument, match="Inference-Header-Content-Length"):
        split(b"{}ab", length, 100)


@pytest.mark.parametrize(
    ("length", "json_part", "binary"), [(None, b"{}ab", b""), ("2", b"{}", b"ab"), ("4", b"{}ab", b"")]
)
def test_a_body_is_json_and_then_binary(length: str | None, json_part: bytes, binary: bytes) -> None:
    parts = split(b"{}ab", length, 100)
    assert (bytes(parts.json), bytes(parts.binary)) == (json_part, binary)


def test_what_counts_as_json_is_what_precedes_the_tensors() -> None:
    assert bytes(split(b"{}" + b"x" * 1000, "2", 2).json) == b"{}"
    for length in (None, "3"):
        with pytest.raises(TooLarge) as refused:
            split(b"{} ", length, 2)
        assert refused.value.facts["limit"] == "2"
