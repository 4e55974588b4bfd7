"""Registries that earlier programs left are brought up to date, with all that is in them."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from interlock.model import VersionState
from interlock.types import ModelRef
from interlock_registry.domain import Action
from interlock_registry.registry import Registry
from interlock_registry.sql import engine as engines
from interlock_registry.sql import migrate
from interlock_registry.sql.tables import metadata

from tests.databases import Cluster, Place, SqlitePlace
from tests.unit.registry.builders import MODEL, Desk, attempt
from tests.unit.registry.write_schema import SCHEMAS

FILES = sorted(SCHEMAS.glob("*.sql"))


@pytest.fixture(params=FILES, ids=lambda path: path.name.removesuffix(".sql"))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A registry of an earlier program."""
    text = request.param.read_text()
    if ".sqlite." in request.param.name:
        path = tmp_path / "registry.db"
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.executescript(text)
        yield SqlitePlace(path)
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    made = cluster.new(empty=True)
    with made.server.connect(made.name) as other:
        other.execute(text.encode())
    yield made
    made.server.drop(made.name)


def test_every_schema_but_the_newest_is_kept_for_both_databases() -> None:
    revisions = {script.revision for script in ScriptDirectory(str(migrate.MIGRATIONS)).walk_revisions()}
    for database in ("sqlite", "postgresql"):
        kept = {path.name.partition(".")[0] for path in FILES if database in path.name}
        assert revisions - kept <= {migrate.HEAD}, "python -m tests.unit.registry.write_schema, with that program"


def test_a_registry_of_an_earlier_program_is_whole_after_the_update(place: Place) -> None:
    registry = Registry.open(place.url)
    model = registry.desired_model(MODEL)
    assert [(each.alias, each.version, each.generation, each.stack) for each in model.aliases] == [
        ("stable", 2, 2, (1,))
    ]
    assert ([each.version for each in model.keep], model.pins) == ([1, 2, 3], (2, 3))
    states = {each.version: each.state for each in registry.versions(MODEL).items}
    assert states == {1: VersionState.VALIDATED, 2: VersionState.VALIDATED, 3: VersionState.VALIDATED} | {
        4: VersionState.RETIRED,
        5: VersionState.DELETED,
    }
    found = registry.version(ModelRef(MODEL, version=1))
    assert (found.note, dict(found.tags), found.golden_samples) == ("a note", {"run": "7"}, 3)
    assert registry.verify_chain().is_whole
    assert [event.action for event in registry.events().items[:3]] == ["pin", "register", "delete"]
    assert registry.recall(attempt(Action.PIN, version=2, key="k-1", request_hash="h-1")) is not None
    registry.close()


def test_an_updated_registry_has_the_schema_of_a_new_one_and_goes_on(place: Place) -> None:
    desk = Desk(Registry.open(place.url), place)
    engine = engines.open_engine(place.url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()
    assert desk.register().version.version == 6
    desk.promote(6)
    desk.rollback()
    alias = desk.registry.alias(MODEL, "stable")
    assert alias is not None
    assert (alias.version, alias.generation, alias.stack) == (2, 4, (1,))
    # A removed alias keeps its generation.
    desk.promote(1, alias="canary")
    canary = desk.registry.alias(MODEL, "canary")
    assert canary is not None and canary.generation == 3
    assert desk.registry.verify_chain().is_whole
    desk.registry.close()


@pytest.mark.parametrize("place", FILES[:2], indirect=True, ids=lambda path: path.name.removesuffix(".sql"))
def test_two_programs_that_update_at_once_do_not_collide(place: Place) -> None:
    program = "import sys; from interlock_registry.registry import Registry; Registry.open(sys.argv[1]).close()"
    children = [subprocess.Popen([sys.executable, "-c", program, place.url]) for _ in range(2)]
    assert [child.wait(60) for child in children] == [0, 0]
    with place.sql() as connection:
        assert connection.execute("SELECT version_num FROM alembic_version") == [(migrate.HEAD,)]
