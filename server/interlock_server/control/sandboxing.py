"""The sandbox of the model tool: tried once at start, by a child that runs against its walls."""

from __future__ import annotations

import logging

from interlock.errors import InternalError
from interlock_registry.tool import Sandbox, probe

log = logging.getLogger("interlock.sandbox")


class Sandboxing:
    """Knows which walls hold on this machine."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self.layers: tuple[str, ...] = ()
        """Those that held when they were tried."""

    async def check(self) -> None:
        """Try them; raises StartupRefused where all are demanded and one is missing."""
        try:
            walls = await probe(self._sandbox)
        except InternalError as error:
            if self._sandbox is Sandbox.STRICT:
                raise
            log.error("%s", error.message)
            return
        self.layers = walls.held
        if self._sandbox is Sandbox.OFF:
            log.warning("the setting sandbox is 'off': what reads uploads stands behind resource limits alone")
        elif walls.missing:
            log.warning("uploads are read with fewer walls than there could be: %s", walls.explanation)
