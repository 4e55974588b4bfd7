from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import replace

import pytest
from interlock.errors import (
    IdempotencyKeyReused,
    InternalError,
    NothingToRollBack,
    PrepareFailed,
    RegistryUnavailable,
)
from interlock.model import MutationOptions
from interlock_registry.domain import Action, Committed
from interlock_registry.registry import Registry

from tests.support import eventually_async
from tests.unit.server.rig import Rig, attempt, preparing, with_key

OK = "ok"


async def test_the_same_key_and_request_get_the_same_answer_and_no_second_event(rig: Rig) -> None:
    await rig.add()
    made = with_key(attempt(Action.PROMOTE, "m", 1, "stable"), "k")
    first = await rig.switching.promote(made, MutationOptions())
    before = await rig.events()
    again = await rig.switching.promote(made, MutationOptions())
    assert (again.to_version, again.generation) == (first.to_version, first.generation)
    assert await rig.events() == before


async def test_the_same_key_while_it_runs_joins_it(rig: Rig) -> None:
    await rig.add()
    made = with_key(attempt(Action.PROMOTE, "m", 1, "stable"), "k")
    answers = await asyncio.gather(*(rig.switching.promote(made, MutationOptions()) for _ in range(5)))
    assert len(set(answers)) == 1
    assert await rig.events() == [("register", OK), ("promote", OK)]


@pytest.mark.parametrize("in_flight", [True, False], ids=["while it runs", "after it"])
async def test_a_key_reused_for_another_request_is_refused_and_recorded(rig: Rig, in_flight: bool) -> None:
    await rig.add()
    made = with_key(attempt(Action.PROMOTE, "m", 1, "stable"), "k")
    task = asyncio.create_task(rig.switching.promote(made, MutationOptions()))
    await (asyncio.sleep(0) if in_flight else asyncio.wait([task]))
    with pytest.raises(IdempotencyKeyReused):
        await rig.switching.promote(with_key(made, "k", "another request"), MutationOptions())
    await task
    assert sorted(await rig.events())[:2] == [("promote", "IDEMPOTENCY_KEY_REUSED"), ("promote", OK)]


async def test_another_actor_s_key_is_another_key(rig: Rig) -> None:
    await rig.add()
    made = with_key(attempt(Action.PROMOTE, "m", 1, "stable"), "k")
    await rig.switching.promote(made, MutationOptions())
    await rig.switching.promote(replace(made, actor="bob", request_hash="other"), MutationOptions())


async def test_a_refusal_by_the_domain_is_the_answer_to_its_key(rig: Rig) -> None:
    await rig.promote(await rig.add())
    made = with_key(attempt(Action.ROLLBACK, "m", 0, "stable"), "k")
    for _ in range(2):
        with pytest.raises(NothingToRollBack):
            await rig.switching.rollback(made, MutationOptions())
    await rig.promote(await rig.add(scale=2.0))
    with pytest.raises(NothingToRollBack):
        await rig.switching.rollback(made, MutationOptions())
    assert (await rig.events()).count(("rollback", "NOTHING_TO_ROLL_BACK")) == 1


async def test_a_change_that_was_made_is_a_line_of_the_log(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    await rig.add()
    made = attempt(Action.PIN, version=1)

    async def pin() -> str:
        await rig.database.write(lambda registry: registry.pin(made))
        return "{}"

    with caplog.at_level(logging.INFO, "interlock.mutations"):
        await rig.mutations.run(made, pin)
    (line,) = [record for record in caplog.records if record.name == "interlock.mutations"]
    assert line.message == "pin committed"
    assert (line.__dict__["model"], line.__dict__["version"], line.__dict__["actor"]) == ("m", 1, "ada")


async def test_a_failed_preparation_is_no_final_answer(rig: Rig) -> None:
    stuck = await rig.add_stuck()
    made = with_key(attempt(Action.PROMOTE, "m", stuck, "stable"), "k")
    for _ in range(2):
        task = await preparing(rig, rig.promote(stuck, key="k", request_hash=made.request_hash))
        rig.let_go()
        with pytest.raises(PrepareFailed):
            await task
    assert (await rig.events()).count(("promote", "PREPARE_FAILED")) == 2


async def test_an_unexpected_error_is_recorded_as_one_of_ours(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> str:
        raise KeyError("secret")

    with pytest.raises(InternalError) as failed:
        await rig.mutations.run(attempt(Action.PIN, version=1), broken)
    assert "secret" not in failed.value.message
    assert await rig.events() == [("pin", "INTERNAL")]


async def test_closing_cancels_what_outlasts_the_grace_and_records_it(rig: Rig) -> None:
    async def endless() -> str:
        await asyncio.Event().wait()
        return "{}"

    task = asyncio.create_task(rig.mutations.run(attempt(Action.PIN, version=1), endless))
    await asyncio.sleep(0)
    await rig.mutations.close(0.01)
    with pytest.raises(asyncio.CancelledError):
        await task
    (event,) = (await rig.database.read(lambda registry: registry.events())).items
    assert (event.action, event.outcome) == ("pin", "CANCELLED")
    assert event.detail.startswith("the server stopped before"), "whoever asked for it has not left"
    await rig.mutations.close(0.01)


@pytest.mark.parametrize("when", ["while it commits", "after its commit"])
async def test_what_was_granted_is_not_recorded_as_refused_when_the_server_stops(rig: Rig, when: str) -> None:
    await rig.add()
    made = attempt(Action.PIN, version=1)
    entered, go_on = threading.Event(), threading.Event()

    def pin(registry: Registry) -> Committed:
        entered.set()
        assert when == "after its commit" or go_on.wait(60)
        return registry.pin(made)

    async def work() -> str:
        await rig.database.write(pin)
        await asyncio.Event().wait()
        return "{}"

    task = asyncio.create_task(rig.mutations.run(made, work))
    await eventually_async(entered.is_set, "its transaction is under way")
    if when == "after its commit":
        await rig.database.write(lambda registry: None)
    closing = asyncio.create_task(rig.mutations.close(0.0))
    await eventually_async(lambda: bool(rig.mutations._recordings) or task.done(), "it was told to end")
    go_on.set()
    await closing
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await rig.events() == [("register", OK), ("pin", OK)]
    assert 'interlock_mutations_total{action="pin",code="OK"} 1.0' in rig.metrics.text().decode()


async def test_a_registry_that_is_gone_is_an_outage_and_not_a_refusal(rig: Rig) -> None:
    def plan(_: Registry) -> None:
        raise RegistryUnavailable("the disk is gone")

    async def work(_: None) -> str:
        raise AssertionError("there is no plan to work by")

    await rig.reconciler.close()
    with pytest.raises(RegistryUnavailable):
        await rig.mutations.run_planned(attempt(Action.PROMOTE), plan, work)
    assert rig.database.down == "the disk is gone"
    assert 'interlock_mutations_total{action="promote",code="UNAVAILABLE"} 1.0' in rig.metrics.text().decode()
    assert await rig.events() == []
    assert rig.database.down == ""
