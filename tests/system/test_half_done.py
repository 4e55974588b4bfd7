"""Interrupted in the middle: of an upload, a promote, a switch. What was acknowledged holds."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from interlock.errors import InterlockError, NotReady, PrepareFailed
from interlock.model import Version
from interlock.v1 import admin_pb2 as pb
from interlock.v1 import admin_pb2_grpc
from interlock_client import Admin
from interlock_registry.registry import Registry

from tests import databases, models, stalling
from tests.load import Load, X
from tests.server import Server
from tests.support import eventually
from tests.system.stories import SCALES, Servers, control_pid, register, worker_pid


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    made = Servers(tmp_path_factory.mktemp("half"), tests_of_one=3)
    yield made
    made.close()


@pytest.fixture
def serving(servers: Servers) -> Server:
    """A server whose version 2 of `m` is live, with version 1 under it."""
    return servers.next()


def litter(server: Server) -> list[str]:
    uploads = [path.name for path in (server.data / "state" / "uploads").iterdir()]
    return uploads + [path.name for path in (server.data / "blobs").iterdir() if path.name.startswith(".")]


def rot(blob: Path) -> None:
    """Flip a bit of a blob."""
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 1
    blob.unlink()
    blob.write_bytes(content)


class HalfUpload:
    """An upload that has sent a part of its bytes and waits."""

    def __init__(self, server: Server) -> None:
        self._more = threading.Event()
        self._channel = grpc.insecure_channel(server.admin_address)
        stub = admin_pb2_grpc.AdminServiceStub(self._channel)
        self.call: Any = stub.RegisterVersion.future(self._messages(), timeout=60)
        eventually(lambda: litter(server) != [], "the upload has begun")

    def _messages(self) -> Iterator[pb.RegisterVersionRequest]:
        file = pb.UploadFile(name="f", role=pb.FILE_ROLE_MODEL, size_bytes=4_000_000, sha256="0" * 64)
        yield pb.RegisterVersionRequest(header=pb.RegisterVersionRequest.Header(model="half", files=[file]))
        yield pb.RegisterVersionRequest(chunk=b"\0" * 1_000_000)
        self._more.wait(60)

    def close(self) -> None:
        self._more.set()
        self._channel.close()


def test_an_upload_that_a_kill_interrupts_is_swept_at_the_next_start(serving: Server, tmp_path: Path) -> None:
    upload = HalfUpload(serving)
    serving.kill_everything()
    upload.close()
    assert litter(serving) != []
    (serving.data / "blobs" / ".incoming-of-a-crash").write_bytes(b"x")
    serving.start()
    eventually(lambda: litter(serving) == [], "it is swept")
    with serving.admin() as admin:
        register(admin, tmp_path, 1, model="whole")
        admin.promote("whole", 1)


def test_an_upload_that_a_stop_interrupts_holds_it_up_for_the_grace_only(tmp_path: Path) -> None:
    with Server(tmp_path / "data", env={"INTERLOCK_DRAIN_GRACE_S": "1"}) as server:
        upload = HalfUpload(server)
        began = time.monotonic()
        assert server.stop() == 0
        took = time.monotonic() - began
        upload.close()
        assert took < 15, f"the stop took {took:.1f} s"
        assert litter(server) == []
        server.start()
        with server.admin() as admin:
            assert [event.action for event in admin.log("half")] == ["register"], "the attempt is in the history"


def test_a_stop_in_the_middle_of_a_promote_leaves_no_half_of_it(server: Server, tmp_path: Path) -> None:
    with server.admin() as admin:
        stalling.register(admin, tmp_path, "heavy")
        admin.promote("heavy", 1)
        always = stalling.rounds_for(server.client, "heavy", seconds=1.5)
        stalling.register(admin, tmp_path, "heavy", bias=1, always=always)
        outcomes: list[Any] = []

        def promote() -> None:
            try:
                outcomes.append(admin.promote("heavy", 2))
            except InterlockError as error:
                outcomes.append(error)

        promoter = threading.Thread(target=promote, name="promoter")
        promoter.start()
        eventually(
            lambda: any(each.version == 2 for each in server.status().workers[0].servables), "the promote prepares"
        )
        assert server.stop() == 0
        promoter.join()
    server.start()
    with server.admin() as admin, server.client() as client:
        version = client.infer("heavy", {"n": np.int64(1)}).version
        assert version == (1 if isinstance(outcomes[0], InterlockError) else 2), outcomes
        assert admin.log("heavy")[0].action == "promote"


def test_a_rollback_does_not_wait_for_a_worker_that_hangs(serving: Server) -> None:
    with Load(serving.grpc, "m", SCALES, timeout_s=1.0) as load, serving.admin() as admin:
        load.more(20)
        os.kill(worker_pid(serving), signal.SIGSTOP)
        began = time.monotonic()
        back = admin.rollback("m", reason="it hangs")
        took = time.monotonic() - began
        print(f"rollback with a hanging worker: {took:.2f} s")
        # It knows its way back, and will look at its lever before it answers anybody: it does not lag.
        assert (back.to_version, back.lagging) == (1, ())
        assert took < 25
        load.until_version(1)
        moved = time.monotonic()
        load.more(20)
    load.check_answers(at_least=40)
    assert all(answer.version == 1 for answer in load.answers if answer.at > moved)


def test_a_retried_promote_is_done_once_though_control_was_killed(server: Server, tmp_path: Path) -> None:
    with server.admin() as admin:
        register(admin, tmp_path, 3)
        admin.promote("m", 1)
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    randomness = random.Random(seed)
    generation = 1
    for attempt in range(3):
        target = 2 + attempt % 2
        pid = control_pid(server)
        killer = threading.Timer(randomness.uniform(0.0, 0.03), os.kill, [pid, signal.SIGKILL])
        killer.start()
        switch = None
        deadline = time.monotonic() + 120
        while switch is None:
            assert time.monotonic() < deadline
            with server.admin(retries=4) as admin:
                try:
                    switch = admin.promote("m", target, idempotency_key=f"attempt-{attempt}", timeout=60)
                except InterlockError as error:
                    assert error.reason in ("SERVER_UNREACHABLE", "WORKER_UNAVAILABLE", "UNAVAILABLE"), error
        killer.join()
        generation += 1
        assert (switch.to_version, switch.generation) == (target, generation)
        until_alias_leads_to(server, target)


def until_alias_leads_to(server: Server, version: int) -> None:
    eventually(lambda: alias_version(server) == version, f"the alias leads to version {version}")


def alias_version(server: Server) -> int:
    try:
        return next(alias.version for alias in server.status().aliases if alias.alias == "stable")
    except (InterlockError, StopIteration):
        return 0


def test_a_version_that_rotted_harms_only_itself(serving: Server, tmp_path: Path) -> None:
    with serving.admin() as admin:
        register(admin, tmp_path, 1, model="other")
        admin.promote("other", 1)
        graph = serving.graph(admin.show("m@1"))
    assert serving.stop() == 0
    rot(graph)  # the way back of m, and the same bytes as other's only version
    serving.start()
    with serving.admin() as admin, serving.client() as client, Load(serving.grpc, "m", SCALES) as load:
        load.more(20)
        status = serving.status()
        assert status.ready and client.server_ready(), "one failed version is not the replica's failure"
        assert any("m@1 failed" in reason for reason in status.degraded), status.degraded
        assert not client.model_ready("other")
        with pytest.raises(NotReady, match="corrupt"):
            client.infer("other", {"x": X})
        with pytest.raises(PrepareFailed, match="corrupt"):
            admin.rollback("m")
        assert admin.show("m").version == 2
        # The same file once more mends the blob, and the way back is open again.
        admin.register("m", serving.data.with_name("m-1.onnx"))
        assert admin.rollback("m").to_version == 1
        load.until_version(1)
    load.check(at_least=20)


def rounds_of_registering(folder: Path, count: int) -> int:
    """Kill everything while versions are registered; returns how many registrations were acknowledged."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    randomness = random.Random(seed)
    server = Server(folder / "data")
    acknowledged: dict[str, Version] = {}
    for attempt in range(count):
        server.start()
        stopping = threading.Event()

        def upload(admin: Admin, attempt: int = attempt, stopping: threading.Event = stopping) -> None:
            number = 0
            while not stopping.is_set():
                key = f"{attempt}-{number}"
                file = models.write(folder / f"{key}.onnx", models.affine(scale=1.0 + attempt + number / 100))
                try:
                    acknowledged[key] = admin.register("m", file, idempotency_key=key, note=key, timeout=60)
                except InterlockError:
                    return
                number += 1

        with server.admin() as admin:
            uploader = threading.Thread(target=upload, args=[admin], name="uploader")
            uploader.start()
            uploader.join(randomness.uniform(0.4, 2.0))
            server.kill_everything()
            stopping.set()
            uploader.join(60)
    server.start()
    with server.admin() as admin:
        found = {version.version: version for version in admin.versions("m")} if admin.models() else {}
        assert sorted(found) == list(range(1, len(found) + 1)), "numbers are dense, none is used twice"
        for key, version in acknowledged.items():
            assert found[version.version].note == key
            # Whoever did not hear the answer asks again with the same key.
            again = admin.register("m", folder / f"{key}.onnx", idempotency_key=key, note=key)
            assert again.version == version.version
        for version in found.values():
            (source,) = server.manifest(version).sources
            assert source.sha256 == hashlib.sha256((folder / f"{version.note}.onnx").read_bytes()).hexdigest()
            for blob in server.manifest(version).blobs:
                content = (server.data / "blobs" / blob.digest).read_bytes()
                assert hashlib.sha256(content).hexdigest() == blob.digest, "no version without its bytes"
    assert litter(server) == []
    assert server.stop() == 0
    registry = Registry.open(databases.of(server.data).url)
    report = registry.verify_chain()
    registry.close()
    assert report.is_whole, report.why
    return len(acknowledged)


def test_no_acknowledged_version_is_lost_by_killing_everything(tmp_path: Path) -> None:
    print(f"{rounds_of_registering(tmp_path, 2)} acknowledged registrations")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_acknowledged_version_is_lost_by_killing_everything_often(tmp_path: Path) -> None:
    assert rounds_of_registering(tmp_path, 40) > 20
