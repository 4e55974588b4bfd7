"""`interlock backup` and `interlock restore`: beside writers, interrupted, damaged, and back again."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from interlock.errors import DataLoss, StartupRefused
from interlock.keys import PublicKey
from interlock_registry import backup as saving
from interlock_registry.registry import Registry
from interlock_server.control.last_known_good import LastKnownGood
from interlock_server.process.datadir import DataDir, DataLock
from interlock_server.snapshot import Snapshot
from interlock_server.trust import keys as trusted
from interlock_server.trust.keys import TrustedKey, TrustedKeys
from interlock_server.upkeep.commands import fsck
from interlock_server.upkeep.saving import backup, restore

from tests.databases import fresh
from tests.unit.registry.builders import Desk
from tests.unit.registry.warehouse import Warehouse, blob, content


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    folder = DataDir(tmp_path / "data")
    folder.create()
    return folder


@pytest.fixture
def stocked(data: DataDir) -> Warehouse:
    place = fresh(data.database)
    desk = Desk(Registry.open(place.url), place)
    warehouse = Warehouse.at(desk, data.root)
    warehouse.register("one", "shared")
    warehouse.register("two", "shared")
    return warehouse


def save(data: DataDir, folder: Path, status: int = 0) -> Any:
    return _invoke(backup, status, str(folder), "--data", str(data.root))


def put_back(folder: Path, root: Path, *arguments: str, status: int = 0) -> Any:
    return _invoke(restore, status, str(folder), "--data", str(root), *arguments)


def check(root: Path) -> Any:
    done = CliRunner().invoke(fsck, ["--data", str(root), "-o", "json"], standalone_mode=False)
    assert done.exception is None, done.exception
    return json.loads(done.output)["findings"]


def _invoke(command: Any, status: int, *arguments: str) -> Any:
    done = CliRunner().invoke(command, [*arguments, "-o", "json"], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    assert done.return_value == status, done.output
    return json.loads(done.output)


def test_what_is_restored_is_whole_and_another_incarnation(data: DataDir, stocked: Warehouse, tmp_path: Path) -> None:
    stocked.desk.promote(1)
    made = save(data, tmp_path / "backup")
    assert (made["lost"], made["blobs"], made["database"]) == ([], 7, "file")
    put_back(tmp_path / "backup", tmp_path / "new")
    assert check(tmp_path / "new") == []
    before, restored = stocked.registry, Registry.open(f"sqlite:///{tmp_path / 'new' / 'registry.db'}")
    assert restored.events().items == before.events().items
    assert restored.state().incarnation != before.state().incarnation
    assert restored.state().epoch == before.state().epoch + 1
    restored.close()
    assert (tmp_path / "new" / "registry.db").stat().st_nlink == 1
    assert {each.stat().st_nlink for each in (tmp_path / "backup" / "blobs").iterdir()} == {1}, "nothing is linked"


def test_a_second_backup_copies_only_what_is_new(data: DataDir, stocked: Warehouse, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    save(data, folder)
    before = {each.name: each.stat().st_ino for each in (folder / "blobs").iterdir()}
    stocked.register("three")
    assert save(data, folder)["blobs"] == 10
    after = {each.name: each.stat().st_ino for each in (folder / "blobs").iterdir()}
    assert {name: after[name] for name in before} == before and len(after) == 10


def test_backups_beside_registrations_deletes_and_collections_are_whole(
    data: DataDir, stocked: Warehouse, tmp_path: Path
) -> None:
    stop, failed = threading.Event(), []

    def churn() -> None:
        number = 2
        try:
            while not stop.is_set():
                stocked.register(f"seed {number}", "shared")
                number += 1
                stocked.drop(number - 1)
                stocked.collect(later_s=2 * 86400.0)
        except BaseException as error:
            failed.append(error)
            raise

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for round_ in range(4):
            assert save(data, tmp_path / f"backup-{round_}")["lost"] == []
    finally:
        stop.set()
        thread.join(60)
    assert not failed
    for round_ in range(4):
        put_back(tmp_path / f"backup-{round_}", tmp_path / f"new-{round_}")
        assert [each for each in check(tmp_path / f"new-{round_}") if each["severity"] == "error"] == []


def test_a_damaged_blob_is_named_and_does_not_stop_the_backup(
    data: DataDir, stocked: Warehouse, tmp_path: Path
) -> None:
    digest = stocked.spoil("one")
    made = save(data, tmp_path / "backup", status=1)
    assert (made["lost"], made["blobs"]) == ([digest], 6)
    with pytest.raises(DataLoss, match=rf"1 blobs of the backup are gone or damaged, {digest}.*--partial"):
        put_back(tmp_path / "backup", tmp_path / "new")
    assert not (tmp_path / "new" / "registry.db").exists()
    put_back(tmp_path / "backup", tmp_path / "new", "--partial", status=1)
    assert [each["subject"] for each in check(tmp_path / "new")] == [digest]


def test_a_bit_that_flips_in_the_backup_is_found(data: DataDir, stocked: Warehouse, tmp_path: Path) -> None:
    save(data, tmp_path / "backup")
    path = tmp_path / "backup" / "blobs" / blob("shared").digest
    path.chmod(0o600)
    path.write_bytes(content("Shared"))
    with pytest.raises(DataLoss, match=blob("shared").digest):
        put_back(tmp_path / "backup", tmp_path / "new")


def test_a_lost_registry_comes_back_beside_its_blobs(data: DataDir, stocked: Warehouse, tmp_path: Path) -> None:
    save(data, tmp_path / "backup")
    state = stocked.registry.state()
    LastKnownGood(data.state).save(Snapshot(state.incarnation, state.epoch + 5, (), ()))
    stocked.registry.close()
    with pytest.raises(StartupRefused, match="is there already; move it away"):
        put_back(tmp_path / "backup", data.root)
    data.database.unlink()
    data.database.with_name("registry.db-wal").write_bytes(b"of the one that was lost")
    put_back(tmp_path / "backup", data.root)
    assert check(data.root) == []


def test_nothing_is_restored_under_a_server(data: DataDir, stocked: Warehouse, tmp_path: Path) -> None:
    save(data, tmp_path / "backup")
    stocked.registry.close()
    data.database.unlink()
    lock = DataLock.take(data)
    with pytest.raises(StartupRefused, match="is in use by the server"):
        put_back(tmp_path / "backup", data.root)
    lock.close()


def test_a_directory_that_is_no_backup_is_left_alone(data: DataDir, stocked: Warehouse, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    with pytest.raises(StartupRefused, match="is not empty and holds no backup"):
        save(data, tmp_path / "other")
    with pytest.raises(StartupRefused, match="is not empty and holds no backup"):
        save(data, data.root)
    with pytest.raises(StartupRefused, match="holds no finished backup"):
        put_back(tmp_path / "other", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_an_interrupted_backup_is_finished_by_the_next(data: DataDir, stocked: Warehouse, tmp_path: Path) -> None:
    (tmp_path / "backup" / "blobs").mkdir(parents=True)
    (tmp_path / "backup" / ".interlock-backup").touch()
    for name in (".registry.db.new", "registry.db"):  # killed in the midst of the second, after it was put in place
        (tmp_path / "backup" / name).write_bytes(b"half")
    with pytest.raises(StartupRefused, match="holds no finished backup"):
        put_back(tmp_path / "backup", tmp_path / "new")
    assert save(data, tmp_path / "backup")["lost"] == []
    put_back(tmp_path / "backup", tmp_path / "new")
    assert check(tmp_path / "new") == []


def test_two_backups_into_one_directory_do_not_meet(
    data: DataDir, stocked: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    move = saving._move
    met: list[str] = []

    def meeting(*arguments: Any) -> tuple[str, ...]:
        if not met:
            with pytest.raises(StartupRefused, match="another backup is being written to") as refused:
                save(data, tmp_path / "backup")
            met.append(str(refused.value))
        return move(*arguments)

    monkeypatch.setattr(saving, "_move", meeting)
    assert save(data, tmp_path / "backup")["lost"] == [] and met
    put_back(tmp_path / "backup", tmp_path / "new")
    assert check(tmp_path / "new") == []


def trusting(*names: str) -> TrustedKeys:
    return TrustedKeys(
        tuple(
            TrustedKey(
                public=PublicKey(name.ljust(32).encode()),
                name=name,
                models=("*",),
                added_at=datetime(2026, 1, 2, tzinfo=UTC),
                added_by="local:ann",
            )
            for name in names
        )
    )


def test_the_trusted_keys_come_back_and_never_over_newer_ones(
    data: DataDir, stocked: Warehouse, tmp_path: Path
) -> None:
    folder, file = tmp_path / "backup", data.root / "trusted-keys.json"
    assert save(data, folder)["trusted_keys"] == ""
    trusted.write(file, trusting("one"))
    save(data, folder)
    trusted.write(file, trusting("one", "two"))
    assert save(data, folder)["keys_moved"] == 2
    assert len(list(folder.glob("trusted-keys-*"))) == 1
    assert put_back(folder, tmp_path / "new")["keys_moved"] == 2
    restored = tmp_path / "new" / "trusted-keys.json"
    assert trusted.read(restored) == trusting("one", "two") and restored.stat().st_mode & 0o077 == 0
    stocked.registry.close()
    data.database.unlink()
    trusted.write(file, trusting("one"))
    assert "was left as it is" in put_back(folder, data.root)["keys_remark"]
    assert trusted.read(file) == trusting("one")


def test_trusted_keys_that_are_damaged_are_told_and_do_not_replace_good_ones(
    data: DataDir, stocked: Warehouse, tmp_path: Path
) -> None:
    folder, file = tmp_path / "backup", data.root / "trusted-keys.json"
    trusted.write(file, trusting("one"))
    save(data, folder)
    file.write_text("{")
    told = save(data, folder, status=1)["keys_remark"]
    assert "cannot be used" in told and told.endswith("; the backup keeps those that it had")
    file.unlink()
    assert "are gone; the backup keeps" in save(data, folder, status=1)["keys_remark"]
    put_back(folder, tmp_path / "new")
    assert trusted.read(tmp_path / "new" / "trusted-keys.json") == trusting("one")
    next(folder.glob("trusted-keys-*")).write_text(trusting("two").to_json())
    with pytest.raises(DataLoss, match=r"trusted-keys-.*are damaged.*nothing was changed. --partial restores"):
        put_back(folder, tmp_path / "another")
    assert not (tmp_path / "another" / "registry.db").exists()
    assert "are damaged" in put_back(folder, tmp_path / "another", "--partial", status=1)["keys_remark"]
    assert not (tmp_path / "another" / "trusted-keys.json").exists()


def test_trusted_keys_that_are_kept_elsewhere_stay_there(
    data: DataDir, stocked: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted.write(tmp_path / "keys.json", trusting("one"))
    monkeypatch.setenv("INTERLOCK_TRUSTED_KEYS", str(tmp_path / "keys.json"))
    made = save(data, tmp_path / "backup")
    assert made["trusted_keys"] == "" and "lie outside of the data directory" in made["keys_remark"]
