"""Which URLs mean the same database."""

from __future__ import annotations

from pathlib import Path

import pytest
from interlock.errors import StartupRefused
from interlock_registry.sql.naming import database_name

DATA = Path("/srv/data")
PG = "postgresql+psycopg://"


def name(url: str, **environment: str) -> str:
    return database_name(url, DATA, environment)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:////srv/data/registry.db", "sqlite:registry.db"),
        ("sqlite:////srv/data/../data/registry.db?timeout=3", "sqlite:registry.db"),
        ("sqlite:///file:/srv/data/registry.db?uri=true", "sqlite:registry.db"),
        ("sqlite:////srv/other/registry.db", "sqlite:/srv/other/registry.db"),
        (f"{PG}ada:secret@db/m", "postgresql://db:5432/m"),
        ("postgresql://eve:word@db:5432/m?sslmode=require&password=secret&options=-cx", "postgresql://db:5432/m"),
        (f"{PG}ada@/m?host=b:1&host=a:2", "postgresql://a:2,b:1/m"),
        (f"{PG}ada@/m?host=a,b&port=2,1", "postgresql://a:2,b:1/m"),
        (f"{PG}ada@/m?host=/run/pg", "postgresql:///run/pg:5432/m"),
        (f"{PG}ada@[::1]:6000/m", "postgresql://::1:6000/m"),
        (f"{PG}ada@db", "postgresql://db:5432/ada"),
        (f"{PG}ada@db/m?service=prod", "postgresql://db:5432/m of the service prod"),
    ],
)
def test_a_database_is_named_by_what_tells_it_from_others_and_without_secrets(url: str, expected: str) -> None:
    assert name(url) == expected


def test_a_file_moves_with_its_data_directory() -> None:
    moved = Path("/mnt/new")
    assert database_name("sqlite:////mnt/new/registry.db", moved, {}) == name("sqlite:////srv/data/registry.db")


def test_what_a_url_does_not_say_the_environment_does() -> None:
    told = name(PG, PGHOST="db", PGPORT="6000", PGDATABASE="m", PGUSER="ada", PGPASSWORD="secret")
    assert told == "postgresql://db:6000/m"
    assert name(PG, PGHOST="db", PGUSER="ada") == "postgresql://db:5432/ada"


def test_what_is_no_url_is_refused() -> None:
    with pytest.raises(StartupRefused, match="not a URL"):
        name("registry.db")
