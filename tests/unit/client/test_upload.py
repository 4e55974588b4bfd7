"""Uploads over real sockets: order, chunks, refusals half-way, files that change, cancelling."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from interlock import convert
from interlock.errors import (
    InvalidArgument,
    InvalidGolden,
    InvalidModel,
    NotReady,
)
from interlock.model import ServingConfig
from interlock.v1 import admin_pb2 as pb
from interlock_client import AsyncAdmin

from tests.support import eventually_async
from tests.unit.client.kinds import Kind
from tests.unit.client.scripted import ScriptedServer, a_version, receive, registered, unavailable


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    model, golden = tmp_path / "digits.onnx", tmp_path / "digits.npz"
    model.write_bytes(bytes(range(256)) * 10_000)  # 2.4 MiB: three chunks, the last one short
    golden.write_bytes(b"golden")
    return model, golden


def test_an_upload_announces_its_files_and_sends_them_in_order(
    kind: Kind, server: ScriptedServer, files: tuple[Path, Path]
) -> None:
    uploads: list[tuple[pb.RegisterVersionRequest.Header, bytes]] = []

    def register(parts: Any, _: object) -> pb.RegisterVersionResponse:
        uploads.append(receive(parts))
        return registered(4)

    server.behaviours["RegisterVersion"] = register
    progress: list[tuple[int, int]] = []
    version = kind.admin(server.address).register(
        "digits",
        files[0],
        golden=str(files[1]),
        config=ServingConfig(max_batch_size=8),
        note="n",
        tags={"a": "b"},
        idempotency_key="k",
        progress=lambda sent, total: progress.append((sent, total)),
    )
    assert version == a_version(4)
    message, content = uploads[0]
    header = convert.from_header(message)
    assert [(file.name, file.role.value, file.size_bytes) for file in header.files] == [
        ("digits.onnx", "MODEL", 2_560_000),
        ("digits.npz", "GOLDEN", 6),
    ]
    assert content == files[0].read_bytes() + files[1].read_bytes()
    assert (header.model, header.note, header.tags) == ("digits", "n", {"a": "b"})
    assert header.config == ServingConfig(max_batch_size=8)
    assert header.options.idempotency_key == "k"
    total = 2_560_006
    assert progress == [(1_048_576, total), (2_097_152, total), (2_560_000, total), (total, total)]


def test_no_chunk_is_over_one_mib(kind: Kind, server: ScriptedServer, files: tuple[Path, Path]) -> None:
    sizes: list[int] = []

    def register(parts: Any, _: object) -> pb.RegisterVersionResponse:
        sizes.extend(len(part.chunk) for part in parts)
        return registered()

    server.behaviours["RegisterVersion"] = register
    kind.admin(server.address).register("digits", files[0])
    assert sizes == [0, 1_048_576, 1_048_576, 462_848]


def test_an_upload_is_never_repeated(kind: Kind, server: ScriptedServer, files: tuple[Path, Path]) -> None:
    server.behaviours["RegisterVersion"] = unavailable(1, lambda *_: registered())
    with pytest.raises(NotReady):
        kind.admin(server.address).register("digits", files[0])
    assert server.calls == ["RegisterVersion"]


def test_a_refusal_before_the_last_chunk_is_the_answer(kind: Kind, server: ScriptedServer, tmp_path: Path) -> None:
    path = tmp_path / "big.onnx"
    path.write_bytes(bytes(8 * 1024 * 1024))

    def refuse(parts: Any, _: object) -> Any:
        next(parts)
        raise InvalidModel("not ONNX", check="format")

    server.behaviours["RegisterVersion"] = refuse
    with pytest.raises(InvalidModel, match="not ONNX") as caught:
        kind.admin(server.address).register("digits", path)
    assert caught.value.facts == {"check": "format"}


@pytest.mark.parametrize(
    ("model", "golden", "error", "why"),
    [
        ("absent.onnx", None, InvalidModel, "model file '.*absent.onnx' cannot be read: No such file"),
        (".", None, InvalidModel, "cannot be read: Is a directory"),
        ("digits.onnx", "absent.npz", InvalidGolden, "golden file '.*absent.npz' cannot be read: No such file"),
    ],
)
def test_files_that_cannot_be_read_are_named(
    kind: Kind,
    server: ScriptedServer,
    files: tuple[Path, Path],
    model: str,
    golden: str | None,
    error: type[InvalidArgument],
    why: str,
) -> None:
    folder = files[0].parent
    with pytest.raises(error, match=why):
        kind.admin(server.address).register("digits", folder / model, golden=golden and folder / golden)
    assert server.calls == []


def test_a_file_that_shrinks_while_it_is_sent_is_an_error_of_its_own(
    kind: Kind, server: ScriptedServer, files: tuple[Path, Path]
) -> None:
    def register(parts: Any, _: object) -> pb.RegisterVersionResponse:
        receive(parts)
        return registered()

    server.behaviours["RegisterVersion"] = register

    def shrink(sent: int, total: int) -> None:
        with files[0].open("r+b") as file:
            file.truncate(sent)

    with pytest.raises(InvalidArgument, match="was changed while it was uploaded"):
        kind.admin(server.address).register("digits", files[0], progress=shrink)


def test_an_error_of_the_progress_callback_reaches_the_caller(
    kind: Kind, server: ScriptedServer, files: tuple[Path, Path]
) -> None:
    server.behaviours["RegisterVersion"] = lambda parts, _: (receive(parts), registered())[1]

    def fail(sent: int, total: int) -> None:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        kind.admin(server.address).register("digits", files[0], progress=fail)


async def test_a_cancelled_upload_is_cancelled_on_the_server(server: ScriptedServer, files: tuple[Path, Path]) -> None:
    gone = threading.Event()

    def register(parts: Any, context: grpc.ServicerContext) -> pb.RegisterVersionResponse:
        context.add_callback(gone.set)
        gone.wait(60)
        return registered()

    server.behaviours["RegisterVersion"] = register
    async with AsyncAdmin(server.address) as admin:
        task = asyncio.create_task(admin.register("digits", files[0]))
        await eventually_async(lambda: bool(server.calls), "the upload has reached the server")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(gone.wait, 60)
