"""The error tree → HTTP: the status of the one table, the message, and what machines need to tell errors apart."""

from __future__ import annotations

import math

import orjson
from interlock.errors import InterlockError
from interlock.status import codes_of
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

_MAX_MESSAGE = 4096
_MAX_VIOLATIONS = 32


class Json(Response):
    """An answer in JSON, numpy arrays included."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        """Serialise the content."""
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def failed(error: InterlockError) -> Response:
    """Return the answer that tells of an error: `error` is the protocol's member, the others are ours."""
    body: dict[str, object] = {"error": error.message[:_MAX_MESSAGE], "reason": error.reason}
    if error.facts:
        body["facts"] = dict(error.facts)
    if error.violations:
        body["violations"] = [
            {"field": each.field, "description": each.description} for each in error.violations[:_MAX_VIOLATIONS]
        ]
    headers: dict[str, str] = {}
    if error.retry_after_s is not None:
        body["retry_after_s"] = error.retry_after_s
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    return Json(body, codes_of(error).http, headers)


async def refused(request: Request, error: Exception) -> Response:
    """Answer what no route takes: an unknown path, or a method that a path does not have."""
    assert isinstance(error, HTTPException)
    known = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}
    what = {404: "there is no {0}; /openapi.json tells what there is", 405: "{0} is not asked with {1}"}.get(
        error.status_code, "{1} {0}: {2}"
    )
    message = what.format(request.url.path[:200], request.method, error.detail)
    return Json({"error": message, "reason": known.get(error.status_code, "HTTP")}, error.status_code, error.headers)
