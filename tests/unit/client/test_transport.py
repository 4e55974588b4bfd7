"""Deadlines, retries, reconnects, errors and uploads over real sockets, the same for both kinds of client."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from interlock import convert
from interlock.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    GenerationConflict,
    InvalidArgument,
    InvalidGolden,
    InvalidInput,
    InvalidModel,
    InvalidName,
    ModelNotFound,
    NotReady,
    ServerUnreachable,
    Unimplemented,
)
from interlock.model import Event, Model, ServingConfig, Switch
from interlock.protocols import open_inference_pb2 as oip
from interlock.v1 import admin_pb2 as pb
from interlock_client import Admin, AsyncAdmin, AsyncClient, Client

from tests.support import eventually
from tests.unit.client.scripted import NOON, ScriptedServer, a_version, receive, registered

X = np.ones((1, 2), np.float32)


class Kind:
    """Makes clients of one kind and runs their methods to the end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._runner = asyncio.Runner() if name == "async" else None
        self._open: list[Any] = []

    def client(self, target: str, **options: Any) -> Any:
        return self._made((AsyncClient if self._runner else Client)(target, **options))

    def admin(self, target: str, **options: Any) -> Any:
        return self._made((AsyncAdmin if self._runner else Admin)(target, **options))

    def _made(self, made: Any) -> Any:
        self._open.append(made)
        return Blocking(made, self._runner)

    def close(self) -> None:
        for made in self._open:
            Blocking(made, self._runner).close()
        if self._runner:
            self._runner.close()


class Blocking:
    """A client whose every method blocks."""

    def __init__(self, made: Any, runner: asyncio.Runner | None) -> None:
        self._made, self._runner = made, runner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._made, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if self._runner is None:
                return method(*args, **kwargs)
            return self._runner.run(method(*args, **kwargs))

        return call


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    made = Kind(request.param)
    yield made
    made.close()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    made = ScriptedServer()
    yield made
    made.stop()


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port


def unavailable(
    times: int, then: Callable[[Any, grpc.ServicerContext], Any]
) -> Callable[[Any, grpc.ServicerContext], Any]:
    left = [times]

    def behave(request: Any, context: grpc.ServicerContext) -> Any:
        if left[0] > 0:
            left[0] -= 1
            raise NotReady("still loading")
        return then(request, context)

    return behave


# --- inference ---


def test_an_answer_says_who_gave_it(kind: Kind, server: ScriptedServer) -> None:
    server.serve_model(version=3)
    result = kind.client(server.address).infer("digits:canary", {"x": X}, outputs=["y"], request_id="r1")
    assert np.array_equal(result["y"], X * 3)
    assert (result.model, result.version, result.alias, result.request_id) == ("digits", 3, "canary", "r1")
    assert (result.generation, result.digest, result.queue_s, result.run_s) == (7, "ab" * 32, 0.00025, 0.0015)


def test_the_servers_own_state_can_be_read(kind: Kind, server: ScriptedServer) -> None:
    server.behaviours["ServerLive"] = lambda *_: oip.ServerLiveResponse(live=True)
    server.behaviours["ServerReady"] = lambda *_: oip.ServerReadyResponse(ready=False)
    server.behaviours["ModelReady"] = lambda request, _: oip.ModelReadyResponse(ready=request.version == "3")
    server.behaviours["ServerMetadata"] = lambda *_: oip.ServerMetadataResponse(
        name="interlock", version="1", extensions=["e"]
    )
    server.serve_model(version=3)
    client = kind.client(server.address)
    assert client.server_live() is True
    assert client.server_ready() is False
    assert client.model_ready("m@3") is True
    assert client.model_ready("m") is False
    assert client.server_metadata().extensions == ("e",)
    assert client.metadata("m").version == 3


def test_a_servers_error_is_typed_and_keeps_facts_and_cause(kind: Kind, server: ScriptedServer) -> None:
    def refuse(*_: object) -> Any:
        raise ModelNotFound("digits")

    server.behaviours["ModelMetadata"] = refuse
    with pytest.raises(ModelNotFound, match="unknown model: 'digits'") as caught:
        kind.client(server.address).infer("digits", {"x": X})
    assert caught.value.facts == {"model": "digits"}
    assert isinstance(caught.value.__cause__, grpc.RpcError)


def test_unavailable_is_retried_until_it_answers(kind: Kind, server: ScriptedServer) -> None:
    server.serve_model()
    server.behaviours["ModelInfer"] = unavailable(2, server.behaviours["ModelInfer"])
    assert kind.client(server.address).infer("m", {"x": X}).version == 3
    assert server.calls.count("ModelInfer") == 3


def test_without_retries_the_first_failure_is_the_answer(kind: Kind, server: ScriptedServer) -> None:
    server.serve_model()
    server.behaviours["ModelInfer"] = unavailable(1, server.behaviours["ModelInfer"])
    with pytest.raises(NotReady, match="still loading"):
        kind.client(server.address, retries=0).infer("m", {"x": X})
    assert server.calls.count("ModelInfer") == 1


def test_retries_end_at_their_number(kind: Kind, server: ScriptedServer) -> None:
    server.serve_model()
    server.behaviours["ModelInfer"] = unavailable(9, server.behaviours["ModelInfer"])
    with pytest.raises(NotReady):
        kind.client(server.address, retries=1).infer("m", {"x": X})
    assert server.calls.count("ModelInfer") == 2


def test_only_unavailable_is_retried(kind: Kind, server: ScriptedServer) -> None:
    def refuse(*_: object) -> Any:
        raise FailedPrecondition("not now")

    server.behaviours["ModelMetadata"] = refuse
    with pytest.raises(FailedPrecondition):
        kind.client(server.address).infer("m", {"x": X})
    assert server.calls == ["ModelMetadata"]


def test_a_request_of_16_mib_is_retried_whole(kind: Kind, server: ScriptedServer) -> None:
    server.serve_model()
    server.behaviours["ModelInfer"] = unavailable(1, server.behaviours["ModelInfer"])
    big = np.ones((2 * 1024 * 1024, 2), np.float32)
    assert kind.client(server.address).infer("m", {"x": big})["y"].shape == big.shape
    assert server.calls.count("ModelInfer") == 2


def test_a_deadline_is_an_error_that_names_it(kind: Kind, server: ScriptedServer) -> None:
    server.serve_model()
    release = threading.Event()

    def hang(request: Any, context: grpc.ServicerContext) -> Any:
        release.wait(10)
        return oip.ModelInferResponse()

    server.behaviours["ModelInfer"] = hang
    try:
        with pytest.raises(DeadlineExceeded, match=r"ModelInfer got no answer from .* within 0\.2 s"):
            kind.client(server.address).infer("m", {"x": X}, timeout=0.2)
        with pytest.raises(DeadlineExceeded, match=r"within 0\.3 s"):
            kind.client(server.address, timeout=0.3).infer("m", {"x": X})
    finally:
        release.set()


def test_a_deadline_covers_all_the_calls_of_one_infer(kind: Kind, server: ScriptedServer) -> None:
    server.serve_model()
    seen: list[float] = []

    def noting(behaviour: Callable[..., Any], pause_s: float) -> Callable[..., Any]:
        def behave(request: Any, context: grpc.ServicerContext) -> Any:
            seen.append(context.time_remaining() or 0.0)
            threading.Event().wait(pause_s)
            return behaviour(request, context)

        return behave

    for name in ("ModelMetadata", "ModelInfer"):
        server.behaviours[name] = noting(server.behaviours[name], 0.3)
    kind.client(server.address).infer("m", {"x": X}, timeout=9)
    assert seen[1] < seen[0] - 0.2


def test_nobody_there_says_so_and_what_to_check(kind: Kind) -> None:
    target = f"127.0.0.1:{free_port()}"
    with pytest.raises(ServerUnreachable) as caught:
        kind.client(target, retries=0).server_live()
    assert target in caught.value.message
    assert "Connection refused" in caught.value.message
    assert "is `interlock serve` running there?" in caught.value.message
    assert "--server, INTERLOCK_SERVER" in caught.value.message
    assert caught.value.facts == {"address": target}
    with pytest.raises(ServerUnreachable, match="--admin, INTERLOCK_ADMIN"):
        kind.admin(target, retries=0).status()


def test_the_wrong_port_says_which_port_it_should_be(kind: Kind, server: ScriptedServer) -> None:
    only_health = grpc.server(None)  # type: ignore[arg-type]  # no handlers, so no threads either
    port = only_health.add_insecure_port("127.0.0.1:0")
    only_health.start()
    try:
        with pytest.raises(Unimplemented, match=r"is that the admin port \(127\.0\.0\.1:8002 by default\)\?"):
            kind.admin(f"127.0.0.1:{port}").models()
    finally:
        only_health.stop(None).wait()


def test_a_restarted_server_is_found_again(kind: Kind, server: ScriptedServer) -> None:
    server.serve_model()
    client = kind.client(server.address, retries=0)
    client.infer("m", {"x": X})
    server.stop()
    with pytest.raises(ServerUnreachable):
        client.infer("m", {"x": X})
    again = ScriptedServer(server.port)
    again.serve_model()

    def answers() -> bool:
        try:
            return bool(client.infer("m", {"x": X}).version == 3)
        except ServerUnreachable:
            return False

    try:
        eventually(answers, "the client found the restarted server", timeout_s=10)
    finally:
        again.stop()


def test_a_closed_client_says_so_and_closes_again(kind: Kind, server: ScriptedServer) -> None:
    client = kind.client(server.address)
    client.close()
    client.close()
    with pytest.raises(FailedPrecondition, match="is closed; make a new one"):
        client.server_live()


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), True, "5"])
def test_a_timeout_that_is_none_is_refused(kind: Kind, server: ScriptedServer, timeout: object) -> None:
    with pytest.raises(InvalidArgument, match="timeout must be a positive, finite number of seconds"):
        kind.client(server.address).server_live(timeout=timeout)


@pytest.mark.parametrize("retries", [-1, 5, 1.0, True])
def test_a_number_of_retries_that_grpc_would_not_keep_is_refused(kind: Kind, retries: object) -> None:
    with pytest.raises(InvalidArgument, match="retries must be a whole number from 0 to 4"):
        kind.client("127.0.0.1:1", retries=retries)


def test_wrong_inputs_are_refused_before_anything_is_sent(kind: Kind, server: ScriptedServer) -> None:
    server.serve_model()
    with pytest.raises(InvalidInput, match="got float64"):
        kind.client(server.address).infer("m", {"x": np.ones((1, 2))})
    assert server.calls == ["ModelMetadata"]


def test_a_callers_channel_options_win(kind: Kind, server: ScriptedServer) -> None:
    server.serve_model()
    client = kind.client(server.address, options=[("grpc.max_receive_message_length", 1)])
    with pytest.raises(Exception, match="larger than max"):
        client.infer("m", {"x": X})


# --- admin ---


def a_switch() -> Switch:
    return Switch("digits", "stable", 1, 2, 5, (1,), resident=True)


def test_a_promote_carries_every_option_and_who_asks(kind: Kind, server: ScriptedServer) -> None:
    server.behaviours["Promote"] = lambda *_: pb.PromoteResponse(result=convert.switch(a_switch()))
    done = kind.admin(server.address).promote(
        "digits", 2, alias="canary", reason="better", expect=4, allow_breaking=True, dry_run=True, idempotency_key="k"
    )
    assert done == a_switch()
    request = server.requests[0]
    assert (request.model, request.version, request.alias) == ("digits", 2, "canary")
    options = request.options
    assert (options.reason, options.expected_generation, options.idempotency_key) == ("better", 4, "k")
    assert options.allow_breaking
    assert options.dry_run
    user, request_id = server.headers[0]["interlock-user"], server.headers[0]["x-request-id"]
    assert isinstance(user, str)
    assert "@" in user
    assert len(request_id) == 32


def test_a_retried_change_carries_the_same_key_twice(kind: Kind, server: ScriptedServer) -> None:
    server.behaviours["Rollback"] = unavailable(1, lambda *_: pb.RollbackResponse(result=convert.switch(a_switch())))
    admin = kind.admin(server.address)
    admin.rollback("digits")
    admin.rollback("digits", to=1)
    keys = [request.options.idempotency_key for request in server.requests]
    assert keys[0] == keys[1] != keys[2]
    assert all(keys)
    assert [request.to_version for request in server.requests] == [0, 0, 1]
    assert not server.requests[0].options.HasField("expected_generation")


def test_an_expected_generation_of_zero_is_sent(kind: Kind, server: ScriptedServer) -> None:
    def refuse(*_: object) -> Any:
        raise GenerationConflict("digits", "stable", 0, 3)

    server.behaviours["Promote"] = refuse
    with pytest.raises(GenerationConflict) as caught:
        kind.admin(server.address).promote("digits", 1, expect=0)
    assert caught.value.facts["actual"] == "3"
    assert server.requests[0].options.HasField("expected_generation")


def test_the_other_changes_reach_their_rpcs(kind: Kind, server: ScriptedServer) -> None:
    version = convert.version(a_version())
    server.behaviours |= {  # type: ignore[misc]
        "RemoveAlias": lambda *_: pb.RemoveAliasResponse(),
        "PinVersion": lambda *_: pb.PinVersionResponse(),
        "UnpinVersion": lambda *_: pb.UnpinVersionResponse(),
        "RetireVersion": lambda *_: pb.RetireVersionResponse(version=version),
        "DeleteVersion": lambda *_: pb.DeleteVersionResponse(version=version),
    }
    admin = kind.admin(server.address)
    assert admin.remove_alias("digits", "canary") is None
    assert admin.pin("digits", 3) is None
    assert admin.unpin("digits", 3) is None
    assert admin.retire("digits", 3) == a_version()
    assert admin.delete("digits", 3) == a_version()
    assert server.calls == ["RemoveAlias", "PinVersion", "UnpinVersion", "RetireVersion", "DeleteVersion"]
    assert all(request.options.idempotency_key for request in server.requests)


@pytest.mark.parametrize("version", [0, -1, True, 2.0, "3", 2**63])
def test_a_version_that_is_no_number_is_refused_locally(kind: Kind, server: ScriptedServer, version: object) -> None:
    with pytest.raises(InvalidArgument, match="a version is a whole number from 1"):
        kind.admin(server.address).promote("digits", version)
    assert server.calls == []


def test_wrong_names_are_refused_locally(kind: Kind, server: ScriptedServer) -> None:
    admin = kind.admin(server.address)
    with pytest.raises(InvalidName, match="not a valid model name"):
        admin.versions("../digits")
    with pytest.raises(InvalidName, match="not a valid alias name"):
        admin.promote("digits", 1, alias="Stable")
    with pytest.raises(InvalidArgument, match="expect must be"):
        admin.promote("digits", 1, expect=-1)
    assert server.calls == []


def an_event(seq: int) -> Event:
    return Event(seq, NOON, "ann", "promote", "digits", "stable", seq - 1, seq, "", "r", "ok", "", "h")


def test_lists_follow_pages(kind: Kind, server: ScriptedServer) -> None:
    models = [Model(f"m{number}", NOON, 1, 1) for number in range(3)]

    def page(request: pb.ListModelsRequest, _: object) -> pb.ListModelsResponse:
        index = int(request.page_token or 0)
        following = str(index + 1) if index < 2 else ""
        return pb.ListModelsResponse(models=[convert.model(models[index])], next_page_token=following)

    server.behaviours["ListModels"] = page
    assert kind.admin(server.address).models() == models


def test_a_log_stops_at_its_limit(kind: Kind, server: ScriptedServer) -> None:
    def page(request: pb.ListEventsRequest, _: object) -> pb.ListEventsResponse:
        last = int(request.page_token or 1000)
        found = range(last, last - min(request.page_size, 7), -1)
        return pb.ListEventsResponse(
            events=[convert.event(an_event(n)) for n in found], next_page_token=str(found[-1] - 1)
        )

    server.behaviours["ListEvents"] = page
    until = datetime(2026, 2, 1, tzinfo=UTC)
    found = kind.admin(server.address).log("digits", until=until, limit=10)
    assert [event.seq for event in found] == list(range(1000, 990, -1))
    assert [request.page_size for request in server.requests] == [10, 3]
    assert convert.from_timestamp(server.requests[0].until) == until


def test_a_time_without_a_zone_is_refused(kind: Kind, server: ScriptedServer) -> None:
    with pytest.raises(InvalidArgument, match="has no zone"):
        kind.admin(server.address).log(until=datetime(2026, 1, 1))


def test_a_server_that_repeats_a_page_does_not_hang_the_client(kind: Kind, server: ScriptedServer) -> None:
    server.behaviours["ListVersions"] = lambda *_: pb.ListVersionsResponse(next_page_token="again")
    with pytest.raises(Exception, match="the same page twice"):
        kind.admin(server.address).versions("digits")


# --- uploads ---


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
    path.write_bytes(bytes(24 * 1024 * 1024))

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


# --- asyncio alone ---


async def test_a_cancelled_upload_is_cancelled_on_the_server(server: ScriptedServer, files: tuple[Path, Path]) -> None:
    gone = threading.Event()

    def register(parts: Any, context: grpc.ServicerContext) -> pb.RegisterVersionResponse:
        context.add_callback(gone.set)
        gone.wait(20)
        return registered()

    server.behaviours["RegisterVersion"] = register
    async with AsyncAdmin(server.address) as admin:
        task = asyncio.create_task(admin.register("digits", files[0]))
        deadline = time.monotonic() + 10
        while not server.calls:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(gone.wait, 10)


async def test_many_requests_at_once_share_one_client(server: ScriptedServer) -> None:
    server.serve_model()
    async with AsyncClient(server.address) as client:
        results = await asyncio.gather(*(client.infer("m", {"x": X * n}) for n in range(20)))
    assert [float(result["y"][0, 0]) for result in results] == [3.0 * n for n in range(20)]


def test_threads_share_one_client(server: ScriptedServer) -> None:
    server.serve_model()
    found: dict[int, float] = {}
    with Client(server.address) as client:

        def ask(n: int) -> None:
            found[n] = float(client.infer("m", {"x": X * n})["y"][0, 0])

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {n: 3.0 * n for n in range(16)}
