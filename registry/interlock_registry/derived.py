"""Derived forms: what ONNX Runtime makes of an artifact before it runs it, made once and kept. Pure, but for the CPU.

A form is a cache entry. It is found by its key, which is all that it depends on, and it may be lost at any time: then
it is made again, or the artifact's own graph is loaded instead.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections import Counter
from collections.abc import Collection, Sequence, Set
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Final

from interlock import canonical
from interlock.errors import DataLoss, InvalidArgument

from interlock_registry.manifest import Blob, checked_digest

LAYOUT: Final = 2
"""How this program takes an optimised graph apart and records it. A change of it makes every form anew."""
MAX_FOLDED_BYTES: Final = 64 << 20
"""The largest constant that the optimiser may compute ahead, wherever it runs."""
_CPU_FIELDS: Final = frozenset({"flags", "Features", "CPU implementer", "CPU architecture", "CPU part"})


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that a derived form depends on."""

    graph_sha256: str
    """Of the artifact's graph, which names its tensors by their digests: it stands for every byte of the model."""
    runtime: str
    """The ONNX Runtime distribution and its version."""
    cpu: str
    """As `cpu_features` returns it: the optimiser picks memory layouts for the instructions that there are."""
    provider: str
    max_folded_bytes: int = MAX_FOLDED_BYTES
    layout: int = LAYOUT

    @cached_property
    def key(self) -> str:
        """The form's name: sha256 of the canonical JSON."""
        return hashlib.sha256(canonical.dumps(asdict(self)).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The files of one derived form, and what they were made for."""

    recipe: Recipe
    graph: Blob
    own: tuple[Blob, ...]
    """Tensors that the optimiser changed or added."""
    shared: tuple[Blob, ...]
    """Tensors that it left alone: the artifact's own blobs."""

    @property
    def key(self) -> str:
        """Its name, which is its recipe's."""
        return self.recipe.key

    def to_json(self) -> str:
        """Return the canonical JSON."""
        return canonical.dumps(asdict(self))

    @property
    def record_sha256(self) -> str:
        """The digest of the JSON, by which a worker knows that it reads what the control process read."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @classmethod
    def from_json(cls, text: str) -> Form:
        """Read a form; raises DataLoss where it is not one."""
        try:
            document = json.loads(text)
            return cls(
                recipe=_recipe(document["recipe"]),
                graph=_blob(document["graph"]),
                own=tuple(map(_blob, document["own"])),
                shared=tuple(map(_blob, document["shared"])),
            )
        except (KeyError, TypeError, ValueError, InvalidArgument) as error:
            raise DataLoss(f"the record of a derived form is damaged ({error!r}): {text[:200]!r}") from error


def _recipe(document: dict[str, object]) -> Recipe:
    numbers = {name: document[name] for name in ("max_folded_bytes", "layout")}
    if not all(type(number) is int for number in numbers.values()):
        raise ValueError(f"a recipe has {numbers}")
    words = {name: str(document[name]) for name in ("runtime", "cpu", "provider")}
    return Recipe(graph_sha256=checked_digest(str(document["graph_sha256"])), **words, **numbers)  # type: ignore[arg-type]


def _blob(document: dict[str, object]) -> Blob:
    size = document["size_bytes"]
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ValueError(f"size_bytes is {size!r}")
    return Blob(digest=checked_digest(str(document["digest"])), size_bytes=size)


@dataclass(frozen=True, slots=True)
class Held:
    """A form that is on disk, and when it was last handed to a worker (seconds since the epoch)."""

    form: Form
    used_at: float


def bytes_of(held: Sequence[Held]) -> int:
    """Return what forms take on disk: a tensor that several have counts once, one of the artifacts' not at all."""
    graphs = sum(each.form.graph.size_bytes for each in held)
    return graphs + sum({blob.digest: blob.size_bytes for each in held for blob in each.form.own}.values())


def why_useless(form: Form, *, runtime: str, cpu: str, live_graphs: Set[str]) -> str:
    """Say why a form will not be loaded again on this machine, with these graphs of versions; "" where it may be."""
    recipe = form.recipe
    if recipe.layout != LAYOUT:
        return "made by another release of this program"
    if recipe.graph_sha256 not in live_graphs:
        return "of no version that is not deleted"
    if recipe.runtime != runtime:
        return f"made by {recipe.runtime}, installed is {runtime}"
    if recipe.cpu != cpu:
        return "made for another kind of processor"
    return ""


def evictions(held: Sequence[Held], kept: frozenset[str], cap_bytes: int) -> tuple[str, ...]:
    """Return the keys to drop so that the rest fits: the longest unused first, and none that is kept.

    Where the kept ones alone are over the cap, all others go and the rest stays over it.
    """
    owners = Counter(blob.digest for each in held for blob in _own(each))
    over = bytes_of(held) - cap_bytes
    dropped: list[str] = []
    for each in sorted(held, key=lambda each: (each.used_at, each.form.key)):
        if over <= 0:
            break
        if each.form.key in kept:
            continue
        dropped.append(each.form.key)
        over -= each.form.graph.size_bytes
        for blob in _own(each):
            owners[blob.digest] -= 1
            over -= 0 if owners[blob.digest] else blob.size_bytes
    return tuple(dropped)


def _own(held: Held) -> Collection[Blob]:
    return {blob.digest: blob for blob in held.form.own}.values()


def installed_runtime() -> str:
    """Return the installed ONNX Runtime with its version, without importing it; "none" where there is none."""
    for name in ("onnxruntime-gpu", "onnxruntime"):
        with suppress(metadata.PackageNotFoundError):
            return f"{name} {metadata.version(name)}"
    return "none"


def cpu_features(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return a short name for what this machine's processor can do, equal on machines that can do the same."""
    try:
        text = cpuinfo.read_text(errors="replace")
    except OSError:
        return f"{platform.machine()}-unknown"
    first = text.partition("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    found = sorted(f"{name.strip()}={' '.join(sorted(value.split()))}" for name, _, value in pairs if _is_feature(name))
    return f"{platform.machine()}-{hashlib.sha256(';'.join(found).encode()).hexdigest()[:16]}"


def _is_feature(name: str) -> bool:
    return name.strip() in _CPU_FIELDS
