"""Values ↔ the JSON text that the registry keeps of them. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from interlock import canonical
from interlock.errors import DataLoss, InterlockError, Violation, by_reason
from interlock.golden import Tolerance
from interlock.model import ServingConfig
from interlock.types import Dim, DType, Signature, TensorSpec


def write_signature(value: Signature) -> str:
    """Write a signature."""
    document: dict[str, object] = {"inputs": _specs(value.inputs), "outputs": _specs(value.outputs)}
    if value.optional:
        document["optional"] = _specs(value.optional)
    return canonical.dumps(document)


def read_signature(text: str) -> Signature:
    """Read a signature; raises DataLoss."""
    try:
        document = json.loads(text)
        return Signature(
            _read_specs(document["inputs"]), _read_specs(document["outputs"]), _read_specs(document.get("optional", []))
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged("signature", text, error) from error


def write_config(value: ServingConfig) -> str:
    """Write a serving config."""
    return canonical.dumps(
        {
            "max_batch_size": value.max_batch_size,
            "max_queue_delay_us": value.max_queue_delay_us,
            "max_queue_size": value.max_queue_size,
            "preferred_batch_sizes": list(value.preferred_batch_sizes),
            "instances": value.instances,
        }
    )


def read_config(text: str) -> ServingConfig:
    """Read a serving config; raises DataLoss."""
    try:
        document = json.loads(text)
        return ServingConfig(
            max_batch_size=int(document["max_batch_size"]),
            max_queue_delay_us=int(document["max_queue_delay_us"]),
            max_queue_size=int(document["max_queue_size"]),
            preferred_batch_sizes=tuple(int(size) for size in document.get("preferred_batch_sizes", ())),
            instances=int(document.get("instances", 1)),
        )
    except (KeyError, TypeError, ValueError) as error:
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


def _specs(specs: Sequence[TensorSpec]) -> list[dict[str, object]]:
    return [{"name": spec.name, "dtype": spec.dtype.value, "shape": list(spec.shape)} for spec in specs]


def _read_specs(documents: Sequence[Mapping[str, object]]) -> tuple[TensorSpec, ...]:
    return tuple(_read_spec(each) for each in documents)


def _read_spec(document: Mapping[str, object]) -> TensorSpec:
    shape = document["shape"]
    if not isinstance(shape, list):
        raise TypeError(f"shape is {shape!r}")
    return TensorSpec(str(document["name"]), DType(document["dtype"]), tuple(_read_dim(dim) for dim in shape))


def _read_dim(value: object) -> Dim:
    if value is None or isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise TypeError(f"a dimension is {value!r}")


def _damaged(what: str, text: str, error: Exception) -> DataLoss:
    return DataLoss(f"a stored {what} is damaged ({error!r}): {text[:200]!r}; restore the registry from a backup")


def read_memory(report: str) -> int:
    """Return the bytes of memory that a version's report says it took; 0 where it says nothing of it."""
    found = json.loads(report).get("memory_bytes", 0)
    return found if isinstance(found, int) else 0
