"""Errors of requests that are wrong in themselves, or ask for what is not there."""

from __future__ import annotations

from collections.abc import Iterable

from interlock.errors._root import InterlockError, Violation

# --- the request is wrong ---


class InvalidArgument(InterlockError):
    """The request can never succeed as it is."""

    reason = "INVALID_ARGUMENT"


class InvalidName(InvalidArgument):
    """A model or alias name breaks the rules."""

    reason = "INVALID_NAME"

    def __init__(self, kind: str, value: str, rule: str) -> None:
        super().__init__(
            f"{value[:200]!r} is not a valid {kind} name: use {rule}",
            facts={"kind": kind, "value": value[:200]},
            violations=[Violation(kind, f"must be {rule}")],
        )


class InvalidRef(InvalidArgument):
    """A ref is neither MODEL, MODEL@VERSION nor MODEL:ALIAS."""

    reason = "INVALID_REF"

    def __init__(self, text: str, why: str) -> None:
        super().__init__(why, facts={"ref": text[:200]}, violations=[Violation("ref", why)])


class InvalidInput(InvalidArgument):
    """The tensors of a request do not fit the version's signature."""

    reason = "INVALID_INPUT"

    def __init__(self, message: str, violations: Iterable[Violation] = ()) -> None:
        super().__init__(message, violations=tuple(violations) or (Violation("inputs", message),))


class InvalidModel(InvalidArgument):
    """An uploaded file is refused: not ONNX, broken, too new, or dangerous."""

    reason = "INVALID_MODEL"

    def __init__(self, message: str, *, check: str) -> None:
        super().__init__(message, facts={"check": check}, violations=[Violation("model", message)])


class InvalidGolden(InvalidArgument):
    """A golden sample file is not one."""

    reason = "INVALID_GOLDEN"

    def __init__(self, message: str) -> None:
        super().__init__(message, violations=[Violation("golden", message)])


class GoldenMismatch(InvalidArgument):
    """The model's answers differ from its golden samples beyond the tolerance."""

    reason = "GOLDEN_MISMATCH"

    def __init__(self, message: str, *, output: str, max_abs: float) -> None:
        super().__init__(message, facts={"output": output, "max_abs": f"{max_abs:.6g}"})


# --- there is no such thing ---


class NotFound(InterlockError):
    """The request names something that is not there."""

    reason = "NOT_FOUND"


class ModelNotFound(NotFound):
    """No model of that name is registered."""

    reason = "MODEL_NOT_FOUND"

    def __init__(self, model: str) -> None:
        super().__init__(
            f"Request for unknown model: '{model}' is not found; `interlock models` lists what is registered",
            facts={"model": model},
        )


class VersionNotFound(NotFound):
    """The model has no version of that number."""

    reason = "VERSION_NOT_FOUND"

    def __init__(self, model: str, version: int) -> None:
        super().__init__(
            f"model {model!r} has no version {version}; `interlock versions {model}` lists them",
            facts={"model": model, "version": str(version)},
        )


class AliasNotFound(NotFound):
    """The model has no alias of that name."""

    reason = "ALIAS_NOT_FOUND"

    def __init__(self, model: str, alias: str) -> None:
        super().__init__(
            f"model {model!r} has no alias {alias!r}; set it with `interlock promote {model} VERSION --alias {alias}`",
            facts={"model": model, "alias": alias},
        )


class AlreadyExists(InterlockError):
    """The request would make something that is there."""

    reason = "ALREADY_EXISTS"


class IdempotencyKeyReused(AlreadyExists):
    """An idempotency key came again with another request."""

    reason = "IDEMPOTENCY_KEY_REUSED"

    def __init__(self, key: str) -> None:
        super().__init__(
            f"idempotency key {key!r} was used before for another request; use a fresh key",
            facts={"key": key},
        )
