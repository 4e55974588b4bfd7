"""What a publisher signs of a version: one sequence of bytes, made by the server and read again by both sides. Pure.

It names the model, the files as they were sent, the artifact that the server made of them, what goes in and out, and
how it is served. The artifact's digest stands for every stored byte, so that no other bytes can be served in its name.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from interlock import canonical
from interlock.errors import DataLoss
from interlock.model import ServingConfig
from interlock.plain import plain_config, plain_specs, read_config, read_specs
from interlock.types import Signature

DOMAIN: Final = b"interlock version statement\n"
"""Stands before every statement that is signed: a signature over anything else is none over a statement."""
FORMAT: Final = 1
MAX_STATEMENT: Final = 4 * 1024 * 1024
"""Bytes; a version with thousands of files and tensors has some hundred thousand."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file as its sender had it."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What is said of a version by whoever signs it."""

    model: str
    artifact: str
    """sha256 of the artifact's manifest, which names every blob."""
    files: tuple[SourceFile, ...]
    signature: Signature
    config: ServingConfig

    def to_bytes(self) -> bytes:
        """Return the canonical JSON."""
        return canonical.dumps(
            {
                "format": FORMAT,
                "model": self.model,
                "artifact": self.artifact,
                "files": [{"name": each.name, "size": each.size_bytes, "sha256": each.sha256} for each in self.files],
                "signature": {
                    "inputs": plain_specs(self.signature.inputs),
                    "outputs": plain_specs(self.signature.outputs),
                    "optional": plain_specs(self.signature.optional),
                },
                "config": plain_config(self.config),
            }
        ).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Statement:
        """Read a statement; raises DataLoss where it is none, or one from the future."""
        try:
            document = json.loads(data)
            if document["format"] != FORMAT:
                raise ValueError(f"its format is {document['format']!r}, this program reads {FORMAT}")
            specs = document["signature"]
            return cls(
                model=str(document["model"]),
                artifact=str(document["artifact"]),
                files=tuple(
                    SourceFile(str(each["name"]), int(each["size"]), str(each["sha256"])) for each in document["files"]
                ),
                signature=Signature(
                    read_specs(specs["inputs"]), read_specs(specs["outputs"]), read_specs(specs["optional"])
                ),
                config=read_config(document["config"]),
            )
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise DataLoss(f"this is no statement about a version ({error!r}): {data[:200]!r}") from error


@dataclass(frozen=True, slots=True)
class SignedStatement:
    """A statement with the signature of one key over it."""

    key: str
    """The key's id."""
    statement: bytes
    value: bytes = field(repr=False)
    """64 bytes of Ed25519, over DOMAIN and the statement."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed statement as the registry keeps it."""

    signed: SignedStatement
    at: datetime
    """When the registry was given it."""
    actor: str


def differs(said: Statement, found: Statement) -> str:
    """Say in what a statement is not about what is there; "" where it is."""
    for what, one, other in (
        ("model", said.model, found.model),
        ("artifact", said.artifact, found.artifact),
        ("source files", said.files, found.files),
        ("inputs and outputs", said.signature, found.signature),
        ("serving config", said.config, found.config),
    ):
        if one != other:
            return f"what was signed has another {what}"
    return ""
