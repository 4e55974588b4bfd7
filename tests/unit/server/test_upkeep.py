from __future__ import annotations

import hashlib
import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from interlock.errors import StartupRefused
from interlock.keys import SigningKey
from interlock.statement import DOMAIN, SignedStatement, Statement
from interlock.types import ModelRef
from interlock_registry.derived import Form, Recipe, cpu_features, installed_runtime
from interlock_registry.derived_store import DerivedStore, graph_of
from interlock_registry.domain import Action
from interlock_registry.manifest import Blob
from interlock_registry.registry import Registry
from interlock_server.control.last_known_good import LastKnownGood
from interlock_server.process.datadir import DataDir, DataLock
from interlock_server.snapshot import Snapshot
from interlock_server.trust import keys as trusted_keys
from interlock_server.trust.keys import TrustedKey, TrustedKeys
from interlock_server.upkeep.commands import fsck, gc
from interlock_server.upkeep.credentials import token
from interlock_server.upkeep.durations import Duration
from interlock_server.upkeep.place import actor
from interlock_server.upkeep.trust import trust

from tests.databases import fresh
from tests.unit.registry.builders import MODEL, Desk, attempt
from tests.unit.registry.warehouse import Warehouse, blob


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    folder = DataDir(tmp_path / "data")
    folder.create()
    return folder


@pytest.fixture
def stocked(data: DataDir) -> Warehouse:
    """A data directory with a version that lives, one that is deleted, and bytes that never became one."""
    place = fresh(data.database)
    desk = Desk(Registry.open(place.url), place)
    warehouse = Warehouse.at(desk, data.root)
    warehouse.register("living", "shared")
    warehouse.register("dead", "shared")
    warehouse.drop(2)
    warehouse.put(b"given up")
    return warehouse


def run(data: DataDir, *arguments: str) -> str:
    done = CliRunner().invoke(gc, ["--data", str(data.root), *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def document(data: DataDir, *arguments: str) -> Any:
    return json.loads(run(data, "-o", "json", *arguments))


def test_without_delete_it_only_says_what_would_go(
    data: DataDir, stocked: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stocked.names()
    text = run(data, "--grace", "0")
    assert "of the deleted digits@2" in text and "it is part of no version" in text
    assert "would remove 4 files" in text and "4 blobs are needed" in text and "--delete does it" in text
    assert stocked.names() == before
    assert len(document(data)["waiting"]) == 4, "the grace period is a day where nothing else is said"
    monkeypatch.setenv("INTERLOCK_GC_GRACE_S", "0")
    assert len(document(data)["due"]) == 4, "or what the setting says"


def test_with_delete_it_removes_that_and_tells_the_history(data: DataDir, stocked: Warehouse) -> None:
    would = document(data, "--grace", "0s")
    found = document(data, "--grace", "0s", "--delete", "--reason", "the disk is full")
    assert (found["due"], found["deleted"], found["kept"]) == (would["due"], True, 4)
    assert {each["cause"] for each in found["due"]} == {"deleted", "unused"}
    assert found["due_bytes"] == sum(each["size_bytes"] for each in found["due"])
    assert len(stocked.names()) == 4
    event = stocked.registry.events().items[0]
    assert (event.action, event.reason, event.actor.partition(":")[0]) == ("gc", "the disk is full", "local")
    again = document(data, "--grace", "0s", "--delete")
    assert (again["due"], again["waiting"]) == ([], [])


def test_a_directory_that_is_no_servers_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(StartupRefused, match="holds no registry and blobs"):
        run(DataDir(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["token", "trust"])
def test_a_directory_that_cannot_be_made_is_refused_with_what_to_do(tmp_path: Path, command: str) -> None:
    (tmp_path / "file").touch()
    place = ["--data", str(tmp_path / "file" / "data")]
    with pytest.raises(StartupRefused, match=r"cannot be written .* choose another with --data"):
        if command == "token":
            CliRunner().invoke(token, ["create", "me", "--role", "admin", *place], catch_exceptions=False)
        else:
            key = str(SigningKey.create(tmp_path / "key").public)
            CliRunner().invoke(trust, ["add", key, "--name", "me", *place], catch_exceptions=False)


def test_another_servers_registry_is_refused(data: DataDir, stocked: Warehouse) -> None:
    state = stocked.registry.state()
    LastKnownGood(data.state).save(Snapshot(state.incarnation, state.epoch, (), ()))
    run(data)
    stocked.registry.close()
    shutil.move(data.database, data.root / "elsewhere.db")
    Registry.open(f"sqlite:///{data.database}").close()
    with pytest.raises(StartupRefused, match="is not the one that the data directory"):
        run(data, "--delete", "--grace", "0")
    assert len(stocked.names()) == 8


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90.0), ("90s", 90.0), ("30m", 1800.0), ("24h", 86400.0), ("7 d", 604800.0)]
)
def test_a_duration_is(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "-1s", "1w", "h", "1h30m", "nan", "99999999d"])
def test_what_is_no_duration_is_wrong_usage(data: DataDir, text: str) -> None:
    done = CliRunner().invoke(gc, ["--data", str(data.root), "--grace", text])
    assert done.exit_code == 2
    why = "is longer than 36500d" if text.endswith("9d") else "is not a duration: write 90s, 30m, 24h or 7d"
    assert why in done.output


def test_a_user_without_a_name_is_known_by_his_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)  # as `docker run --user 54321` has it
    assert actor() == "local:54321"


# --- derived forms ---


def derived(data: DataDir, name: str, *, used_at: float = 0.0, runtime: str = "") -> Form:
    """A form of the graph of a seed, of 20 bytes and a tensor of 100 that it shares with the others."""
    recipe = Recipe(
        graph_sha256=blob(name).digest, runtime=runtime or installed_runtime(), cpu=cpu_features(), provider="CPU"
    )
    store = DerivedStore(data.root)
    place = store.workplace()
    made = []
    for target, content in ((place.made, b"g" * 20), (place.folder / "tensor", b"t" * 100)):
        target.write_bytes(content)
        made.append(Blob(hashlib.sha256(content).hexdigest(), len(content)))
    (place.folder / "tensor").rename(place.folder / made[1].digest)
    form = Form(recipe=recipe, graph=made[0], own=(made[1],), shared=())
    store.add(form, place)
    place.discard()
    os.utime(store.record_path(form.key), (used_at, used_at))
    return form


def held(data: DataDir) -> set[str]:
    return {each.form.key for each in DerivedStore(data.root).held()}


def test_forms_of_deleted_versions_and_of_another_runtime_go_with_their_reason(
    data: DataDir, stocked: Warehouse
) -> None:
    living, dead = derived(data, "living"), derived(data, "dead")
    foreign = derived(data, "living", runtime="onnxruntime 0.1")
    found = {each["key"]: each["why"] for each in document(data)["forms"]}
    assert found == {
        dead.key: "of no version that is not deleted",
        foreign.key: f"made by onnxruntime 0.1, installed is {installed_runtime()}",
    }
    assert len(held(data)) == 3, "without --delete it only says so"
    lock = DataLock.take(data)
    text = run(data, "--delete")
    lock.close()
    assert "removed 2 derived forms (40 B)" in text and f"derived/{dead.key}" in text
    assert held(data) == {living.key}
    assert DerivedStore(data.root).is_whole(living), "the tensor that they shared stays"


def test_forms_over_the_cap_go_the_longest_unused_first_and_never_what_is_served(
    data: DataDir, stocked: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked.register("other", "shared")
    stocked.register("third", "shared")
    stocked.desk.promote(1)
    old, middle, new = (derived(data, name, used_at=at) for at, name in enumerate(("living", "other", "third"), 1))
    monkeypatch.setenv("INTERLOCK_DERIVED_CACHE_BYTES", "140")
    (due,) = document(data)["forms"]
    assert (due["key"], due["why"]) == (middle.key, "derived_cache_bytes is full, and it is longest unused")
    run(data, "--delete")
    assert held(data) == {old.key, new.key}


def test_fsck_finds_forms_that_are_not_whole_and_what_belongs_to_none(data: DataDir, stocked: Warehouse) -> None:
    whole, cut, flipped = derived(data, "living"), derived(data, "dead"), derived(data, "living", runtime="other")
    store = DerivedStore(data.root)
    for form, content in ((cut, b"g"), (flipped, b"x" * 20)):
        path = graph_of(store.record_path(form.key))
        path.chmod(0o600)
        path.write_bytes(content)
    (data.root / "derived" / ("0" * 64)).write_bytes(b"of nobody")
    (data.root / "derived" / f"{'1' * 64}.json").write_text("{}")
    found = {each["subject"]: each for each in fsck_document(data)["findings"]}
    assert found.keys() == {
        "4 blobs",
        f"derived/{'0' * 64}",
        f"derived/{'1' * 64}.json",
        f"derived/{cut.key}.json",
        f"derived/{flipped.key}.json",
    }
    assert "has 1 bytes, not 20" in found[f"derived/{cut.key}.json"]["what"]
    assert "is damaged" in found[f"derived/{flipped.key}.json"]["what"]
    quick = [each["subject"] for each in fsck_document(data, "--quick")["findings"]]
    assert f"derived/{flipped.key}.json" not in quick and f"derived/{cut.key}.json" in quick
    lock = DataLock.take(data)
    assert f"derived/{'0' * 64}" not in [each["subject"] for each in fsck_document(data)["findings"]], "it is at work"
    lock.close()
    fsck_document(data, "--repair")
    assert (fsck_document(data)["findings"], held(data)) == ([found["4 blobs"]], {whole.key})


# --- fsck ---


def fsck_document(data: DataDir, *arguments: str) -> Any:
    done = CliRunner().invoke(fsck, ["--data", str(data.root), "-o", "json", *arguments], standalone_mode=False)
    assert done.exception is None, done.exception
    found = json.loads(done.output)
    assert done.return_value == (1 if found["errors"] else 0)
    return found


def test_what_is_whole_has_no_errors(data: DataDir, stocked: Warehouse) -> None:
    found = fsck_document(data)
    assert (found["errors"], found["alone"]) == (0, True)
    assert [each["subject"] for each in found["findings"]] == ["4 blobs"]


def test_what_is_wrong_is_an_exit_status_and_a_line_that_says_what_to_do(data: DataDir, stocked: Warehouse) -> None:
    digest = stocked.spoil("shared")
    done = CliRunner().invoke(fsck, ["--data", str(data.root)], standalone_mode=False)
    assert done.return_value == 1
    assert f"blob {digest} is damaged" in done.output and "of digits@1" in done.output
    assert f"register the same file again, or restore blobs/{digest} from a backup" in done.output
    assert "1 errors, 1 other findings" in done.output
    assert fsck_document(data, "--quick")["errors"] == 0


def test_fsck_verifies_what_was_signed_by_keys_that_it_knows(data: DataDir, stocked: Warehouse) -> None:
    key = SigningKey.create(data.root / "release.key")
    version = stocked.registry.version(ModelRef(MODEL, version=1))
    sources = stocked.registry.manifest(MODEL, 1).sources
    statement = Statement(
        model=MODEL, artifact=version.digest, files=sources, signature=version.signature, config=version.config
    ).to_bytes()

    def findings(value: bytes) -> list[tuple[str, str]]:
        stocked.registry.sign(attempt(Action.SIGN, version=1), SignedStatement(key.public.id, statement, value))
        found = fsck_document(data)["findings"]
        return [(each["severity"], each["what"]) for each in found if each["subject"] == f"{MODEL}@1"]

    good = key.sign(DOMAIN + statement)
    ((severity, what),) = findings(good)
    assert severity == "note" and "is not among the trusted ones" in what
    trusted = TrustedKey(
        public=key.public, name="release", models=("*",), added_at=datetime.now(UTC), added_by="local:ann"
    )
    trusted_keys.write(data.root / "trusted-keys.json", TrustedKeys((trusted,)))
    assert findings(good) == []
    assert findings(good[::-1]) == [("error", f"the signature is not of key {trusted}")]
    (data.root / "trusted-keys.json").write_text("{")
    assert "trusted keys" in [each["subject"] for each in fsck_document(data)["findings"]]


def test_repair_tidies_up_and_marks_what_it_cannot_bring_back(data: DataDir, stocked: Warehouse) -> None:
    stocked.spoil("shared")
    (data.uploads / "half").mkdir()
    (data.uploads / "half" / "model.onnx").write_bytes(b"x")
    (data.blobs / ".incoming-1").write_bytes(b"x")
    (data.root / "derived" / ".half").write_bytes(b"x")
    found = fsck_document(data, "--repair")
    assert {each["subject"]: each["repaired"] for each in found["findings"]} == {
        blob("shared").digest: False,
        ".incoming-1": True,
        "derived/.half": True,
        "state/uploads/half": True,
        "4 blobs": False,
    }
    assert blob("shared").digest in stocked.registry.blobs.damaged()
    assert [each["subject"] for each in fsck_document(data)["findings"]] == [blob("shared").digest, "4 blobs"]


def test_nothing_is_repaired_under_a_server_and_what_it_writes_is_not_judged(data: DataDir, stocked: Warehouse) -> None:
    (data.uploads / "half").mkdir()
    lock = DataLock.take(data)
    found = fsck_document(data)
    assert (found["alone"], len(found["findings"])) == (False, 1)
    done = CliRunner().invoke(fsck, ["--data", str(data.root), "--repair"], standalone_mode=False)
    assert isinstance(done.exception, StartupRefused)
    assert "nothing is repaired under a running server" in done.exception.message
    lock.close()
    assert fsck_document(data, "--repair")["alone"]


def test_a_last_known_good_that_cannot_be_read_is_an_error(data: DataDir, stocked: Warehouse) -> None:
    (data.state / "last-known-good").write_bytes(b"garbage")
    (finding,) = [each for each in fsck_document(data)["findings"] if each["severity"] == "error"]
    assert finding["subject"] == "state/last-known-good"
