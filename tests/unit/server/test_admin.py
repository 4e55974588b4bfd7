from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from interlock.errors import (
    AliasNotFound,
    FailedPrecondition,
    GenerationConflict,
    InterlockError,
    InvalidArgument,
    InvalidName,
    InvalidRef,
    ModelNotFound,
    VersionInUse,
    VersionNotFound,
)
from interlock.model import ServableState
from interlock.protocols.health_pb2 import HealthCheckRequest, HealthCheckResponse
from interlock.status import from_wire
from interlock.v1 import admin_pb2 as pb
from interlock.v1 import admin_pb2_grpc

from tests.support import eventually_async
from tests.unit.server.rig import Rig

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
    assert await rig.events() == [("register", "ok"), ("promote", error.reason)], "whatever is wrong with an attempt"


async def test_every_kind_of_change_of_a_name_that_cannot_be_leaves_its_refusal(rig: Rig, admin: Stub) -> None:
    bad = "no/model"
    for call in (
        admin.Promote(pb.PromoteRequest(model=bad, version=1)),
        admin.Rollback(pb.RollbackRequest(model="m", alias="NO")),
        admin.RemoveAlias(pb.RemoveAliasRequest(model="m", alias="NO")),
        admin.PinVersion(pb.PinVersionRequest(model=bad, version=1)),
        admin.UnpinVersion(pb.UnpinVersionRequest(model=bad, version=1)),
        admin.RetireVersion(pb.RetireVersionRequest(model=bad, version=1)),
        admin.DeleteVersion(pb.DeleteVersionRequest(model=bad, version=1)),
        admin.RegisterVersion(iter([pb.RegisterVersionRequest(header=pb.RegisterVersionRequest.Header(model=bad))])),
    ):
        assert type(await refusal(call)) is InvalidName
    assert [outcome for _, outcome in await rig.events()] == ["INVALID_NAME"] * 8
    assert type(await refusal(admin.RegisterVersion(iter([pb.RegisterVersionRequest(chunk=b"x")])))) is InvalidArgument
    assert (await rig.events())[8:] == [("register", "INVALID_ARGUMENT")]
    asked_by_name = await admin.ListEvents(pb.ListEventsRequest(model=bad))
    assert len(asked_by_name.events) == 6


async def test_a_refused_name_is_the_answer_to_its_key(rig: Rig, admin: Stub) -> None:
    request = pb.PinVersionRequest(model="no/model", version=1, options=pb.MutationOptions(idempotency_key="k"))
    for _ in range(2):
        assert type(await refusal(admin.PinVersion(request))) is InvalidName
    assert await rig.events() == [("pin", "INVALID_NAME")]


async def test_a_dry_run_of_what_cannot_be_is_refused_and_no_event(rig: Rig, admin: Stub) -> None:
    request = pb.PromoteRequest(model="no/model", version=1, options=pb.MutationOptions(dry_run=True))
    assert type(await refusal(admin.Promote(request))) is InvalidName
    assert await rig.events() == []


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


Change = Callable[[Stub, pb.MutationOptions], Awaitable[Message]]


def register(admin: Stub, options: pb.MutationOptions) -> Awaitable[Message]:
    header = pb.RegisterVersionRequest.Header(model="m", options=options)
    return admin.RegisterVersion(iter([pb.RegisterVersionRequest(header=header)]))


async def register_signed(admin: Stub, options: pb.MutationOptions) -> Message:
    upload = pb.RegisterVersionRequest.Header(model="m", options=options)
    header = pb.RegisterSignedRequest.Header(upload=upload, key="key")
    async for message in admin.RegisterSigned(iter([pb.RegisterSignedRequest(header=header)])):
        return message
    raise AssertionError("it ended well and said nothing")


MOVES: Mapping[str, Change] = {
    "Promote": lambda admin, options: admin.Promote(pb.PromoteRequest(model="m", version=1, options=options)),
    "Rollback": lambda admin, options: admin.Rollback(pb.RollbackRequest(model="m", options=options)),
}
CHANGES: Mapping[str, Change] = {
    "RemoveAlias": lambda admin, options: admin.RemoveAlias(pb.RemoveAliasRequest(model="m", options=options)),
    "PinVersion": lambda admin, options: admin.PinVersion(pb.PinVersionRequest(model="m", version=1, options=options)),
    "UnpinVersion": lambda admin, options: admin.UnpinVersion(
        pb.UnpinVersionRequest(model="m", version=1, options=options)
    ),
    "RetireVersion": lambda admin, options: admin.RetireVersion(
        pb.RetireVersionRequest(model="m", version=1, options=options)
    ),
    "DeleteVersion": lambda admin, options: admin.DeleteVersion(
        pb.DeleteVersionRequest(model="m", version=1, options=options)
    ),
    "ApproveVersion": lambda admin, options: admin.ApproveVersion(
        pb.ApproveVersionRequest(model="m", version=1, options=options)
    ),
    "WithdrawApproval": lambda admin, options: admin.WithdrawApproval(
        pb.WithdrawApprovalRequest(model="m", version=1, options=options)
    ),
    "SignVersion": lambda admin, options: admin.SignVersion(
        pb.SignVersionRequest(model="m", version=1, options=options)
    ),
    "QuantizeVersion": lambda admin, options: admin.QuantizeVersion(
        pb.QuantizeVersionRequest(ref="m@1", to="int8", options=options)
    ),
    "RegisterVersion": register,
    "RegisterSigned": register_signed,
}


def test_every_change_is_among_these() -> None:
    service = pb.DESCRIPTOR.services_by_name["AdminService"]
    assert {each.name for each in service.methods if takes_options(each.input_type)} == MOVES.keys() | CHANGES.keys()


def takes_options(message: Descriptor) -> bool:
    inner = [each.message_type for each in message.fields if each.message_type is not None]
    return any(each.name == "MutationOptions" or takes_options(each) for each in inner)


async def test_a_change_that_cannot_be_tried_out_is_not_made_where_it_is_to_be_tried(rig: Rig, admin: Stub) -> None:
    await rig.add()
    for change in CHANGES.values():
        error = await refusal(change(admin, pb.MutationOptions(dry_run=True)))
        assert isinstance(error, FailedPrecondition) and "no dry run" in error.message
    assert await rig.events() == [("register", "ok")]


async def test_a_generation_is_expected_only_of_an_alias_that_moves(rig: Rig, admin: Stub) -> None:
    await rig.add()
    changes = {name: change for name, change in CHANGES.items() if name != "RemoveAlias"}
    for name, change in changes.items():
        for _ in range(2):  # refused, and then by its key
            error = await refusal(change(admin, pb.MutationOptions(expected_generation=0, idempotency_key=name)))
            assert type(error) is InvalidArgument and error.violations[0].field == "options.expected_generation"
    assert [outcome for _, outcome in await rig.events()] == ["ok", *["INVALID_ARGUMENT"] * len(changes)]


async def test_a_wait_without_an_end_is_refused(rig: Rig, admin: Stub) -> None:
    await rig.add()
    for wait_s in (float("nan"), float("inf"), -1.0):
        for move in MOVES.values():
            error = await refusal(move(admin, pb.MutationOptions(wait_s=wait_s)))
            assert type(error) is InvalidArgument and error.violations[0].field == "options.wait_s"
    assert rig.live() is None


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
    await eventually_async(
        lambda: rig.workers.reported.statuses[0].epoch == rig.replica.epoch, "the worker has reported"
    )
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
    await eventually_async(lambda: rig.workers.reported.statuses[0].servables != (), "the worker has reported")
    for service in ("model/m", "model/m@1", "model/m:stable"):
        assert await check(channel, service) == HealthCheckResponse.SERVING
    for service in ("other", "model/no_such", "model/a b", "model/m@9", "model/m:none"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await check(channel, service)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_commit_of_another_model_makes_nobody_unhealthy(rig: Rig, channel: grpc.aio.Channel) -> None:
    await rig.promote(await rig.add())
    await rig.add("other")
    await eventually_async(lambda: rig.workers.reported.statuses[0].servables != (), "the worker has reported")
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
        lambda: any(each.state is ServableState.LOADING for each in rig.workers.reported.statuses[0].servables),
        "the worker reports that it loads",
    )
    assert rig.standing.ready
    rig.let_go()
    with pytest.raises(FailedPrecondition):
        await promoting
