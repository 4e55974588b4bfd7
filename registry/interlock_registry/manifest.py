"""What an artifact consists of. Pure.

A manifest lists the immutable blobs that make up a model, as a git tree lists its files: one graph, the tensors that
live outside it, and the files that were uploaded. Its digest is the artifact's name.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Final

from interlock.errors import DataLoss, InvalidArgument

from interlock_registry import canonical

FORMAT: Final = 1
"""The manifest format that this program writes, and the newest that it reads."""

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def checked_digest(text: str) -> str:
    """Return a lower-case hexadecimal sha256 unchanged; raises InvalidArgument."""
    if not _DIGEST.fullmatch(text):
        raise InvalidArgument(
            f"{text[:80]!r} is not a sha256 digest: use 64 lower-case hexadecimal digits", facts={"digest": text[:80]}
        )
    return text


@dataclass(frozen=True, slots=True)
class Blob:
    """Immutable bytes, named by their sha256."""

    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class NamedBlob:
    """A tensor of the graph that lives in a blob of its own."""

    name: str
    blob: Blob


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file as its sender had it: what a signature over the upload would cover."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The blobs of one artifact."""

    graph: Blob
    tensors: tuple[NamedBlob, ...] = ()
    sources: tuple[SourceFile, ...] = ()
    format: int = FORMAT

    @property
    def digest(self) -> str:
        """The artifact's name: sha256 of the canonical JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def size_bytes(self) -> int:
        """All blobs together; a blob that two tensors share counts once."""
        sizes = {each.blob.digest: each.blob.size_bytes for each in self.tensors}
        return sum({**sizes, self.graph.digest: self.graph.size_bytes}.values())

    def to_json(self) -> str:
        """Return the canonical JSON."""
        return canonical.dumps(
            {
                "format": self.format,
                "graph": _blob_document(self.graph),
                "tensors": [{"name": each.name, **_blob_document(each.blob)} for each in self.tensors],
                "sources": [
                    {"name": each.name, "size_bytes": each.size_bytes, "sha256": each.sha256} for each in self.sources
                ],
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read a manifest; raises DataLoss where it is not one, or of a format from the future."""
        try:
            document = json.loads(text)
            found = int(document["format"])
            if found > FORMAT:
                raise DataLoss(f"a manifest has format {found}, this program reads up to {FORMAT}; use a newer one")
            return cls(
                format=found,
                graph=_read_blob(document["graph"]),
                tensors=tuple(NamedBlob(str(each["name"]), _read_blob(each)) for each in document["tensors"]),
                sources=tuple(
                    SourceFile(str(each["name"]), int(each["size_bytes"]), checked_digest(each["sha256"]))
                    for each in document["sources"]
                ),
            )
        except (KeyError, TypeError, ValueError, InvalidArgument) as error:
            raise DataLoss(f"a stored manifest is damaged ({error!r}): {text[:200]!r}") from error


def _blob_document(blob: Blob) -> dict[str, object]:
    return {"digest": blob.digest, "size_bytes": blob.size_bytes}


def _read_blob(document: dict[str, object]) -> Blob:
    size = document["size_bytes"]
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ValueError(f"size_bytes is {size!r}")
    return Blob(digest=checked_digest(str(document["digest"])), size_bytes=size)
