"""What stays loaded: the live version, the next of each stack, and pins; everything else is unloaded and gives back
its memory."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from interlock.errors import AliasNotFound, InterlockError, NotFound, VersionInUse, VersionNotLoaded, VersionNotServable
from interlock.model import ServingConfig
from interlock_client import Admin, Client

from tests import models
from tests.load import Load
from tests.server import Server
from tests.support import eventually

ONE = np.ones((1, 2), np.float32)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server") / "data") as server:
        yield server


def register(admin: Admin, folder: Path, model: str, count: int) -> None:
    for version in range(1, count + 1):
        file = models.write(folder / f"{model}-{version}.onnx", models.affine(scale=float(version)))
        admin.register(model, file)


def loaded(server: Server, model: str) -> set[int]:
    return {
        each.version
        for each in server.status().workers[0].servables
        if each.model == model and each.state.value == "READY"
    }


def answers(client: Client, ref: str) -> bool:
    try:
        client.infer(ref, {"x": ONE})
    except InterlockError:
        return False
    return True


def test_the_live_version_and_the_next_of_the_stack_stay_loaded(running: Server, tmp_path: Path) -> None:
    with running.admin() as admin, running.client() as client:
        register(admin, tmp_path, "line", 3)
        for version in (1, 2, 3):
            admin.promote("line", version)
        eventually(lambda: loaded(running, "line") == {2, 3}, "versions 2 and 3 are loaded, 1 is not")
        assert client.infer("line@2", {"x": ONE})["y"][0, 0] == 2.0
        with pytest.raises(VersionNotLoaded, match="`interlock pin line 1`"):
            client.infer("line@1", {"x": ONE})

        admin.pin("line", 1)
        eventually(lambda: answers(client, "line@1"), "the pinned version answers")
        assert client.infer("line@1", {"x": ONE})["y"][0, 0] == 1.0
        admin.pin("line", 1)  # twice is once
        admin.rollback("line")
        eventually(lambda: loaded(running, "line") == {1, 2}, "3 is let go, 1 is pinned and next, 2 is live")
        admin.unpin("line", 1)
        assert loaded(running, "line") == {1, 2}, "1 is next in the stack"
        with pytest.raises(NotFound, match="not pinned"):
            admin.unpin("line", 1)
        admin.promote("line", 3)
        admin.promote("line", 2)  # back down the stack: 3 is nowhere now
        eventually(lambda: loaded(running, "line") == {1, 2}, "3 is let go again")


def test_an_unpinned_version_is_unloaded_and_its_requests_are_refused(running: Server, tmp_path: Path) -> None:
    with running.admin() as admin, running.client() as client:
        register(admin, tmp_path, "pinned", 1)
        admin.pin("pinned", 1)
        eventually(lambda: answers(client, "pinned@1"), "the pinned version answers")
        with pytest.raises(AliasNotFound):
            client.infer("pinned", {"x": ONE})
        assert admin.show("pinned@1").pinned
        admin.unpin("pinned", 1)
        eventually(lambda: loaded(running, "pinned") == set(), "it is unloaded")
        assert not answers(client, "pinned@1")


def test_what_is_in_use_is_neither_retired_nor_deleted(running: Server, tmp_path: Path) -> None:
    with running.admin() as admin, running.client() as client:
        register(admin, tmp_path, "used", 4)
        admin.promote("used", 1)
        admin.promote("used", 2)
        admin.pin("used", 3)
        for version, use in ((1, "stable"), (2, "stable"), (3, "pin")):
            with pytest.raises(VersionInUse, match=use):
                admin.retire("used", version)
        with pytest.raises(VersionInUse, match="interlock retire used 4"):
            admin.delete("used", 4)
        admin.retire("used", 4)
        with pytest.raises(VersionNotServable, match="RETIRED"):
            admin.promote("used", 4)
        with pytest.raises(VersionNotServable):
            admin.pin("used", 4)
        admin.delete("used", 4)
        file = models.write(tmp_path / "five.onnx", models.affine(scale=5.0))
        assert admin.register("used", file).version == 5, "a number is never used again"
        assert answers(client, "used")


def test_removing_an_alias_unloads_what_only_it_held(running: Server, tmp_path: Path) -> None:
    with running.admin() as admin, running.client() as client:
        register(admin, tmp_path, "gone", 2)
        admin.promote("gone", 1)
        admin.promote("gone", 2, alias="beta")
        admin.remove_alias("gone", "beta")
        eventually(lambda: loaded(running, "gone") == {1}, "version 2 is unloaded")
        with pytest.raises(AliasNotFound):
            client.infer("gone:beta", {"x": ONE})
        assert answers(client, "gone")
        # The alias comes back with a generation that it has never had.
        assert admin.promote("gone", 2, alias="beta").generation == 3


@pytest.mark.parametrize("depth", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_the_depth_of_what_is_kept_is_a_setting(tmp_path: Path, depth: int) -> None:
    with Server(tmp_path / "data", env={"INTERLOCK_KEEP_DEPTH": str(depth)}) as server, server.admin() as admin:
        register(admin, tmp_path, "m", 4)
        for version in range(1, 5):
            admin.promote("m", version)
        eventually(lambda: loaded(server, "m") == set(range(4 - depth, 5)), f"{depth} earlier versions are loaded")
        with Load(server.grpc, "m", {version: float(version) for version in range(1, 5)}) as load:
            load.more(20)
            back = admin.rollback("m")
            assert back.resident == (depth > 0)
            load.until_version(3)
        load.check(at_least=20)


def resident_bytes(server: Server) -> int:
    status = Path(f"/proc/{server.pid_of('worker')}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("cycles", [4, pytest.param(50, marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_the_number_of_switches(server: Server, tmp_path: Path, cycles: int) -> None:
    size = 0
    with server.admin() as admin:
        for seed in (1, 2, 3):
            file = models.write(tmp_path / "big.onnx", models.mlp(width=64, hidden=1792, layers=3, seed=seed))
            size = file.stat().st_size
            admin.register("big", file, config=ServingConfig(max_batch_size=4))
        admin.promote("big", 1)

        def cycle() -> None:
            admin.promote("big", 2)
            admin.promote("big", 3)
            admin.rollback("big", to=1)
            eventually(lambda: loaded(server, "big") == {1}, "only version 1 is loaded")

        cycle()
        eventually(lambda: unloaded(server), "what was dropped has been unloaded")
        before = resident_bytes(server)
        for _ in range(cycles - 1):
            cycle()
        # A session that stays each cycle would be three times `size` by then.
        spare = before // 20 if cycles >= 50 else size
        eventually(lambda: resident_bytes(server) < before + spare, f"memory is as after one cycle, {before}")
        after = resident_bytes(server)
    print(f"a model of {size >> 20} MiB: {before >> 20} MiB after one cycle, {after >> 20} MiB after {cycles}")


def unloaded(server: Server) -> bool:
    with urllib.request.urlopen(f"http://{server.http}/metrics", timeout=60) as response:
        text = response.read().decode()
    return bool(text.count("interlock_servable_state{") == 1)
