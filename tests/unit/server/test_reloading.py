from __future__ import annotations

from pathlib import Path

import pytest
from interlock_server.process import logs
from interlock_server.process.boot import Boot
from interlock_server.process.reload import publish
from interlock_server.reloading import RELOADABLE, Reloader, read_again, take_over
from interlock_server.settings import Settings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("INTERLOCK_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "interlock.toml"


def started(file: Path, text: str, **flags: object) -> Settings:
    file.write_text(text)
    settings = Settings.load(dict(flags), file)
    return settings.model_copy(update={"data": settings.data.absolute()})


def test_every_reloadable_setting_exists() -> None:
    assert set(Settings.model_fields) >= RELOADABLE


def test_what_may_change_changes_and_what_may_not_is_named(file: Path) -> None:
    current = started(file, "keep_depth = 1\ngrpc_port = 0\n")
    file.write_text("keep_depth = 3\ngrpc_port = 9\nmax_upload_bytes = 7\n")
    outcome = read_again(current, {}, file)
    assert (outcome.changed, outcome.fixed, outcome.refused) == (("keep_depth", "max_upload_bytes"), ("grpc_port",), "")
    taken = Settings.model_validate_json(outcome.settings_json)
    assert (taken.keep_depth, taken.max_upload_bytes, taken.grpc_port) == (3, 7, 0)


def test_a_flag_still_beats_the_file(file: Path) -> None:
    current = started(file, "", grpc_port=5)
    file.write_text("grpc_port = 9\n")
    outcome = read_again(current, {"grpc_port": 5}, file)
    assert (outcome.settings_json, outcome.changed, outcome.fixed) == ("", (), ())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("keep_depth = 99\n", "keep_depth is '99'"),
        ("keep_depth =", "is not TOML"),
        ("keep_deep = 2\n", "there is no setting 'keep_deep'"),
        ("default_deadline_s = 10\nmax_deadline_s = 5\n", "under default_deadline_s"),
        (None, "is not there"),
    ],
)
def test_a_bad_file_is_refused_whole_and_says_why(file: Path, text: str | None, why: str) -> None:
    current = started(file, "")
    if text is None:
        file.unlink()
    else:
        file.write_text(text)
    outcome = read_again(current, {}, file)
    assert outcome.settings_json == ""
    assert why in outcome.refused


def test_every_holder_of_the_settings_sees_what_was_taken_over(file: Path) -> None:
    current = started(file, "max_queue_size = 5\nworkers = 1\n")
    holder = current
    wanted = current.model_copy(update={"max_queue_size": 6, "grpc_port": 77})
    assert take_over(current, wanted) == ("max_queue_size",)
    assert (holder.max_queue_size, holder.grpc_port) == (6, 8001)
    assert take_over(current, wanted) == ()


def test_a_child_follows_and_a_part_that_fails_keeps_no_other_from_it(
    file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = started(file, "")
    boot = Boot("", str(tmp_path), "", "", "")
    reloader = Reloader(boot, settings)
    seen: list[int] = []

    def fails() -> None:
        raise ValueError("no")

    reloader.subscribe(fails)
    reloader.subscribe(lambda: seen.append(settings.keep_depth))
    before = logs.kept()
    try:
        reloader.reload()
        publish(settings.model_copy(update={"keep_depth": 4, "log_level": "debug"}).model_dump_json(), str(tmp_path))
        reloader.reload()
        assert logs.kept().debug
    finally:
        logs.keep(before)
    assert seen == [1, 4]
    assert "could not follow the settings" in caplog.text
