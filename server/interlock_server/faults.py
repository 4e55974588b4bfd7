"""What becomes of exceptions that nobody expected."""

from __future__ import annotations

import logging
import uuid

from interlock.errors import InternalError

log = logging.getLogger("interlock.faults")


def opaque(error: Exception) -> InternalError:
    """Log an unexpected error under an id, and return one that tells only the id."""
    fault = uuid.uuid4().hex[:12]
    log.error("unexpected error", exc_info=error, extra={"fault": fault})
    return InternalError(f"internal error {fault}; the server's log explains it")
