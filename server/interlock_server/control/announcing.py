"""The ready line, which whoever starts a server waits for."""

from __future__ import annotations

import asyncio
import logging

from interlock_server.control.patient_output import PatientOutput
from interlock_server.control.standing import Standing
from interlock_server.process.boot import Boot

log = logging.getLogger("interlock.control")


async def announce(standing: Standing, changed: asyncio.Event, boot: Boot, stdout: PatientOutput) -> None:
    """Print the ready line once every worker is ready, at the server's first start only.

    `changed` is set when the workers' standing may have changed. Whoever does not read stdout holds nothing up.
    """
    while not standing.complete:
        changed.clear()
        await changed.wait()
    log.info("ready")
    if not boot.announce:
        return
    addresses = f"grpc={boot.inference_address} http={boot.http_address} admin={boot.admin_address}"
    try:
        await asyncio.to_thread(stdout.put, f"interlock ready {addresses}\n".encode())
    except OSError as error:  # nobody reads, or nobody is there
        log.warning("nobody was told on stdout that the server is ready (%s): %s", error, addresses)
