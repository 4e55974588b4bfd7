"""Both kinds of client behind one face, so that each test of the wire runs for both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from interlock_client import Admin, AsyncAdmin, AsyncClient, Client


class Kind:
    """Makes clients of one kind and runs their methods to the end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._runner = asyncio.Runner() if name == "async" else None
        self._open: list[Any] = []

    def client(self, target: str, **options: Any) -> Any:
        return self._made((AsyncClient if self._runner else Client)(target, **options))

    def admin(self, target: str, **options: Any) -> Any:
        return self._made((AsyncAdmin if self._runner else Admin)(target, **options))

    def _made(self, made: Any) -> Any:
        self._open.append(made)
        return Blocking(made, self._runner)

    def close(self) -> None:
        for made in self._open:
            Blocking(made, self._runner).close()
        if self._runner:
            self._runner.close()


class Blocking:
    """A client whose every method blocks."""

    def __init__(self, made: Any, runner: asyncio.Runner | None) -> None:
        self._made, self._runner = made, runner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._made, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if self._runner is None:
                return method(*args, **kwargs)
            return self._runner.run(method(*args, **kwargs))

        return call
