"""Which database a URL means: a name without secrets, by which one is told from another."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sqlalchemy import URL

from interlock_registry.sql import engine as engines

_PORT: Final = "5432"


def database_name(url: str, data: Path, environment: Mapping[str, str]) -> str:
    """Return the name of a database; two URLs that differ in user, password or driver alone have the same.

    A file in the data directory is named by its place there, so that the directory can be moved. `environment` is where
    PostgreSQL's own variables are looked for, as its library does. Raises StartupRefused where the URL cannot be read.
    """
    parsed = engines.read_url(url)
    return _file(parsed, data) if parsed.get_backend_name() == "sqlite" else _served(parsed, environment)


def _file(url: URL, data: Path) -> str:
    path = (url.database or "").removeprefix("file:").partition("?")[0]
    absolute, home = Path(os.path.abspath(path)), Path(os.path.abspath(data))
    return f"sqlite:{absolute.relative_to(home) if absolute.is_relative_to(home) else absolute}"


def _served(url: URL, environment: Mapping[str, str]) -> str:
    def told(key: str, other: str | int | None, variable: str) -> list[str]:
        """Return what the URL's query says, else its own part, else the environment; of several hosts each."""
        found = url.query.get(key) or str(other or environment.get(variable, ""))
        return [each.strip() for one in ([found] if isinstance(found, str) else found) for each in one.split(",")]

    hosts, ports = told("host", url.host, "PGHOST"), told("port", url.port, "PGPORT")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    # In a list a host may carry its port behind a colon; an address of IPv6 has more of them.
    places = sorted(
        host if host.count(":") == 1 else f"{host}:{port or _PORT}" for host, port in zip(hosts, ports, strict=False)
    )
    name = told("dbname", url.database, "PGDATABASE")[0] or url.username or environment.get("PGUSER", "")
    service = told("service", None, "PGSERVICE")[0]
    return f"postgresql://{','.join(places)}/{name}" + (f" of the service {service}" if service else "")
