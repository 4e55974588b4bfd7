"""What a worker asks of the other workers of its replica."""

from __future__ import annotations

from typing import Final, Protocol

from interlock.model import ServableStatus

from interlock_server.snapshot import VersionSpec


class Peers(Protocol):
    """The other workers; one that does not answer is left out everywhere."""

    def __len__(self) -> int:
        """Return how many there are, also of those that are away."""
        ...

    async def collect(self, method: str, request: bytes) -> tuple[bytes, ...]:
        """Return what they answer to a method of the inference port, each for itself; refusals are left out."""
        ...

    async def tell(self, method: str, request: bytes) -> None:
        """Have each of them change what a method changes; raises the first refusal, after all have answered."""
        ...

    async def servables(self) -> tuple[tuple[ServableStatus, ...], ...]:
        """Return what each of them has loaded; one that takes no calls on the port yet is left out."""
        ...

    async def load(self, spec: VersionSpec, timeout_s: float) -> None:
        """Have a version loaded by each of them that keeps it; raises PrepareFailed."""
        ...


class _Alone:
    """No others."""

    def __len__(self) -> int:
        return 0

    async def collect(self, method: str, request: bytes) -> tuple[bytes, ...]:
        return ()

    async def tell(self, method: str, request: bytes) -> None:
        return

    async def servables(self) -> tuple[tuple[ServableStatus, ...], ...]:
        return ()

    async def load(self, spec: VersionSpec, timeout_s: float) -> None:
        return


ALONE: Final[Peers] = _Alone()
"""Of the one worker of a server with one."""
