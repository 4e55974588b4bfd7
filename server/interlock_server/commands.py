"""The server's commands in a line each. Imports none of them: `interlock --help` must not wait for SQL."""

from __future__ import annotations

from typing import Final

from interlock.plugin import CommandLines

COMMAND_LINES: Final = CommandLines(
    lines={
        "serve": "Run the server in the foreground until SIGTERM or Ctrl-C.",
        "gc": "Find blobs and derived forms that no version needs; remove them.",
        "fsck": "Check the registry, its history and every blob.",
        "backup": "Copy the registry and its blobs; the server may run meanwhile.",
        "restore": "Put a backup into a data directory that has no registry.",
        "token": "Make, list and end tokens, on this machine's registry.",
        "identity": "Say whose certificates are known, on this machine's registry.",
        "trust": "Say whose signatures count, on this machine's registry.",
    },
    needs=("sqlalchemy", "alembic", "pydantic", "pydantic_settings", "starlette", "uvicorn", "orjson"),
)
