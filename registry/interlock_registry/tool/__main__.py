"""The child: one job as JSON on stdin, one answer as JSON on what was stdout. A refusal is an answer, so exit 0."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, Final

from interlock.errors import InterlockError, InternalError, StorageFull

from interlock_registry.disk import FULL, MAKE_ROOM
from interlock_registry.tool.assemble_job import AssembleJob
from interlock_registry.tool.derive_job import DeriveJob
from interlock_registry.tool.diff_job import DiffJob, measured_json
from interlock_registry.tool.job import ValidateJob
from interlock_registry.tool.quantize_job import QuantizeJob
from interlock_registry.tool.runner import out_of_memory
from interlock_registry.walls import enclosure
from interlock_registry.walls.limits import Reach, Sandbox, ToolLimits

_MAX_REQUEST: Final = 4 << 20


def main() -> None:
    """Answer one job."""
    # ONNX Runtime prints to stdout; from here on that is stderr, and only the answer goes where stdout went.
    answer = os.dup(1)
    os.dup2(2, 1)
    request = json.loads(sys.stdin.buffer.read(_MAX_REQUEST))
    limits = ToolLimits.from_json(request["limits"])
    held = enclosure.enter(limits, Reach.from_json(request["reach"]), request["parent"])
    data = json.dumps(_answer(request, limits, enclosure.missing(held)) | {"walls": held}).encode()
    with os.fdopen(answer, "wb") as stream:
        stream.write(data)


def _answer(request: dict[str, Any], limits: ToolLimits, missing: tuple[str, ...]) -> dict[str, Any]:
    try:
        if limits.sandbox is Sandbox.STRICT and missing:
            raise InternalError(f"the sandbox is strict, and this machine does not give {', '.join(missing)}")
        return {"report": _do(request["kind"], request["job"])}
    except MemoryError:
        return _refused(out_of_memory(limits))
    except OSError as error:
        if error.errno not in FULL:
            raise
        return _refused(StorageFull(f"the disk is full, or the model has a file over the limit of one; {MAKE_ROOM}"))
    except InterlockError as error:
        return _refused(error)


def _do(verb: str, job: dict[str, Any]) -> dict[str, Any]:
    # Imported late, so that the walls stand before any of this code and what it reads is there.
    match verb:
        case "validate":
            from interlock_registry.tool.validation import validate

            return validate(ValidateJob.from_json(job)).to_json()
        case "quantize":
            from interlock_registry.tool.quantizing import quantize

            return quantize(QuantizeJob.from_json(job)).to_json()
        case "diff":
            from interlock_registry.tool.difference import diff

            return measured_json(diff(DiffJob.from_json(job)))
        case "assemble":
            from interlock_registry.tool.assembly import assemble

            return assemble(AssembleJob.from_json(job)).to_json()
        case "derive":
            from interlock_registry.tool.derivation import derive

            return derive(DeriveJob.from_json(job)).to_json()
        case _:
            raise InternalError(f"the model tool has no verb {verb!r}")


def _refused(error: InterlockError) -> dict[str, Any]:
    violations = [{"field": each.field, "description": each.description} for each in error.violations]
    return {
        "error": {
            "reason": error.reason,
            "message": error.message,
            "facts": dict(error.facts),
            "violations": violations,
        }
    }


if __name__ == "__main__":
    main()
