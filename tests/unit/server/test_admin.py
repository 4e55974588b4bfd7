from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from interlock.errors import (
    AliasNotFound,
    FailedPrecondition,
    GenerationConflict,
    InterlockError,
    InvalidArgument,
    InvalidModel,
    InvalidName,
    InvalidRef,
    ModelNotFound,
    NotProven,
    TooLarge,
    VersionInUse,
    VersionNotFound,
)
from interlock.model import ServableState
from interlock.protocols.health_pb2 import HealthCheckRequest, HealthCheckResponse
from interlock.status import from_wire
from interlock.v1 import admin_pb2 as pb
from interlock.v1 import admin_pb2_grpc
from interlock_server.worker.engine import Engine

from tests import models
from tests.support import eventually_async
from tests.unit.server.rig import Rig, running

if TYPE_CHECKING:
    from interlock.v1.admin_pb2_grpc import AdminServiceAsyncStub as Stub
else:
    Stub = admin_pb2_grpc.AdminServiceStub

HEALTH = "/grpc.health.v1.Health/"


@pytest.fixture
async def channel(rig: Rig) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(rig.admin_address) as made:
        yield made


@pytest.fixture
def admin(channel: grpc.aio.Channel) -> Stub:
    return Stub(channel)


async def refusal(call: Awaitable[Message]) -> InterlockError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = caught.value
    return from_wire(error.code(), error.details() or "", list(error.trailing_metadata()))


# --- changes ---


async def test_a_whole_life_of_a_version(rig: Rig, admin: Stub) -> None:
    for scale in (1.0, 2.0):
        await rig.add(scale=scale)
    promoted = await admin.Promote(pb.PromoteRequest(model="m", version=1))
    assert (promoted.result.alias, promoted.result.generation) == ("stable", 1)
    await admin.Promote(pb.PromoteRequest(model="m", version=2, options=pb.MutationOptions(expected_generation=1)))
    back = await admin.Rollback(pb.RollbackRequest(model="m"))
    assert (back.result.from_version, back.result.to_version, list(back.result.stack)) == (2, 1, [])
    assert type(await refusal(admin.RetireVersion(pb.RetireVersionRequest(model="m", version=1)))) is VersionInUse
    await admin.PinVersion(pb.PinVersionRequest(model="m", version=2))
    assert type(await refusal(admin.RetireVersion(pb.RetireVersionRequest(model="m", version=2)))) is VersionInUse
    await admin.UnpinVersion(pb.UnpinVersionRequest(model="m", version=2))
    assert type(await refusal(admin.DeleteVersion(pb.DeleteVersionRequest(model="m", version=2)))) is VersionInUse
    retired = await admin.RetireVersion(pb.RetireVersionRequest(model="m", version=2))
    assert retired.version.version == 2
    await admin.DeleteVersion(pb.DeleteVersionRequest(model="m", version=2))
    await admin.RemoveAlias(pb.RemoveAliasRequest(model="m", alias="stable"))
    assert type(await refusal(admin.Rollback(pb.RollbackRequest(model="m")))) is AliasNotFound
    events = (await admin.ListEvents(pb.ListEventsRequest(model="m"))).events
    assert [event.seq for event in events] == sorted((event.seq for event in events), reverse=True)
    assert [event.outcome for event in events].count("VERSION_IN_USE") == 3


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (pb.PromoteRequest(model="no_such", version=1), ModelNotFound),
        (pb.PromoteRequest(model="m", version=9), VersionNotFound),
        (pb.PromoteRequest(model="m"), VersionNotFound),
        (pb.PromoteRequest(model="m", version=-1), VersionNotFound),
        (pb.PromoteRequest(model="m", version=2**63 - 1), VersionNotFound),
        (pb.PromoteRequest(model="", version=1), InvalidName),
        (pb.PromoteRequest(model="a/b", version=1), InvalidName),
        (pb.PromoteRequest(model="m", version=1, alias="Bad"), InvalidName),
        (
            pb.PromoteRequest(model="m", version=1, options=pb.MutationOptions(expected_generation=5)),
            GenerationConflict,
        ),
        (pb.PromoteRequest(model="m", version=1, options=pb.MutationOptions(reason="x" * 1025)), InvalidArgument),
        (
            pb.PromoteRequest(model="m", version=1, options=pb.MutationOptions(idempotency_key="x" * 257)),
            InvalidArgument,
        ),
    ],
)
async def test_a_promote_that_cannot_be_is_refused(
    rig: Rig, admin: Stub, request_: pb.PromoteRequest, error: type[InterlockError]
) -> None:
    await rig.add()
    assert type(await refusal(admin.Promote(request_))) is error
    assert rig.live() is None


async def test_who_asks_and_under_which_id_is_in_the_event(rig: Rig, admin: Stub) -> None:
    await rig.add()
    await admin.Promote(
        pb.PromoteRequest(model="m", version=1, options=pb.MutationOptions(reason="because")),
        metadata=(("interlock-user", "ada"), ("x-request-id", "r-42")),
    )
    await admin.Promote(pb.PromoteRequest(model="m", version=1, alias="canary"))
    second, first, *_ = (await admin.ListEvents(pb.ListEventsRequest())).events
    assert (first.actor, first.request_id, first.reason) == ("unverified:ada", "r-42", "because")
    assert second.actor == "anonymous" and len(second.request_id) == 32


async def test_a_dry_run_says_what_would_be(rig: Rig, admin: Stub) -> None:
    await rig.add()
    answer = await admin.Promote(pb.PromoteRequest(model="m", version=1, options=pb.MutationOptions(dry_run=True)))
    assert answer.result.dry_run and rig.live() is None
    pin = pb.PinVersionRequest(model="m", version=1, options=pb.MutationOptions(dry_run=True))
    assert isinstance(await refusal(admin.PinVersion(pin)), FailedPrecondition)


# --- questions ---


async def test_listings_come_in_parts_that_fit_together(rig: Rig, admin: Stub) -> None:
    for number in range(5):
        await rig.add(f"m{number}")
    await rig.add("m0")
    names: list[str] = []
    token = ""
    while True:
        page = await admin.ListModels(pb.ListModelsRequest(page_size=2, page_token=token))
        assert len(page.models) <= 2
        names += [each.name for each in page.models]
        token = page.next_page_token
        if not token:
            break
    assert names == [f"m{number}" for number in range(5)]
    first = await admin.ListVersions(pb.ListVersionsRequest(model="m0", page_size=1))
    second = await admin.ListVersions(pb.ListVersionsRequest(model="m0", page_size=1, page_token=first.next_page_token))
    assert [first.versions[0].version, second.versions[0].version] == [2, 1]
    assert second.next_page_token == ""
    assert len((await admin.ListEvents(pb.ListEventsRequest(page_size=100_000))).events) == 6


async def test_questions_that_make_no_sense_are_refused(rig: Rig, admin: Stub) -> None:
    await rig.add()
    for call, error in (
        (admin.ListModels(pb.ListModelsRequest(page_size=-1)), InvalidArgument),
        (admin.ListModels(pb.ListModelsRequest(page_token="%%%")), InvalidArgument),
        (admin.ListVersions(pb.ListVersionsRequest(model="m", page_token="bm8")), InvalidArgument),
        (admin.ListVersions(pb.ListVersionsRequest(model="no_such")), ModelNotFound),
        (admin.ListVersions(pb.ListVersionsRequest(model="a b")), InvalidName),
        (admin.ListEvents(pb.ListEventsRequest(page_token="bm8")), InvalidArgument),
        (admin.ListEvents(pb.ListEventsRequest(until=Timestamp(seconds=2**62))), InvalidArgument),
        (admin.ListEvents(pb.ListEventsRequest(until=Timestamp(seconds=-(2**62)))), InvalidArgument),
        (admin.ListEvents(pb.ListEventsRequest(until=Timestamp(nanos=-5))), InvalidArgument),
        (admin.GetVersion(pb.GetVersionRequest(ref="m@x")), InvalidRef),
        (admin.GetVersion(pb.GetVersionRequest(ref="m@7")), VersionNotFound),
        (admin.GetVersion(pb.GetVersionRequest(ref="m:none")), AliasNotFound),
        (admin.GetVersion(pb.GetVersionRequest(ref="")), InvalidName),
    ):
        found = await refusal(call)
        assert type(found) is error, found


async def test_events_up_to_a_time_before_the_first_are_none(rig: Rig, admin: Stub) -> None:
    await rig.add()
    assert not (await admin.ListEvents(pb.ListEventsRequest(until=Timestamp(seconds=0)))).events
    assert not (await admin.ListEvents(pb.ListEventsRequest(model="other"))).events


async def test_status_tells_how_the_replica_stands(rig: Rig, admin: Stub) -> None:
    await rig.promote(await rig.add())
    await eventually_async(lambda: rig.workers.statuses()[0].epoch == rig.replica.epoch, "the worker has reported")
    status = await admin.GetStatus(pb.GetStatusRequest())
    assert status.ready and status.replica == "r" and not status.degraded
    assert [(each.model, each.version, each.generation) for each in status.aliases] == [("m", 1, 1)]
    assert status.workers[0].reachable and status.workers[0].pid == os.getpid()
    assert [each.state for each in status.workers[0].servables] == [pb.SERVABLE_STATE_READY]


# --- health ---


async def check(channel: grpc.aio.Channel, service: str) -> int:
    method = channel.unary_unary(
        HEALTH + "Check",
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )
    return (await method(HealthCheckRequest(service=service))).status


def watch(channel: grpc.aio.Channel, service: str) -> grpc.aio.UnaryStreamCall[HealthCheckRequest, HealthCheckResponse]:
    method: grpc.aio.UnaryStreamMultiCallable[HealthCheckRequest, HealthCheckResponse] = channel.unary_stream(
        HEALTH + "Watch",
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )
    return method(HealthCheckRequest(service=service))


async def test_health_of_the_replica_and_of_its_models(rig: Rig, channel: grpc.aio.Channel) -> None:
    await rig.promote(await rig.add())
    for service in ("", "interlock.v1.AdminService", "inference.GRPCInferenceService"):
        assert await check(channel, service) == HealthCheckResponse.SERVING
    await eventually_async(lambda: rig.workers.statuses()[0].servables != (), "the worker has reported")
    for service in ("model/m", "model/m@1", "model/m:stable"):
        assert await check(channel, service) == HealthCheckResponse.SERVING
    for service in ("other", "model/no_such", "model/a b", "model/m@9", "model/m:none"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await check(channel, service)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_commit_of_another_model_makes_nobody_unhealthy(rig: Rig, channel: grpc.aio.Channel) -> None:
    await rig.promote(await rig.add())
    await rig.add("other")
    await eventually_async(lambda: rig.workers.statuses()[0].servables != (), "the worker has reported")
    promoting = asyncio.create_task(rig.promote(1, "other"))
    seen: set[int] = set()
    while not promoting.done():
        seen |= {await check(channel, "model/m"), await check(channel, "")}
    await promoting
    assert seen <= {HealthCheckResponse.SERVING}


async def test_a_watch_tells_of_changes_and_ends_with_the_process(rig: Rig, channel: grpc.aio.Channel) -> None:
    call = watch(channel, "model/m")
    stream = call.__aiter__()
    assert (await anext(stream)).status == HealthCheckResponse.SERVICE_UNKNOWN
    await rig.promote(await rig.add())
    seen = [(await anext(stream)).status]
    while seen[-1] != HealthCheckResponse.SERVING:
        seen.append((await anext(stream)).status)
    rig.standing.stopping = True
    rig.workers._tell()
    seen += [message.status async for message in stream]
    assert seen[-1] == HealthCheckResponse.NOT_SERVING


async def test_a_replica_stays_ready_while_a_version_is_prepared(rig: Rig) -> None:
    await rig.promote(await rig.add())
    stuck = await rig.add_stuck()
    promoting = asyncio.create_task(rig.promote(stuck))
    await eventually_async(
        lambda: any(each.state is ServableState.LOADING for each in rig.workers.statuses()[0].servables),
        "the worker reports that it loads",
    )
    assert rig.standing.ready
    rig.let_go()
    with pytest.raises(FailedPrecondition):
        await promoting


# --- uploads ---


def header(path: Path, **changes: object) -> pb.RegisterVersionRequest:
    content = path.read_bytes()
    fields: dict[str, object] = {
        "model": "m",
        "files": [
            pb.UploadFile(
                name=path.name,
                role=pb.FILE_ROLE_MODEL,
                size_bytes=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
            )
        ],
        **changes,
    }
    return pb.RegisterVersionRequest(header=pb.RegisterVersionRequest.Header(**fields))  # type: ignore[arg-type]


def chunks(path: Path, size: int = 100) -> list[pb.RegisterVersionRequest]:
    content = path.read_bytes()
    return [pb.RegisterVersionRequest(chunk=content[at : at + size]) for at in range(0, len(content), size)]


async def upload(admin: Stub, messages: Iterable[pb.RegisterVersionRequest]) -> pb.RegisterVersionResponse:
    async def stream() -> AsyncIterator[pb.RegisterVersionRequest]:
        for message in messages:
            yield message

    return await admin.RegisterVersion(stream())


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return models.write(tmp_path / "m.onnx", models.affine(scale=2.0))


def leftovers(rig: Rig) -> list[Path]:
    return list(rig.data.uploads.iterdir())


async def test_an_upload_becomes_a_version_and_leaves_nothing_behind(rig: Rig, admin: Stub, model: Path) -> None:
    answer = await upload(admin, [header(model, note="n", tags={"run": "7"}), *chunks(model)])
    assert (answer.version.version, answer.version.proven, answer.version.note) == (1, False, "n")
    assert dict(answer.version.tags) == {"run": "7"}
    assert leftovers(rig) == []
    await rig.promote(1)
    assert rig.live() == 1


async def test_the_same_upload_under_the_same_key_is_one_version(rig: Rig, admin: Stub, model: Path) -> None:
    message = header(model, options=pb.MutationOptions(idempotency_key="k"))
    first, second = await asyncio.gather(*(upload(admin, [message, *chunks(model)]) for _ in range(2)))
    third = await upload(admin, [message])
    assert first == second == third
    assert await rig.events() == [("register", "ok")]
    assert leftovers(rig) == []


async def test_an_uploader_that_leaves_does_not_take_the_files_from_under_the_change(
    rig: Rig, admin: Stub, model: Path
) -> None:
    task = asyncio.create_task(upload(admin, [header(model), *chunks(model)]))
    await eventually_async(lambda: bool(rig.mutations._tasks), "it is being validated")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually_async(lambda: not rig.mutations._tasks, "it came to an end")
    assert await rig.events() == [("register", "ok")]
    await eventually_async(lambda: leftovers(rig) == [], "its files are gone")


def spoiled(message: pb.RegisterVersionRequest, **changes: object) -> pb.RegisterVersionRequest:
    for name, value in changes.items():
        setattr(message.header.files[0], name, value)
    return message


async def test_uploads_that_are_not_what_they_announce_are_refused(rig: Rig, admin: Stub, model: Path) -> None:
    size = len(model.read_bytes())
    doubled = header(model)
    doubled.header.files.append(doubled.header.files[0])
    golden_only = spoiled(header(model), role=pb.FILE_ROLE_GOLDEN)
    cases: list[tuple[list[pb.RegisterVersionRequest], type[InterlockError], str]] = [
        ([], InvalidArgument, "must be its header"),
        ([*chunks(model)], InvalidArgument, "must be its header"),
        ([header(model), header(model)], InvalidArgument, "chunks only"),
        ([header(model), *chunks(model)[:-1]], InvalidArgument, "bytes before its announced size"),
        ([header(model), *chunks(model), *chunks(model)], InvalidArgument, "more bytes came"),
        ([spoiled(header(model), sha256="0" * 64), *chunks(model)], InvalidArgument, "hashes to"),
        ([spoiled(header(model), sha256="zz")], InvalidArgument, "sha256 in hexadecimal"),
        ([spoiled(header(model), size_bytes=-1)], InvalidArgument, "needs its size"),
        ([spoiled(header(model), size_bytes=2**40)], TooLarge, "max_upload_bytes"),
        ([spoiled(header(model), size_bytes=size + 1), *chunks(model)], InvalidArgument, "ended 1 bytes before"),
        ([doubled], InvalidArgument, "one model file"),
        ([golden_only], InvalidArgument, "one model file"),
        ([header(model, files=[])], InvalidArgument, "one model file"),
        ([header(model, model="a b")], InvalidName, "not a valid model name"),
        ([header(model, note="x" * 9000)], InvalidArgument, "note is over"),
        ([header(model, tags={str(n): "" for n in range(65)})], InvalidArgument, "at most 64 tags"),
        ([header(model, config={"max_queue_size": 0})], InvalidArgument, "max_queue_size is 0"),
        ([header(model, config={"max_batch_size": -1, "max_queue_size": 1})], InvalidArgument, "max_batch_size is -1"),
    ]
    for messages, error, why in cases:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await upload(admin, messages)
        found = from_wire(caught.value.code(), caught.value.details() or "", list(caught.value.trailing_metadata()))
        assert type(found) is error, (why, found)
        assert why in found.message
    assert leftovers(rig) == []
    assert all(outcome != "ok" for _, outcome in await rig.events())


async def test_what_is_no_model_is_refused_and_recorded(rig: Rig, admin: Stub, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"this is no ONNX file")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await upload(admin, [header(path), *chunks(path)])
    assert type(from_wire(caught.value.code(), "", list(caught.value.trailing_metadata()))) is InvalidModel
    assert await rig.events() == [("register", "INVALID_MODEL")]


async def test_a_policy_for_golden_samples_is_kept(engine: Engine, tmp_path: Path, model: Path) -> None:
    async with (
        running(engine, tmp_path / "strict", require_golden=True) as rig,
        grpc.aio.insecure_channel(rig.admin_address) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await upload(Stub(channel), [header(model), *chunks(model)])
        assert type(from_wire(caught.value.code(), "", list(caught.value.trailing_metadata()))) is NotProven
