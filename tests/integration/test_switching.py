"""Promote and rollback: races, refusals, keys, and callers that go away. Load runs wherever an alias moves."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from interlock.errors import (
    Aborted,
    AliasNotFound,
    GenerationConflict,
    IdempotencyKeyReused,
    IncompatibleSignature,
    InterlockError,
    NothingToRollBack,
    NotInStack,
    Preempted,
    VersionNotFound,
)
from interlock.model import Switch
from interlock.types import DType
from interlock.v1 import admin_pb2 as pb
from interlock.v1 import admin_pb2_grpc
from interlock_client import Admin
from onnx import helper

from tests import models, stalling
from tests.load import Load
from tests.server import Server
from tests.support import eventually


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server") / "data") as server:
        yield server


@pytest.fixture
def admin(running: Server) -> Iterator[Admin]:
    with running.admin() as made:
        yield made


def scale_of(version: int) -> float:
    return float(version + 1)


def register(admin: Admin, folder: Path, model: str, count: int) -> dict[int, float]:
    """Register affine versions 1 to `count`; returns their scales by version."""
    for version in range(1, count + 1):
        file = models.write(folder / f"{model}-{version}.onnx", models.affine(scale=scale_of(version)))
        assert admin.register(model, file).version == version
    return {version: scale_of(version) for version in range(1, count + 1)}


def stable(admin: Admin, model: str) -> tuple[int, int, tuple[int, ...]]:
    """Return version, generation and stack of a model's stable alias."""
    found = next(each for each in admin.models() if each.name == model)
    alias = next(each for each in found.aliases if each.alias == "stable")
    return alias.version, alias.generation, alias.stack


def test_a_rollback_brings_the_first_version_back(running: Server, admin: Admin, tmp_path: Path) -> None:
    for scale in (2.0, 3.0):
        file = models.write(tmp_path / "m.onnx", models.affine(scale=scale))
        admin.register("story", file, golden=models.affine_golden(tmp_path / "m.npz", scale=scale))
    x = np.ones((1, 2), np.float32)
    with running.client() as client:
        admin.promote("story", 1)
        first = client.infer("story", {"x": x})
        admin.promote("story", 2)
        second = client.infer("story", {"x": x})
        switch = admin.rollback("story", reason="worse")
        third = client.infer("story", {"x": x})
    assert (first.version, second.version, third.version) == (1, 2, 1)
    for answer, scale in ((first, 2.0), (second, 3.0), (third, 2.0)):
        np.testing.assert_array_equal(answer["y"], scale * x)
    assert switch.resident and switch.lagging == ()


# --- moves under load ---


def test_no_request_fails_while_versions_go_back_and_forth(running: Server, admin: Admin, tmp_path: Path) -> None:
    scales = register(admin, tmp_path, "swing", 3)
    admin.promote("swing", 1)
    moved = 0
    with Load(running.grpc, "swing", scales, clients=3) as load:
        for version in (2, 3):
            admin.promote("swing", version)
            load.until_version(version)
        admin.rollback("swing", to=1)
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            switches = [
                admin.promote("swing", 2),
                admin.promote("swing", 3),
                admin.rollback("swing"),
                admin.promote("swing", 3),  # at once again, just dropped from what is kept
                admin.rollback("swing", to=1),
            ]
            assert [switch.lagging for switch in switches] == [()] * len(switches)
            moved += len(switches)
        load.more(100)
    load.check(at_least=100)
    assert load.versions == {1, 2, 3}
    print(f"{moved} moves, {len(load.answers)} answers")


def test_other_models_changes_do_not_disturb_a_promote(running: Server, admin: Admin, tmp_path: Path) -> None:
    """Each change sends workers a whole picture: one made before a promote began must not drop its candidate."""
    scales = register(admin, tmp_path, "steady", 3)
    register(admin, tmp_path, "noisy", 2)
    admin.promote("steady", 1)
    ending = threading.Event()
    faults: list[InterlockError] = []

    def make_noise() -> None:
        with running.admin() as other:
            while not ending.is_set():
                try:
                    other.pin("noisy", 1)
                    other.unpin("noisy", 1)
                except InterlockError as error:
                    faults.append(error)

    noise = [threading.Thread(target=make_noise, name=f"noise {index}") for index in range(2)]
    with Load(running.grpc, "steady", scales) as load:
        for thread in noise:
            thread.start()
        try:
            for _ in range(8):
                admin.promote("steady", 2)
                admin.promote("steady", 3)
                admin.rollback("steady", to=1)
        finally:
            ending.set()
            for thread in noise:
                thread.join()
        load.more(100)
    load.check(at_least=100)
    # Two noises pin and unpin the same version, so one may find it unpinned; nothing else may happen to them.
    assert {error.reason for error in faults} <= {"NOT_FOUND"}, faults


def test_two_aliases_promote_one_version_at_once(running: Server, admin: Admin, tmp_path: Path) -> None:
    scales = register(admin, tmp_path, "shared", 2)
    admin.promote("shared", 1)
    admin.promote("shared", 1, alias="canary")
    with Load(running.grpc, "shared", scales) as one, Load(running.grpc, "shared:canary", scales) as two:
        for _ in range(6):
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda alias: admin.promote("shared", 2, alias=alias), ("stable", "canary")))
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda alias: admin.rollback("shared", alias=alias), ("stable", "canary")))
        one.more(50)
        two.more(50)
    one.check(at_least=50)
    two.check(at_least=50)


# --- refusals ---


def test_a_signature_that_breaks_callers_is_refused_both_ways_unless_allowed(
    running: Server, admin: Admin, tmp_path: Path
) -> None:
    scales = register(admin, tmp_path, "shape", 1)
    renamed = models.build(
        [helper.make_node("Identity", ["image"], ["y"])],
        [models.value("image", DType.FP32, ("batch", 2))],
        [models.value("y", DType.FP32, ("batch", 2))],
    )
    admin.register("shape", models.write(tmp_path / "renamed.onnx", renamed))
    admin.promote("shape", 1)
    with Load(running.grpc, "shape", scales, clients=1) as load:
        load.more(5)
        with pytest.raises(IncompatibleSignature, match=r"'x' is gone.*'image' is new.*--allow-breaking"):
            admin.promote("shape", 2)
        with pytest.raises(IncompatibleSignature):
            admin.promote("shape", 2, dry_run=True)
        load.more(5)
    load.check(at_least=10)
    switch = admin.promote("shape", 2, allow_breaking=True)
    assert len(switch.breaking) == 2
    with pytest.raises(IncompatibleSignature):
        admin.rollback("shape")
    assert admin.rollback("shape", allow_breaking=True).to_version == 1
    assert [event.outcome for event in admin.log("shape")][:4] == [
        "ok",
        "INCOMPATIBLE_SIGNATURE",
        "ok",
        "INCOMPATIBLE_SIGNATURE",
    ]


def test_what_is_not_there_is_refused_with_the_way_on(admin: Admin, tmp_path: Path) -> None:
    register(admin, tmp_path, "sparse", 2)
    with pytest.raises(VersionNotFound, match="interlock versions sparse"):
        admin.promote("sparse", 99)
    with pytest.raises(AliasNotFound):
        admin.rollback("sparse")
    admin.promote("sparse", 1)
    with pytest.raises(NothingToRollBack, match="before version 1"):
        admin.rollback("sparse")
    admin.promote("sparse", 2)
    with pytest.raises(NotInStack, match="rolled back to 1"):
        admin.rollback("sparse", to=7)
    assert stable(admin, "sparse") == (2, 2, (1,))


def test_a_dry_run_changes_nothing(admin: Admin, tmp_path: Path) -> None:
    register(admin, tmp_path, "rehearsed", 2)
    admin.promote("rehearsed", 1)
    before = admin.log("rehearsed")
    plan = admin.promote("rehearsed", 2, dry_run=True)
    assert (plan.dry_run, plan.from_version, plan.to_version, plan.resident) == (True, 1, 2, False)
    assert stable(admin, "rehearsed") == (1, 1, ())
    assert admin.log("rehearsed") == before


# --- races ---


def test_an_expectation_that_is_out_of_date_is_aborted(admin: Admin, tmp_path: Path) -> None:
    register(admin, tmp_path, "expected", 3)
    with pytest.raises(GenerationConflict):
        admin.promote("expected", 1, expect=1)
    admin.promote("expected", 1, expect=0)
    with pytest.raises(GenerationConflict, match="at generation 1, not 0"):
        admin.promote("expected", 2, expect=0)
    admin.promote("expected", 2, expect=1)
    with pytest.raises(GenerationConflict, match="at generation 2, not 1"):
        admin.rollback("expected", expect=1)
    assert admin.rollback("expected", expect=2).generation == 3


def test_of_promotes_at_once_that_expect_the_same_one_wins(admin: Admin, tmp_path: Path) -> None:
    register(admin, tmp_path, "contested", 6)
    admin.promote("contested", 1)

    def promote(version: int) -> int | InterlockError:
        try:
            return admin.promote("contested", version, expect=1).to_version
        except InterlockError as error:
            return error

    with ThreadPoolExecutor(5) as pool:
        outcomes = list(pool.map(promote, range(2, 7)))
    winners = [outcome for outcome in outcomes if isinstance(outcome, int)]
    assert len(winners) == 1, outcomes
    assert all(isinstance(outcome, Aborted) for outcome in outcomes if not isinstance(outcome, int)), outcomes
    assert stable(admin, "contested") == (winners[0], 2, (1,))


def test_promotes_at_once_that_expect_nothing_leave_a_history_that_adds_up(admin: Admin, tmp_path: Path) -> None:
    register(admin, tmp_path, "crowded", 5)
    admin.promote("crowded", 1)

    def promote(version: int) -> InterlockError | None:
        try:
            admin.promote("crowded", version)
        except InterlockError as error:
            return error
        return None

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(promote, range(2, 6)))
    refused = [outcome for outcome in outcomes if outcome is not None]
    assert all(isinstance(outcome, Aborted) for outcome in refused), refused
    version, generation, stack = stable(admin, "crowded")
    granted = [event for event in reversed(admin.log("crowded")) if (event.action, event.outcome) == ("promote", "ok")]
    assert generation == len(granted) == 1 + len(outcomes) - len(refused)
    assert [event.to_version for event in granted] == [*stack, version]
    assert [event.from_version for event in granted[1:]] == list(stack)


# --- a rollback in the middle of a promote ---


@pytest.fixture(scope="module")
def heavy(running: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model whose version 3 takes a second or two to warm up; 2 is live, 1 under it."""
    folder = tmp_path_factory.mktemp("heavy")
    with running.admin() as admin:
        stalling.register(admin, folder, "heavy", bias=1)
        admin.promote("heavy", 1)
        stalling.register(admin, folder, "heavy", bias=2)
        admin.promote("heavy", 2)
        always = stalling.rounds_for(running.client, "heavy", seconds=1.5)
        stalling.register(admin, folder, "heavy", bias=3, always=always)
    return "heavy"


def preparing(server: Server, model: str, version: int) -> bool:
    return any(
        (each.model, each.version) == (model, version) and each.state.value in ("NEW", "LOADING", "WARMING")
        for worker in server.status().workers
        for each in worker.servables
    )


def roll_back_while_it_prepares(server: Server, admin: Admin, model: str) -> tuple[Switch, Switch | InterlockError]:
    """Promote version 3, roll back as soon as it prepares, and return how both ended."""

    def promote() -> Switch | InterlockError:
        with server.admin() as other:
            try:
                return other.promote(model, 3)
            except InterlockError as error:
                return error

    with ThreadPoolExecutor(1) as pool:
        promoted = pool.submit(promote)
        eventually(lambda: preparing(server, model, 3) or promoted.done(), "the promote prepares")
        began = time.monotonic()
        back = admin.rollback(model, reason="accuracy fell")
        print(f"rollback during a PREPARE: {1000 * (time.monotonic() - began):.1f} ms")
        return back, promoted.result(60)


def test_a_rollback_overtakes_a_promote_that_still_prepares(running: Server, heavy: str) -> None:
    with running.admin() as admin:
        for _ in range(5):
            back, promoted = roll_back_while_it_prepares(running, admin, heavy)
            if isinstance(promoted, InterlockError):
                break
            # The machine stood still for as long as the PREPARE took: the promote came through and was rolled back.
        else:
            pytest.fail("no rollback came while the promote prepared")
        assert isinstance(promoted, Preempted) and "rollback" in promoted.message, promoted
        assert (back.to_version, back.resident, back.lagging) == (1, True, ())
        assert stable(admin, heavy)[::2] == (1, ())
        reasons = [event.outcome for event in admin.log(heavy)[:2]]
        assert sorted(reasons) == ["PREEMPTED", "ok"]
        # The candidate that nobody wants any more goes again, and the way forward is open.
        eventually(
            lambda: all((each.model, each.version) != (heavy, 3) for each in running.status().workers[0].servables),
            "the candidate is dropped",
            30.0,
        )
        assert admin.promote(heavy, 2).to_version == 2


def test_a_caller_that_goes_away_does_not_stop_its_promote(running: Server, heavy: str) -> None:
    with running.admin() as admin, grpc.insecure_channel(running.admin_address) as channel:
        before = stable(admin, heavy)
        request = pb.PromoteRequest(model=heavy, version=3)
        asked: Any = admin_pb2_grpc.AdminServiceStub(channel).Promote.future(request)
        eventually(lambda: preparing(running, heavy, 3) or asked.done(), "the promote prepares")
        asked.cancel()
        eventually(lambda: stable(admin, heavy)[0] == 3, "the promote is completed all the same")
        version, generation, stack = stable(admin, heavy)
        assert (version, generation, stack) == (3, before[1] + 1, (*before[2], before[0]))
        assert admin.log(heavy)[0].outcome == "ok"
        admin.rollback(heavy)
    with running.client() as client:
        assert client.infer(heavy, {"n": np.int64(1)}).version == before[0]


# --- idempotency ---


def test_the_same_key_gets_the_same_answer_and_another_request_is_refused(admin: Admin, tmp_path: Path) -> None:
    register(admin, tmp_path, "again", 2)
    first = admin.promote("again", 1, idempotency_key="k1")
    assert admin.promote("again", 1, idempotency_key="k1").generation == first.generation
    admin.promote("again", 2)
    repeated = admin.promote("again", 1, idempotency_key="k1")
    assert (repeated.to_version, repeated.generation) == (1, 1), "the answer of then, and no move"
    assert stable(admin, "again")[0] == 2
    with pytest.raises(IdempotencyKeyReused, match="'k1'"):
        admin.promote("again", 2, idempotency_key="k1")
    outcomes = [event.outcome for event in admin.log("again") if event.action == "promote"]
    assert sorted(outcomes) == ["IDEMPOTENCY_KEY_REUSED", "ok", "ok"]


def test_a_refusal_is_repeated_too(admin: Admin, tmp_path: Path) -> None:
    register(admin, tmp_path, "no", 1)
    for _ in range(2):
        with pytest.raises(AliasNotFound):
            admin.rollback("no", idempotency_key="k")
    assert [event.outcome for event in admin.log("no") if event.action == "rollback"] == ["ALIAS_NOT_FOUND"]


def test_requests_with_one_key_at_once_are_one_change(admin: Admin, tmp_path: Path) -> None:
    register(admin, tmp_path, "joined", 2)
    admin.promote("joined", 1)
    with ThreadPoolExecutor(8) as pool:
        switches = list(pool.map(lambda _: admin.promote("joined", 2, idempotency_key="same"), range(8)))
    assert {(switch.to_version, switch.generation) for switch in switches} == {(2, 2)}
    assert len(admin.log("joined")) == 2 + 2, "two registrations, two promotes"


def test_a_key_outlives_a_restart(server: Server, tmp_path: Path) -> None:
    with server.admin() as admin:
        register(admin, tmp_path, "m", 2)
        admin.promote("m", 1)
        first = admin.promote("m", 2, idempotency_key="k")
    server.kill_everything()
    server.start()
    with server.admin() as admin:
        again = admin.promote("m", 2, idempotency_key="k")
        assert (again.to_version, again.generation, again.stack) == (first.to_version, first.generation, first.stack)
        assert len(admin.log("m")) == 4


# --- what the wire carries ---


def test_refusals_carry_their_facts(running: Server, admin: Admin, tmp_path: Path) -> None:
    register(admin, tmp_path, "facts", 2)
    admin.promote("facts", 1)
    with pytest.raises(GenerationConflict) as refused:
        admin.promote("facts", 2, expect=7)
    assert refused.value.facts["actual"] == "1" and refused.value.facts["expected"] == "7"
    with grpc.insecure_channel(running.admin_address) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)
        for wrong in (
            pb.PromoteRequest(model="../x", version=1),
            pb.PromoteRequest(model="facts", version=1, alias="Not An Alias"),
            pb.PromoteRequest(model="facts", version=2, options=pb.MutationOptions(reason="x" * 2000)),
            pb.PromoteRequest(model="facts", version=2, options=pb.MutationOptions(idempotency_key="x" * 300)),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                stub.Promote(wrong, timeout=60)
            status: Any = caught.value
            assert status.code() is grpc.StatusCode.INVALID_ARGUMENT, status
        for number in (0, -1, 2**62):
            with pytest.raises(grpc.RpcError) as caught:
                stub.Promote(pb.PromoteRequest(model="facts", version=number), timeout=60)
            status = caught.value
            assert status.code() is grpc.StatusCode.NOT_FOUND, status
    assert stable(admin, "facts") == (1, 1, ())
