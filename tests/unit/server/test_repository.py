from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from interlock.errors import (
    FailedPrecondition,
    InterlockError,
    InvalidArgument,
    ModelNotFound,
    PrepareFailed,
    RegistryUnavailable,
    ResourceExhausted,
    Unimplemented,
)
from interlock.model import ServableState, ServableStatus
from interlock.protocols import open_inference_pb2 as pb
from interlock_registry.domain import ModelStanding
from interlock_server.repository_index import IndexEntry, repository_index
from interlock_server.worker.catalog import Catalog
from interlock_server.worker.repository import RepositoryAnswers

from tests.support import eventually, eventually_async
from tests.unit.server.builders import RecordingCall, route, snapshot, version_spec

SERVICE = "/inference.GRPCInferenceService/"


# --- the index, pure ---


def servable(version: int, state: ServableState, reason: str = "", model: str = "m") -> ServableStatus:
    return ServableStatus(model, version, state, reason, "CPU", 0, 0.1)


def test_the_index_has_every_version_with_its_state_and_reason() -> None:
    standing = [ModelStanding("bare", (), ()), ModelStanding("m", (1, 2, 3, 4), (5,)), ModelStanding("a", (7,), ())]
    servables = [
        servable(1, ServableState.READY),
        servable(2, ServableState.WARMING),
        servable(3, ServableState.FAILED, "broken"),
        servable(9, ServableState.DRAINING),
    ]
    assert repository_index(standing, servables) == (
        IndexEntry("a", 7, "UNAVAILABLE", "not loaded; `interlock pin a 7` loads it"),
        IndexEntry("bare", 0, "UNAVAILABLE", "it has no version"),
        IndexEntry("m", 1, "READY", ""),
        IndexEntry("m", 2, "LOADING", ""),
        IndexEntry("m", 3, "UNAVAILABLE", "broken"),
        IndexEntry("m", 4, "UNAVAILABLE", "not loaded; `interlock pin m 4` loads it"),
        IndexEntry("m", 5, "UNAVAILABLE", "retired"),
        IndexEntry("m", 9, "UNLOADING", ""),
    )
    assert repository_index(standing, servables, only_ready=True) == (IndexEntry("m", 1, "READY", ""),)


@pytest.mark.parametrize("state", ServableState)
def test_every_state_has_a_word_of_the_protocol(state: ServableState) -> None:
    (entry,) = repository_index([], [servable(1, state)])
    assert entry.state in ("READY", "LOADING", "UNLOADING", "UNAVAILABLE")


# --- the RPCs ---

Ask = Callable[..., Awaitable[RecordingCall]]


class Registry:
    """Says what the registry holds, or that it is away."""

    def __init__(self) -> None:
        self.found: tuple[ModelStanding, ...] | InterlockError = ()
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def standing(self) -> tuple[ModelStanding, ...]:
        self.asked.set()
        await self.may_answer.wait()
        if isinstance(self.found, InterlockError):
            raise self.found
        return self.found


@pytest.fixture
async def registry() -> Registry:
    return Registry()


@pytest.fixture
async def ask(catalog: Catalog, registry: Registry) -> AsyncIterator[Ask]:
    answers = RepositoryAnswers(catalog, registry.standing)

    async def call(method: str, request: bytes, wait_s: float = 20.0) -> RecordingCall:
        made = RecordingCall(SERVICE + method, request, deadline=time.monotonic() + wait_s)
        answers.methods.calls[SERVICE + method](made)
        await eventually_async(lambda: made.ended > 0, "the call was answered")
        return made

    yield call
    registry.may_answer.set()
    await answers.close()
    await answers.close()


def load(name: str, **more: object) -> bytes:
    return pb.RepositoryModelLoadRequest(model_name=name, **more).SerializeToString()  # type: ignore[arg-type]


def unload(name: str, **more: object) -> bytes:
    return pb.RepositoryModelUnloadRequest(model_name=name, **more).SerializeToString()  # type: ignore[arg-type]


def listed(call: RecordingCall) -> list[tuple[str, str, str]]:
    assert call.reply is not None, call.error
    return [(each.name, each.version, each.state) for each in pb.RepositoryIndexResponse.FromString(call.reply).models]


async def test_the_index_joins_the_registry_with_what_is_loaded(
    catalog: Catalog, registry: Registry, ask: Ask, tmp_path: Path
) -> None:
    catalog.apply(snapshot(version_spec(tmp_path)))
    await eventually_async(lambda: catalog.settled, "it is loaded")
    registry.found = (ModelStanding("bare", (), ()), ModelStanding("m", (1, 2), ()))
    assert listed(await ask("RepositoryIndex", b"")) == [
        ("bare", "", "UNAVAILABLE"),
        ("m", "1", "READY"),
        ("m", "2", "UNAVAILABLE"),
    ]
    ready = pb.RepositoryIndexRequest(ready=True).SerializeToString()
    assert listed(await ask("RepositoryIndex", ready)) == [("m", "1", "READY")]


async def test_without_the_registry_the_index_has_what_is_loaded(
    catalog: Catalog, registry: Registry, ask: Ask, tmp_path: Path
) -> None:
    catalog.apply(snapshot(version_spec(tmp_path)))
    await eventually_async(lambda: catalog.settled, "it is loaded")
    registry.found = RegistryUnavailable("it is away")
    assert listed(await ask("RepositoryIndex", b"")) == [("m", "1", "READY")]


async def test_loading_waits_for_what_the_registry_wants(catalog: Catalog, ask: Ask, tmp_path: Path) -> None:
    catalog.apply(snapshot(version_spec(tmp_path, 1), version_spec(tmp_path, 2)))
    call = await ask("RepositoryModelLoad", load("m"))
    assert (call.error, call.reply) == (None, b"")
    assert all(each.state is ServableState.READY for each in catalog.servables())
    again = await ask("RepositoryModelLoad", pb.RepositoryModelLoadRequest(repository_name="m").SerializeToString())
    assert again.error is None, "KServe has the model's name in that field"


async def test_loading_tries_again_what_failed(catalog: Catalog, ask: Ask, tmp_path: Path) -> None:
    spec = version_spec(tmp_path)
    graph = Path(spec.graph_path)
    whole = graph.read_bytes()
    graph.write_bytes(b"damaged")
    catalog.apply(snapshot(spec))
    failed = await ask("RepositoryModelLoad", load("m"))
    assert isinstance(failed.error, PrepareFailed) and "corrupt" in failed.error.message
    graph.write_bytes(whole)
    assert (await ask("RepositoryModelLoad", load("m"))).error is None
    eventually(lambda: catalog.of_model("m")[0].state is ServableState.READY, "the route leads to what is loaded now")


async def test_nothing_is_loaded_or_unloaded_against_the_registry(catalog: Catalog, ask: Ask, tmp_path: Path) -> None:
    spec = version_spec(tmp_path, 3)
    wanted = snapshot(spec, routes=[route("m", 3), route("m", 3, "canary")])
    catalog.apply(wanted)
    await eventually_async(lambda: catalog.settled, "it is loaded")
    refused = await ask("RepositoryModelUnload", unload("m"))
    assert isinstance(refused.error, FailedPrecondition)
    for said in ("failed to unload 'm'", "stable leads to 3", "canary leads to 3", "interlock unpin m VERSION"):
        assert said in refused.error.message
    known = snapshot(epoch=2)
    catalog.apply(type(known)(known.incarnation, known.epoch, (), (), models=("m",)))
    assert (
        await ask("RepositoryModelUnload", unload("m", parameters={"unload_dependents": {"bool_param": True}}))
    ).error is None
    missing = await ask("RepositoryModelLoad", load("m"))
    assert isinstance(missing.error, FailedPrecondition) and "interlock pin m VERSION" in missing.error.message


WRONG: list[tuple[str, bytes, type[InterlockError], str]] = [
    ("RepositoryModelLoad", load("nobody"), ModelNotFound, "nobody"),
    ("RepositoryModelUnload", unload("nobody"), ModelNotFound, "nobody"),
    ("RepositoryModelLoad", load("m", parameters={"config": {"string_param": "{}"}}), InvalidArgument, "never changes"),
    (
        "RepositoryModelLoad",
        load("m", parameters={"file:1/m": {"bytes_param": b"x"}}),
        InvalidArgument,
        "never changes",
    ),
    ("RepositoryModelLoad", load("m", parameters={"other": {"bool_param": True}}), InvalidArgument, "'other'"),
    ("RepositoryModelLoad", load("m", repository_name="elsewhere"), Unimplemented, "'repository_name' specification"),
    ("RepositoryIndex", b"\x0a\x09elsewhere", Unimplemented, "'repository_name' specification"),
    ("RepositoryIndex", b"\xff", InvalidArgument, "do not parse"),
    ("RepositoryModelLoad", b"\xff", InvalidArgument, "do not parse"),
]


@pytest.mark.parametrize(("method", "request_", "kind", "said"), WRONG)
async def test_a_wrong_repository_call_is_refused(
    catalog: Catalog, ask: Ask, method: str, request_: bytes, kind: type[InterlockError], said: str
) -> None:
    catalog.apply(snapshot())
    call = await ask(method, request_)
    assert type(call.error) is kind and said in call.error.message


async def test_repository_calls_are_bounded(catalog: Catalog, registry: Registry) -> None:
    registry.may_answer.clear()
    answers = RepositoryAnswers(catalog, registry.standing)
    calls = [RecordingCall(SERVICE + "RepositoryIndex", b"") for _ in range(132)]
    for call in calls:
        answers.methods.calls[call.method](call)
    await eventually_async(lambda: sum(call.ended for call in calls) == 4, "those over the bound are refused")
    assert {type(call.error) for call in calls if call.ended} == {ResourceExhausted}
    registry.may_answer.set()
    await eventually_async(lambda: all(call.ended for call in calls), "the others are answered")
    await answers.close()
