"""What an artifact consists of. Pure.

A manifest lists the immutable blobs that make up a model, as a git tree lists its files: one graph, the tensors that
live outside it, and the files that were uploaded. Its digest is the artifact's name.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import Final

from interlock import canonical
from interlock.errors import DataLoss, InvalidArgument
from interlock.statement import SourceFile

FORMAT: Final = 1
"""The manifest format that this program writes, and the newest that it reads."""

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_BEGINNING: Final = re.compile(
    r'\{"format":(?P<format>\d{1,9}),"graph":\{"digest":"(?P<digest>[0-9a-f]{64})","size_bytes":(?P<size>\d{1,18})\}'
)
"""Of a canonical manifest: its keys are sorted."""


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
class TensorBlob:
    """A tensor of the graph that lives in a blob of its own."""

    name: str
    """Unique in the artifact; a tensor of a subgraph or of a node's attribute has a path of names with slashes."""
    dtype: str
    """ONNX's name of the element type: "FLOAT", "BFLOAT16"."""
    dims: tuple[int, ...]
    blob: Blob
    """Its elements in row-major order, little-endian, and nothing else."""


@dataclass(frozen=True, slots=True)
class InlineTensor:
    """A tensor that stays inside the graph: small, of text, sparse, or of elements smaller than a byte."""

    name: str
    """As of a `TensorBlob`."""
    dtype: str
    dims: tuple[int, ...]
    sha256: str
    """Of its elements as a `TensorBlob` has them; text as its length in four bytes, little-endian, and its UTF-8."""
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Operator:
    """How often the graph, with its subgraphs and functions, has an operator."""

    domain: str
    """"ai.onnx" for ONNX's own, whichever way the graph spells it."""
    op_type: str
    opset: int
    """The version of the domain's operator set that the graph imports; 0 where it names none."""
    count: int


@dataclass(frozen=True, slots=True)
class Opset:
    """An operator set that the graph imports."""

    domain: str
    version: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The blobs of one artifact, and what the graph is made of. Tables are sorted by their first fields."""

    graph: Blob
    tensors: tuple[TensorBlob, ...] = ()
    inline: tuple[InlineTensor, ...] = ()
    operators: tuple[Operator, ...] = ()
    opsets: tuple[Opset, ...] = ()
    ir_version: int = 0
    producer: str = ""
    """The program that wrote the file, as it says."""
    sources: tuple[SourceFile, ...] = ()
    format: int = FORMAT

    @property
    def digest(self) -> str:
        """The artifact's name: sha256 of the canonical JSON."""
        return self.document.digest

    @property
    def document(self) -> Blob:
        """Its own JSON, which is a blob among the others: whoever has the directory needs no database to read it."""
        data = self.to_json().encode()
        return Blob(hashlib.sha256(data).hexdigest(), len(data))

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Every blob once, its own document and the graph first: what has to be there for the artifact to be whole."""
        named = (self.document, self.graph, *(tensor.blob for tensor in self.tensors))
        return tuple({each.digest: each for each in named}.values())

    @property
    def size_bytes(self) -> int:
        """All blobs together; a blob that two tensors share counts once."""
        return sum(each.size_bytes for each in self.blobs)

    def to_json(self) -> str:
        """Return the canonical JSON."""
        return canonical.dumps(
            {
                "format": self.format,
                "graph": _blob_document(self.graph),
                "tensors": [
                    {"name": each.name, "dtype": each.dtype, "dims": list(each.dims), **_blob_document(each.blob)}
                    for each in self.tensors
                ],
                "inline": [{**asdict(each), "dims": list(each.dims)} for each in self.inline],
                "operators": [asdict(each) for each in self.operators],
                "opsets": [asdict(each) for each in self.opsets],
                "ir_version": self.ir_version,
                "producer": self.producer,
                "sources": [asdict(each) for each in self.sources],
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
                tensors=tuple(map(_read_tensor, document["tensors"])),
                inline=tuple(map(_read_inline, document["inline"])),
                operators=tuple(
                    Operator(str(each["domain"]), str(each["op_type"]), _count(each, "opset"), _count(each, "count"))
                    for each in document["operators"]
                ),
                opsets=tuple(Opset(str(each["domain"]), _count(each, "version")) for each in document["opsets"]),
                ir_version=_count(document, "ir_version"),
                producer=str(document["producer"]),
                sources=tuple(
                    SourceFile(str(each["name"]), _count(each, "size_bytes"), checked_digest(each["sha256"]))
                    for each in document["sources"]
                ),
            )
        except (KeyError, TypeError, ValueError, InvalidArgument) as error:
            raise DataLoss(f"a stored manifest is damaged ({error!r}): {text[:200]!r}") from error


def graph_of(text: str, digest: str) -> Blob | None:
    """Return the graph of the artifact of that digest out of its manifest, without reading the tables of its tensors.

    None where the text is not as this program writes it, or not of that digest: `from_json` says what is wrong.
    """
    if hashlib.sha256(text.encode()).hexdigest() != digest:
        return None
    found = _BEGINNING.match(text)
    if found is None or int(found["format"]) > FORMAT:
        return None
    return Blob(digest=found["digest"], size_bytes=int(found["size"]))


def _blob_document(blob: Blob) -> dict[str, object]:
    return {"digest": blob.digest, "size_bytes": blob.size_bytes}


def _read_blob(document: dict[str, object]) -> Blob:
    return Blob(digest=checked_digest(str(document["digest"])), size_bytes=_count(document, "size_bytes"))


def _read_tensor(document: dict[str, object]) -> TensorBlob:
    return TensorBlob(str(document["name"]), str(document["dtype"]), _dims(document), _read_blob(document))


def _read_inline(document: dict[str, object]) -> InlineTensor:
    return InlineTensor(
        name=str(document["name"]),
        dtype=str(document["dtype"]),
        dims=_dims(document),
        sha256=checked_digest(str(document["sha256"])),
        size_bytes=_count(document, "size_bytes"),
    )


def _dims(document: dict[str, object]) -> tuple[int, ...]:
    dims = document["dims"]
    if not isinstance(dims, list):
        raise ValueError(f"dims is {dims!r}")
    return tuple(_natural("dims", each) for each in dims)


def _count(document: dict[str, object], key: str) -> int:
    return _natural(key, document[key])


def _natural(key: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{key} is {value!r}")
    return value
