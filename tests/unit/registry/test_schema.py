from __future__ import annotations

import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from interlock.errors import RegistryUnavailable, StartupRefused
from interlock_registry.registry import Registry
from interlock_registry.sql import engine as engines
from interlock_registry.sql import migrate
from interlock_registry.sql.tables import metadata
from sqlalchemy.engine import make_url
from sqlalchemy.schema import CreateTable

from tests.unit.registry.builders import Desk

SECOND = """
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("models") as batch:
        batch.add_column(sa.Column("owner", sa.Text(), nullable=False, server_default="nobody"))
    {then}
"""


def newer(tmp_path: Path, then: str = "pass") -> Path:
    """The migrations of a program that is one revision ahead."""
    migrations = tmp_path / "migrations"
    shutil.copytree(migrate.MIGRATIONS, migrations)
    (migrations / "versions" / "0002_owners.py").write_text(SECOND.format(then=then))
    return migrations


def revision(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        found: str = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
        return found


# --- the schema and the program ---


def test_the_migrations_lead_to_the_schema_that_the_program_has(desk: Desk) -> None:
    engine = engines.open_engine(f"sqlite:///{desk.path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_the_constraints_that_autogeneration_overlooks_are_there_too(desk: Desk) -> None:
    with desk.sql() as connection:
        stored = {
            row[0]: row[1] for row in connection.execute("SELECT name, sql FROM sqlite_master WHERE type='table'")
        }
    for table in metadata.tables.values():
        for constraint in table.constraints:
            assert f"CONSTRAINT {constraint.name} " in stored[table.name]


def test_the_program_knows_the_newest_migration() -> None:
    assert ScriptDirectory(str(migrate.MIGRATIONS)).get_heads() == [migrate.HEAD]


def test_every_table_can_be_made_in_postgresql() -> None:
    dialect = make_url("postgresql://").get_dialect()()
    for table in metadata.sorted_tables:
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=dialect))


# --- opening ---


def test_an_empty_place_becomes_a_registry(path: Path) -> None:
    registry = Registry.open(f"sqlite:///{path}")
    assert registry.state().epoch == 0
    assert registry.models().items == ()
    assert registry.verify_chain().is_whole
    registry.close()
    assert revision(path) == migrate.HEAD


def test_sqlite_is_set_up_to_lose_nothing(desk: Desk) -> None:
    engine = engines.open_engine(f"sqlite:///{desk.path}")
    with engines.writing(engine) as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "trusted_schema")
        }
    with engines.writing(engine, durable=False) as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 1
    with engines.writing(engine) as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2
    engine.dispose()
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 5000,
        "trusted_schema": 0,
    }


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path, desk: Desk) -> None:
    desk.register()
    desk.registry.close()
    with desk.sql() as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0999'")
    before = desk.path.read_bytes()
    with pytest.raises(
        StartupRefused, match="has schema 0999, this program knows schemas up to 0001: a newer"
    ) as caught:
        Registry.open(f"sqlite:///{desk.path}")
    assert caught.value.facts["found"] == "0999"
    assert desk.path.read_bytes() == before


def test_an_older_schema_is_copied_and_brought_up_to_date(tmp_path: Path, desk: Desk) -> None:
    desk.register()
    desk.promote(1)
    desk.registry.close()
    engine = engines.open_engine(f"sqlite:///{desk.path}")
    backups = tmp_path / "backups"
    migrate.prepare(engine, may_migrate=True, backup_dir=backups, head="0002", migrations=newer(tmp_path))
    engine.dispose()

    with desk.sql() as connection:
        assert connection.execute("SELECT name, owner FROM models").fetchall() == [("digits", "nobody")]
        assert connection.execute("SELECT version FROM aliases").fetchall() == [(1,)]
    (backup,) = backups.iterdir()
    assert backup.name.startswith("registry-before-migration-0001-")
    copied = Registry.open(f"sqlite:///{backup}")
    assert copied.desired_model("digits").aliases[0].version == 1
    copied.close()


def test_an_older_schema_is_refused_where_migrating_is_not_allowed(tmp_path: Path, desk: Desk) -> None:
    desk.registry.close()
    engine = engines.open_engine(f"sqlite:///{desk.path}")
    with pytest.raises(StartupRefused, match="has schema 0001, this program needs 0002"):
        migrate.prepare(engine, may_migrate=False, head="0002", migrations=newer(tmp_path))
    engine.dispose()
    assert revision(desk.path) == "0001"


@pytest.mark.parametrize(
    "then",
    ["raise OSError('the machine is on fire')", 'op.execute("UPDATE aliases SET version = 99")'],
    ids=["that raises", "that leaves rows which refer to nothing"],
)
def test_a_migration_leaves_the_old_schema_whole(tmp_path: Path, desk: Desk, then: str) -> None:
    desk.register()
    desk.promote(1)
    desk.registry.close()
    engine = engines.open_engine(f"sqlite:///{desk.path}")
    with pytest.raises((OSError, RegistryUnavailable)):
        migrate.prepare(engine, may_migrate=True, head="0002", migrations=newer(tmp_path, then))
    engine.dispose()
    assert revision(desk.path) == "0001"
    again = Registry.open(f"sqlite:///{desk.path}")
    assert again.desired_model("digits").aliases[0].version == 1
    again.close()


def test_many_that_start_at_once_make_one_registry(path: Path) -> None:
    program = (
        "import sys; from interlock_registry.registry import Registry\n"
        "registry = Registry.open(sys.argv[1]); print(registry.state().incarnation); registry.close()"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", program, f"sqlite:///{path}"], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    answers = [child.communicate(timeout=60)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0, 0]
    assert len(set(answers)) == 1


# --- what is no registry ---


def test_another_programs_database_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    with pytest.raises(StartupRefused, match=r"holds tables that are not the registry's \(songs\)"):
        Registry.open(f"sqlite:///{path}")


def test_a_file_that_is_no_database_is_said_to_be_unusable(path: Path) -> None:
    path.write_bytes(b"once upon a time " * 1000)
    with pytest.raises(RegistryUnavailable, match="file is not a database"):
        Registry.open(f"sqlite:///{path}")


def test_a_damaged_database_is_said_to_be_damaged(desk: Desk) -> None:
    for _ in range(40):
        desk.register()
    desk.registry.close()
    with closing(sqlite3.connect(desk.path)) as connection:
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    data = bytearray(desk.path.read_bytes())
    for page in range(3, len(data) // size):
        data[page * size : page * size + 64] = b"\xff" * 64
    desk.path.write_bytes(data)
    with pytest.raises(RegistryUnavailable, match=r"damaged|malformed"):
        Registry.open(f"sqlite:///{desk.path}")


def test_a_directory_that_is_not_there_is_said_to_be_unusable(tmp_path: Path) -> None:
    with pytest.raises(RegistryUnavailable, match="unable to open database file"):
        Registry.open(f"sqlite:///{tmp_path}/nowhere/registry.db")


def test_a_database_that_disappears_comes_back_as_an_error_and_not_as_an_empty_one(desk: Desk) -> None:
    desk.register()
    with desk.sql() as connection:
        connection.execute("DROP TABLE pins")
    with pytest.raises(RegistryUnavailable, match="no such table"):
        desk.registry.desired()


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


def test_the_migrations_are_inside_the_package() -> None:
    import interlock_registry

    root = Path(str(interlock_registry.__file__)).parent
    assert migrate.MIGRATIONS.is_relative_to(root)
    assert stat.S_ISREG((migrate.MIGRATIONS / "env.py").stat().st_mode)
