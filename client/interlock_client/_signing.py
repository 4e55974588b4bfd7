"""Signing: an upload whose sender signs what the server made of it, and signatures for versions that are there."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from interlock import convert, convert_signing
from interlock import model as m
from interlock.errors import NotTrusted
from interlock.keys import PublicKey, Signer
from interlock.statement import DOMAIN, Signed, SourceFile, Statement
from interlock.types import ModelRef
from interlock.v1 import admin_pb2 as pb

from interlock_client._flow import Flow, ask
from interlock_client._upload import Progress, Sender, Upload, announce

_WAIT_S: Final = 3600.0


class SignedSender:
    """The messages of one upload that is signed, in order; iterate it once."""

    def __init__(self, upload: Upload, signer: Signer, progress: Progress | None) -> None:
        self._upload: Final = upload
        self._signer: Final = signer
        self._plain: Final = Sender(upload, progress)
        self._values: Final[queue.SimpleQueue[bytes | None]] = queue.SimpleQueue()

    def __iter__(self) -> Iterator[pb.RegisterSignedRequest]:
        """Yield the header, the chunks of each file and, when `sign` has made it, the signature."""
        for part in self._plain:
            if part.WhichOneof("part") == "header":
                header = pb.RegisterSignedRequest.Header(upload=part.header, key=self._signer.public.id)
                yield pb.RegisterSignedRequest(header=header)
            else:
                yield pb.RegisterSignedRequest(chunk=part.chunk)
        if self._plain.failed:
            return
        yield pb.RegisterSignedRequest(complete=True)
        value = self._values.get(timeout=_WAIT_S)
        if value is not None:
            yield pb.RegisterSignedRequest(value=value)

    def sign(self, statement: bytes) -> None:
        """Sign what the server says it has made of the upload; raises NotTrusted where that is something else."""
        header = self._upload.header
        said = Statement.from_bytes(statement)
        sent = tuple(SourceFile(file.name, file.size_bytes, file.sha256) for file in header.files)
        if (said.model, said.files, said.config) != (header.model, sent, header.config):
            raise NotTrusted(
                f"the server asks to sign {said.model!r} with other files or another serving config than were sent; "
                "nothing was signed",
                facts={"model": header.model},
            )
        self._values.put(self._signer.sign(DOMAIN + statement))

    def check(self) -> None:
        """Raise what ended the stream early, if anything did."""
        self._plain.check()

    def close(self) -> None:
        """End the stream if it still waits. Idempotent."""
        self._values.put(None)


def stated(ref: ModelRef) -> Flow[pb.GetStatementResponse]:
    """Read what there is to sign of a version, and what was signed."""
    answer = yield from ask("GetStatement", pb.GetStatementRequest(ref=str(ref)), pb.GetStatementResponse)
    return answer.message


def sign(
    ref: ModelRef, signer: Signer, path: Path | None, golden: Path | None, mutation: m.MutationOptions
) -> Flow[m.Version]:
    """Sign a version that is there, having held its files against those that the signer has."""
    found = yield from stated(ref)
    version, said = convert.from_version(found.version), Statement.from_bytes(found.statement)
    if (said.model, said.artifact) != (version.model, version.digest):
        raise NotTrusted(f"the server asks to sign something else than {version.model}@{version.version}")
    if path is not None:
        _compare(version, said, path, golden)
    request = pb.SignVersionRequest(
        model=version.model,
        version=version.version,
        key=signer.public.id,
        statement=found.statement,
        value=signer.sign(DOMAIN + found.statement),
        options=convert.options(mutation),
    )
    answer = yield from ask("SignVersion", request, pb.SignVersionResponse)
    return convert.from_version(answer.message.version)


def verify(ref: ModelRef, key: PublicKey) -> Flow[m.Version]:
    """Check here that a version is as a key has signed it; raises NotTrusted."""
    found = yield from stated(ref)
    version = convert.from_version(found.version)
    name = f"{version.model}@{version.version}"
    for each in map(convert_signing.from_signed, found.signed):
        if each.signed.key == key.id:
            _check(name, version, each, key)
            return version
    keys = ", ".join(each.key for each in version.signed_by) or "nobody"
    raise NotTrusted(
        f"{name} is not signed by key {key.id}, but by {keys}; `interlock sign {name} --key FILE` signs it",
        facts={"model": version.model, "version": str(version.version), "key": key.id},
    )


def _check(name: str, version: m.Version, signed: Signed, key: PublicKey) -> None:
    facts = {"model": version.model, "version": str(version.version), "key": key.id}
    if not key.verifies(signed.signed.value, DOMAIN + signed.signed.statement):
        raise NotTrusted(f"the signature of {name} is not of key {key.id}: do not use that version", facts=facts)
    said = Statement.from_bytes(signed.signed.statement)
    if (said.model, said.artifact, said.signature, said.config) != (
        version.model,
        version.digest,
        version.signature,
        version.config,
    ):
        raise NotTrusted(f"{name} is not what key {key.id} signed: do not use that version", facts=facts)


def _compare(version: m.Version, said: Statement, path: Path, golden: Path | None) -> None:
    """Hold what was registered against the files that whoever signs has."""
    mine = {(each.size_bytes, each.sha256) for each in announce(path, golden)}
    theirs = {(each.size_bytes, each.sha256) for each in said.files}
    if mine != theirs:
        names, also = ", ".join(each.name for each in said.files), " and its golden samples" if golden else ""
        raise NotTrusted(
            f"{version.model}@{version.version} was registered from {names}, and these are not the bytes of "
            f"{str(path)!r}{also}; nothing was signed. Name the files that were registered, golden samples too",
            facts={"model": version.model, "version": str(version.version)},
        )
