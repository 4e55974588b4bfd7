from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message
from interlock.errors import (
    DeadlineExceeded,
    InterlockError,
    InvalidArgument,
    InvalidModel,
    InvalidName,
    NotProven,
    StorageFull,
    TooLarge,
)
from interlock.keys import SigningKey
from interlock.model import FileRole, UploadFile, UploadHeader
from interlock.status import from_wire
from interlock.v1 import admin_pb2 as pb
from interlock.v1 import admin_pb2_grpc
from interlock_server.control.metrics import ControlMetrics
from interlock_server.control.uploads import Uploads
from interlock_server.rpc import signing
from interlock_server.settings import Settings
from interlock_server.trust.keys import TrustedKey, TrustedKeys
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
        ([header(model, note="a\0b")], InvalidArgument, "NUL character"),
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


async def test_whoever_begins_to_upload_and_never_says_what_is_told_so(
    admin: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "HEADER_WITHIN_S", 0.05)
    answers: tuple[Awaitable[object], ...] = (admin.RegisterVersion(), admin.RegisterSigned().read())
    for answer in answers:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await answer
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "nothing of the upload came within 0.05 s" in (caught.value.details() or "")


async def test_whoever_never_signs_what_he_has_uploaded_is_told_so(
    engine: Engine, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "SIGN_WITHIN_S", 0.05)
    key = SigningKey.create(tmp_path / "key")
    now = datetime.now(UTC)
    trusted = TrustedKey(public=key.public, name="ada", models=("*",), added_at=now, added_by="local:ada")
    path = tmp_path / "trusted-keys.json"
    path.write_text(TrustedKeys((trusted,)).to_json())
    async with (
        running(engine, tmp_path / "signed", trusted_keys=str(path)) as rig,
        grpc.aio.insecure_channel(rig.admin_address) as channel,
    ):
        call = Stub(channel).RegisterSigned()
        said = pb.RegisterSignedRequest.Header(upload=header(model).header, key=key.public.id)
        await call.write(pb.RegisterSignedRequest(header=said))
        for each in chunks(model):
            await call.write(pb.RegisterSignedRequest(chunk=each.chunk))
        await call.write(pb.RegisterSignedRequest(complete=True))
        asked = await call.read()
        assert isinstance(asked, pb.RegisterSignedResponse) and asked.statement
        with pytest.raises(grpc.aio.AioRpcError, match=r"no signature came within 0\.05 s"):
            await call.read()
        assert await rig.events() == [("register", "ABORTED")]


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


async def test_an_upload_of_which_nothing_comes_is_given_up_and_the_room_that_it_wanted_is_free_again(
    tmp_path: Path,
) -> None:
    much = shutil.disk_usage(tmp_path).free * 2 // 5
    settings = Settings.load(
        {"data": tmp_path, "default_deadline_s": 0.1, "max_deadline_s": 0.2, "max_upload_bytes": much}, None
    )
    (tmp_path / "uploads").mkdir()
    uploads = Uploads(settings, tmp_path / "uploads", ControlMetrics())
    graph, data = UploadFile("m.onnx", FileRole.MODEL, 1, "0" * 64), UploadFile("d", FileRole.DATA, much, "0" * 64)
    large = UploadHeader("m", (graph, data))
    begun, again = asyncio.Event(), 0

    async def nothing() -> AsyncIterator[bytes]:
        nonlocal again
        begun.set()
        while True:
            again += 1
            await asyncio.sleep(0.01)
            yield b""

    uploads.check(large)
    stalled = asyncio.create_task(uploads.receive(large, nothing()))
    await begun.wait()
    with pytest.raises(StorageFull, match=f"other uploads are going to take {much + 1} of them"):
        uploads.check(large)
    with pytest.raises(DeadlineExceeded, match=r"nothing of the upload came for 0.2 s, after 0 bytes"):
        await stalled
    assert again > 1, "empty messages are nothing"
    uploads.check(large)
    assert list((tmp_path / "uploads").iterdir()) == []
