from __future__ import annotations

import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from interlock.chain import GENESIS, ChainHead, Link
from interlock.errors import RegistryUnavailable, StartupRefused
from interlock.model import EventFilter
from interlock_registry.chain import Draft, seal
from interlock_registry.registry import Registry
from interlock_registry.sql import engine as engines
from interlock_registry.sql import migrate
from interlock_registry.sql.tables import metadata
from sqlalchemy import inspect
from sqlalchemy.exc import IntegrityError

from tests.databases import POSTGRESQL, SQLITE, Cluster, Place, SqlitePlace
from tests.unit.registry.builders import Desk

NEXT = "9999"
"""The revision of a program that is one migration ahead of this one."""

AHEAD = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{head}"


def upgrade() -> None:
    with op.batch_alter_table("models") as batch:
        batch.add_column(sa.Column("owner", sa.Text(), nullable=False, server_default="nobody"))
    {then}
"""


def newer(tmp_path: Path, then: str = "pass") -> Path:
    """The migrations of a program that is one revision ahead."""
    migrations = tmp_path / "migrations"
    shutil.copytree(migrate.MIGRATIONS, migrations)
    (migrations / "versions" / "9999_owners.py").write_text(AHEAD.format(then=then, head=migrate.HEAD))
    return migrations


@pytest.fixture(params=[SQLITE, POSTGRESQL])
def nothing(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A place where no registry is yet."""
    if request.param == SQLITE:
        yield SqlitePlace(tmp_path / "registry.db")
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    made = cluster.new(empty=True)
    yield made
    made.server.drop(made.name)


def revision(place: Place) -> str:
    with place.sql() as connection:
        ((found,),) = connection.execute("SELECT version_num FROM alembic_version")
    assert isinstance(found, str)
    return found


# --- the schema and the program ---


def test_the_migrations_lead_to_the_schema_that_the_program_has(desk: Desk) -> None:
    engine = engines.open_engine(desk.place.url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_the_constraints_that_autogeneration_overlooks_are_there_too(desk: Desk) -> None:
    engine = engines.open_engine(desk.place.url)
    found = inspect(engine)
    for table in metadata.tables.values():
        stored = {each["name"] for each in found.get_check_constraints(table.name)}
        stored |= {each["name"] for each in found.get_foreign_keys(table.name)}
        stored |= {each["name"] for each in found.get_unique_constraints(table.name)}
        stored.add(found.get_pk_constraint(table.name)["name"])
        assert {constraint.name for constraint in table.constraints} <= stored
    engine.dispose()


def test_the_program_knows_the_newest_migration() -> None:
    assert ScriptDirectory(str(migrate.MIGRATIONS)).get_heads() == [migrate.HEAD]


def test_the_migrations_are_inside_the_package() -> None:
    import interlock_registry

    root = Path(str(interlock_registry.__file__)).parent
    assert migrate.MIGRATIONS.is_relative_to(root)
    assert stat.S_ISREG((migrate.MIGRATIONS / "env.py").stat().st_mode)


def test_the_events_of_the_first_schema_can_be_found_after_its_migration(nothing: Place) -> None:
    links: list[Link] = []
    head = ChainHead(0, GENESIS)
    for seq, outcome in enumerate(("ok", "PREPARE_FAILED", "ok"), start=1):
        links.append(seal(_draft(seq, outcome), after=head))
        head = ChainHead(seq, links[-1].hash)
    engine = engines.open_engine(nothing.url)
    migrate.prepare(engine, may_migrate=True, head="0001")
    with engine.begin() as connection:
        for each in links:
            body = b"no JSON" if each.seq == 3 else each.body
            filed = {"seq": each.seq, "time": each.filed.time, "model": each.filed.model, "body": body}
            connection.execute(metadata.tables["events"].insert().values(**filed, hash=each.hash))
        connection.execute(metadata.tables["epoch"].update().values(event_seq=3, event_hash=head.hash))
    engine.dispose()
    registry = Registry.open(nothing.url)
    (found,) = registry.events(EventFilter(outcome="refused", actor="EVE", action="promote", alias="stable")).items
    assert (found.seq, found.from_version, found.to_version) == (2, 2, 3)
    (past,) = registry.aliases_at(datetime(2027, 1, 1, tzinfo=UTC)).items
    assert (past.alias, past.version, past.seq) == ("stable", 2, 1)
    assert registry.verify_chain().broken_at == 3, "damage stays where it was, and does not stop the start"
    registry.close()


def _draft(seq: int, outcome: str) -> Draft:
    return Draft(
        time=datetime(2026, 5, 1, 12, seq, tzinfo=UTC),
        actor="eve",
        action="promote",
        model="digits",
        alias="stable",
        from_version=seq,
        to_version=seq + 1,
        reason="",
        request_id="r",
        outcome=outcome,
        detail="",
    )


# --- opening ---


def test_an_empty_place_becomes_a_registry(nothing: Place) -> None:
    registry = Registry.open(nothing.url)
    assert registry.state().epoch == 0
    assert registry.models().items == ()
    assert registry.verify_chain().is_whole
    registry.close()
    assert revision(nothing) == migrate.HEAD


def test_many_that_start_at_once_make_one_registry(nothing: Place) -> None:
    program = (
        "import sys; from interlock_registry.registry import Registry\n"
        "registry = Registry.open(sys.argv[1]); print(registry.state().incarnation); registry.close()"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", program, nothing.url], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [child.communicate(timeout=60)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert len(set(answers)) == 1


def test_threads_that_make_registries_at_once_get_one_each(tmp_path: Path) -> None:
    start = threading.Barrier(4)

    def make(number: int) -> str:
        start.wait(60)
        registry = Registry.open(f"sqlite:///{tmp_path}/registry-{number}.db")
        try:
            return registry.state().incarnation
        finally:
            registry.close()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(make, range(4)))) == 4


def test_a_newer_schema_is_refused_and_left_alone(desk: Desk) -> None:
    desk.register()
    desk.registry.close()
    with desk.sql() as connection:
        connection.execute("UPDATE alembic_version SET version_num = '99999'")
    with pytest.raises(
        StartupRefused, match=f"has schema 99999, this program knows schemas up to {migrate.HEAD}: a newer"
    ) as caught:
        Registry.open(desk.place.url)
    assert caught.value.facts["found"] == "99999"
    assert revision(desk.place) == "99999"


def test_an_older_schema_is_brought_up_to_date(tmp_path: Path, desk: Desk) -> None:
    desk.register()
    desk.promote(1)
    desk.registry.close()
    engine = engines.open_engine(desk.place.url)
    backups = tmp_path / "backups"
    migrate.prepare(engine, may_migrate=True, backup_dir=backups, head=NEXT, migrations=newer(tmp_path))
    engine.dispose()
    with desk.sql() as connection:
        assert connection.execute("SELECT name, owner FROM models") == [("digits", "nobody")]
        assert connection.execute("SELECT version FROM aliases") == [(1,)]


def test_an_older_schema_is_refused_where_migrating_is_not_allowed(tmp_path: Path, desk: Desk) -> None:
    desk.registry.close()
    engine = engines.open_engine(desk.place.url)
    with pytest.raises(StartupRefused, match=f"has schema {migrate.HEAD}, this program needs {NEXT}"):
        migrate.prepare(engine, may_migrate=False, head=NEXT, migrations=newer(tmp_path))
    engine.dispose()
    assert revision(desk.place) == migrate.HEAD


@pytest.mark.parametrize(
    "then",
    ["raise OSError('the machine is on fire')", 'op.execute("UPDATE aliases SET version = 99")'],
    ids=["that raises", "that leaves rows which refer to nothing"],
)
def test_a_migration_that_fails_leaves_the_old_schema_whole(tmp_path: Path, desk: Desk, then: str) -> None:
    desk.register()
    desk.promote(1)
    desk.registry.close()
    engine = engines.open_engine(desk.place.url)
    with pytest.raises((OSError, RegistryUnavailable, IntegrityError)):
        migrate.prepare(engine, may_migrate=True, head=NEXT, migrations=newer(tmp_path, then))
    engine.dispose()
    assert revision(desk.place) == migrate.HEAD
    again = Registry.open(desk.place.url)
    assert again.desired_model("digits").aliases[0].version == 1
    again.close()


# --- what is no registry ---


def test_another_programs_database_is_refused(nothing: Place) -> None:
    with nothing.sql() as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    with pytest.raises(StartupRefused, match=r"holds tables that are not the registry's \(songs\)"):
        Registry.open(nothing.url)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("registry.db", "not a URL"),
        ("mysql://u@h/d", "does not run on 'mysql'"),
        ("sqlite://", "outlives the process"),
        ("sqlite:///:memory:", "outlives the process"),
        ("postgresql+nosuch://u:secret@h/d", "driver for 'postgresql\\+nosuch' is not installed"),
    ],
)
def test_a_url_that_can_never_work_is_refused(url: str, why: str) -> None:
    with pytest.raises(StartupRefused, match=why) as caught:
        Registry.open(url)
    assert "secret" not in caught.value.message
