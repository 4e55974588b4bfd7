"""Values ↔ the JSON text that the registry keeps of them. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from interlock import canonical, plain
from interlock.errors import DataLoss, InterlockError, Violation, by_reason
from interlock.golden import Tolerance
from interlock.model import ServingConfig
from interlock.types import Signature


def write_signature(value: Signature) -> str:
    """Write a signature."""
    document: dict[str, object] = {
        "inputs": plain.plain_specs(value.inputs),
        "outputs": plain.plain_specs(value.outputs),
    }
    if value.optional:
        document["optional"] = plain.plain_specs(value.optional)
    return canonical.dumps(document)


def read_signature(text: str) -> Signature:
    """Read a signature; raises DataLoss."""
    try:
        document = json.loads(text)
        return Signature(
            plain.read_specs(document["inputs"]),
            plain.read_specs(document["outputs"]),
            plain.read_specs(document.get("optional", [])),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged("signature", text, error) from error


def write_config(value: ServingConfig) -> str:
    """Write a serving config."""
    return canonical.dumps(plain.plain_config(value))


def read_config(text: str) -> ServingConfig:
    """Read a serving config; raises DataLoss."""
    try:
        return plain.read_config(json.loads(text))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _damaged("serving config", text, error) from error


def write_tolerances(value: Mapping[str, Tolerance]) -> str:
    """Write tolerances by provider."""
    return canonical.dumps({provider: {"atol": each.atol, "rtol": each.rtol} for provider, each in value.items()})


def read_tolerances(text: str) -> Mapping[str, Tolerance]:
    """Read tolerances by provider; raises DataLoss."""
    try:
        return {
            str(provider): Tolerance(atol=float(each["atol"]), rtol=float(each["rtol"]))
            for provider, each in json.loads(text).items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _damaged("set of tolerances", text, error) from error


def write_tags(value: Mapping[str, str]) -> str:
    """Write tags."""
    return canonical.dumps(dict(value))


def read_tags(text: str) -> Mapping[str, str]:
    """Read tags; raises DataLoss."""
    try:
        return {str(key): str(value) for key, value in json.loads(text).items()}
    except (AttributeError, ValueError) as error:
        raise _damaged("set of tags", text, error) from error


def write_refusal(error: InterlockError) -> str:
    """Write a refusal with all that it takes to raise it again."""
    return canonical.dumps(
        {
            "reason": error.reason,
            "message": error.message,
            "facts": dict(error.facts),
            "violations": [{"field": each.field, "description": each.description} for each in error.violations],
        }
    )


def read_refusal(text: str) -> InterlockError:
    """Rebuild a refusal; raises DataLoss."""
    try:
        document = json.loads(text)
        return by_reason()[document["reason"]].rebuild(
            str(document["message"]),
            facts={str(key): str(value) for key, value in document["facts"].items()},
            violations=[Violation(str(each["field"]), str(each["description"])) for each in document["violations"]],
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _damaged("refusal", text, error) from error


@dataclass(frozen=True, slots=True)
class VersionAnswer:
    """What is kept under an idempotency key of a mutation whose answer is a version: the rest is read again."""

    model: str
    version: int

    def to_json(self) -> str:
        """Return the canonical JSON."""
        return canonical.dumps({"model": self.model, "version": self.version})

    @classmethod
    def from_json(cls, text: str) -> VersionAnswer:
        """Read an answer; raises DataLoss."""
        try:
            document = json.loads(text)
            return cls(model=str(document["model"]), version=int(document["version"]))
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged("answer", text, error) from error


@dataclass(frozen=True, slots=True)
class ApprovalAnswer:
    """What is kept under an idempotency key of an approval: the event that gave it; the rest is read again."""

    seq: int

    def to_json(self) -> str:
        """Return the canonical JSON."""
        return canonical.dumps({"seq": self.seq})

    @classmethod
    def from_json(cls, text: str) -> ApprovalAnswer:
        """Read an answer; raises DataLoss."""
        try:
            return cls(int(json.loads(text)["seq"]))
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged("answer", text, error) from error


def _damaged(what: str, text: str, error: Exception) -> DataLoss:
    return DataLoss(f"a stored {what} is damaged ({error!r}): {text[:200]!r}; restore the registry from a backup")


def read_memory(report: str) -> int:
    """Return the bytes of memory that a version's report says it took; 0 where it says nothing of it."""
    found = json.loads(report).get("memory_bytes", 0)
    return found if isinstance(found, int) else 0
