"""The blocking client of the admin port."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

import grpc
from interlock import convert
from interlock.approval import Approval
from interlock.audit import SignedHead
from interlock.chain import START, ChainHead, ChainReport
from interlock.diff import VersionDiff
from interlock.keys import PublicKey, Signer, signer
from interlock.model import AliasAt, Event, EventFilter, Model, ReplicaStatus, ServingConfig, Switch, Version
from interlock.quantization import Quantized
from interlock.types import STABLE, ModelRef

from interlock_client import _admin, _audit, _history, _quantize, _signing
from interlock_client._access import Tls
from interlock_client._address import ADMIN
from interlock_client._admin import DEFAULT_LIMIT, DIFF_TIMEOUT_S, REGISTER_TIMEOUT_S, SWITCH_TIMEOUT_S
from interlock_client._channel import DEFAULT_RETRIES, DEFAULT_TIMEOUT_S, Option, dial, seconds
from interlock_client._connection import SyncConnection
from interlock_client._download import Pulled, Receiver
from interlock_client._history import VERIFY_TIMEOUT_S
from interlock_client._signing import SignedSender
from interlock_client._upload import Progress, Sender, plan


class Admin:
    """Registers, promotes, rolls back and reads history; a context manager that any number of threads may share.

    Every change carries an idempotency key, made up where none is given, so it is retried without being done twice.
    `expect` is the generation that the alias must be at (a lost race raises GenerationConflict), `reason` goes into the
    history, and `timeout` is the deadline of the whole call in seconds.

    Args:
        target: the server's admin address; INTERLOCK_ADMIN, else 127.0.0.1:8002, where it is not given.
        timeout: the deadline of a call in seconds, unless the call has its own. `register` has 600, and `promote`,
            `rollback` and `pin`, which may load a version, have 300, whatever is given here.
        retries: how often a call is repeated that failed as UNAVAILABLE (0 to 4); never an upload.
        tls: how the connection is encrypted; what INTERLOCK_TLS_CA and its kin say, else plain text, where it is not
            given.
        credentials: in its place, credentials that `grpc` made.
        token: says who asks; INTERLOCK_TOKEN, or what the file INTERLOCK_TOKEN_FILE holds, where it is not given.
        options: gRPC channel arguments that go before ours.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT_S,
        retries: int = DEFAULT_RETRIES,
        tls: Tls | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        token: str | None = None,
        options: Sequence[Option] = (),
    ) -> None:
        self._timeout_s: Final = seconds(timeout, DEFAULT_TIMEOUT_S)
        line = dial(ADMIN, target, retries=retries, tls=tls, credentials=credentials, options=options, token=token)
        self._connection: Final = SyncConnection(line, _admin.SERVICE, _admin.headers)

    @property
    def target(self) -> str:
        """The address in use."""
        return self._connection.target

    def register(
        self,
        model: str,
        path: str | Path,
        *,
        golden: str | Path | None = None,
        config: ServingConfig | None = None,
        note: str = "",
        tags: Mapping[str, str] | None = None,
        sign: str | Path | Signer | None = None,
        reason: str = "",
        idempotency_key: str = "",
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> Version:
        """Upload an ONNX file as the next version of a model; nothing serves it until it is promoted.

        Args:
            model: the name that owns the version; made on first use.
            path: the ONNX file.
            golden: samples that the server replays; without them the version counts as not proven.
            config: how it is served; the server's defaults where it is not given.
            note: free text, kept with the version.
            tags: free labels, kept with the version.
            sign: the file of a private key, or what signs with one: what the server makes of the upload is signed
                before it is a version. The serving config is part of that: `ServingConfig()` where none is given.
            reason: why, for the history.
            idempotency_key: the same key and the same upload give the same version, however often they are sent.
            progress: called with bytes sent and bytes in all, perhaps from another thread.
            timeout: seconds for upload and validation together; 600 where it is not given.

        Raises:
            InvalidModel, InvalidGolden, GoldenMismatch, NotProven, TooLarge: the upload is refused.
        """
        mutation = _admin.options(reason=reason, idempotency_key=idempotency_key)
        if sign is not None:
            config = config or ServingConfig()
        upload = plan(model, path, golden=golden, config=config, note=note, tags=tags, options=mutation)
        if sign is not None:
            sender = SignedSender(upload, signer(sign), progress)
            signed = self._connection.upload_signed(sender, seconds(timeout, REGISTER_TIMEOUT_S))
            return convert.from_version(signed.version)
        reply = self._connection.upload(Sender(upload, progress), seconds(timeout, REGISTER_TIMEOUT_S))
        return convert.from_version(reply.version)

    def sign(
        self,
        ref: str,
        key: str | Path | Signer,
        *,
        path: str | Path | None = None,
        golden: str | Path | None = None,
        reason: str = "",
        idempotency_key: str = "",
        timeout: float | None = None,
    ) -> Version:
        """Sign a version that is registered already; its other signatures stay.

        Args:
            ref: the version: `m`, `m@3` or `m:canary`.
            key: the file of a private key, or what signs with one.
            path: the ONNX file that was registered: what the server asks to sign must be about that.
            golden: its golden samples.
            reason: why, for the history.
            idempotency_key: sent again, the same request is done once.
            timeout: seconds for all of it; 30 where it is not given.

        Raises:
            NotTrusted: the key is not trusted for the model, or the version is not of these files.
        """
        mutation = _admin.options(reason=reason, idempotency_key=idempotency_key)
        files = (None if path is None else Path(path), None if golden is None else Path(golden))
        flow = _signing.sign(ModelRef.parse(ref), signer(key), *files, mutation)
        return self._connection.run(flow, seconds(timeout, self._timeout_s))

    def verify(self, ref: str, key: str, *, timeout: float | None = None) -> Version:
        """Check here, and not on the server, that a version is as a key has signed it, and return it.

        `key` is the public key's text, or a file that holds it. Raises NotTrusted.
        """
        flow = _signing.verify(ModelRef.parse(ref), PublicKey.read(key))
        return self._connection.run(flow, seconds(timeout, self._timeout_s))

    def quantize(
        self,
        ref: str,
        to: str = "int8",
        *,
        atol: float | None = None,
        rtol: float | None = None,
        note: str = "",
        tags: Mapping[str, str] | None = None,
        reason: str = "",
        idempotency_key: str = "",
        timeout: float | None = None,
    ) -> Quantized:
        """Make a narrower form of a version and register it as the next one; nothing serves it until it is promoted.

        Args:
            ref: the version to start from: `m`, `m@3` or `m:canary`. It needs golden samples.
            to: "int8" (weights of matrix products, LSTMs and embeddings) or "fp16" (for GPUs).
            atol: how far an answer may be from its golden output; what is usual for the form where it is not given.
            rtol: the same, as a share of each golden output; together |a - b| <= atol + rtol * |b|.
            note: free text, kept with the version.
            tags: free labels, kept with the version.
            reason: why, for the history.
            idempotency_key: the same key and the same request give the same version, however often they are sent.
            timeout: seconds for all of it; 600 where it is not given.

        Raises:
            GoldenMismatch: its answers are too far off; nothing was registered.
            InvalidModel: the form would change nothing, or ONNX Runtime's tools cannot make it.
            FailedPrecondition: the version has no golden samples, or is retired.
        """
        mutation = _admin.options(reason=reason, idempotency_key=idempotency_key)
        flow = _quantize.quantize(
            ModelRef.parse(ref), to, atol=atol, rtol=rtol, note=note, tags=tags, mutation=mutation
        )
        return self._connection.run(flow, seconds(timeout, REGISTER_TIMEOUT_S))

    def pull(
        self,
        ref: str,
        path: str | Path,
        *,
        overwrite: bool = False,
        external_data: bool = False,
        golden: str | Path | None = None,
        key: str = "",
        require_signed: bool = False,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> Pulled:
        """Write a version to an ONNX file again: equal answers, not equal bytes.

        Over 2 GiB, or with `external_data`, its tensors go to a second file, `path` with ".data" after it. Either file
        appears whole or not at all. `golden` names a file for its golden samples, with which it can be registered
        elsewhere. `progress` is called with bytes received and bytes in all; `timeout` is 600 s.

        Raises:
            ModelNotFound, VersionNotFound, AliasNotFound: there is no such version.
            AlreadyExists: the file is there, and `overwrite` was not asked for.
            FailedPrecondition: golden samples are asked for, and it has none; or it was deleted.
            DataLoss: the bytes did not arrive whole, or are damaged in the server's store.
            NotTrusted: with `key` (a public key's text, or a file that holds it), the version is not as that key has
                signed it, which is checked here; with `require_signed`, no signature of it counts with the server.
        """
        verified = self.verify(ref, key, timeout=timeout) if key else None
        receiver = Receiver(
            ModelRef.parse(ref),
            Path(path),
            overwrite=overwrite,
            external_data=external_data,
            progress=progress,
            golden=None if golden is None else Path(golden),
            verified=verified,
            require_signed=require_signed,
        )
        return self._connection.download(receiver, seconds(timeout, REGISTER_TIMEOUT_S))

    def promote(
        self,
        model: str,
        version: int,
        *,
        alias: str = STABLE,
        reason: str = "",
        expect: int | None = None,
        allow_breaking: bool = False,
        dry_run: bool = False,
        idempotency_key: str = "",
        wait: float = 0.0,
        timeout: float | None = None,
    ) -> Switch:
        """Point an alias at a version, once that is loaded, warm and golden-checked.

        In a fleet, `wait` is how many seconds this may take, once it is committed, until every live replica serves the
        version; those that do not are in the answer's `late`.

        Raises:
            PrepareFailed: it did not load or answered wrongly; the alias did not move.
            IncompatibleSignature: callers of the serving version would break; `allow_breaking` accepts that.
            ApprovalRequired: too few others have approved it.
            GenerationConflict, Preempted: somebody else moved the alias.
        """
        mutation = _admin.options(
            reason=reason,
            expect=expect,
            allow_breaking=allow_breaking,
            dry_run=dry_run,
            idempotency_key=idempotency_key,
            wait=wait,
        )
        flow = _admin.promote(model, version, alias, mutation)
        return self._connection.run(flow, seconds(timeout, SWITCH_TIMEOUT_S + wait))

    def rollback(
        self,
        model: str,
        *,
        to: int | None = None,
        alias: str = STABLE,
        reason: str = "",
        expect: int | None = None,
        allow_breaking: bool = False,
        dry_run: bool = False,
        idempotency_key: str = "",
        wait: float = 0.0,
        timeout: float | None = None,
    ) -> Switch:
        """Point an alias back at what it served before, or at version `to` further down its stack.

        In a fleet, `wait` is how many seconds this may take, once it is committed, until every live replica serves the
        version; those that do not are in the answer's `late`.

        Raises:
            NothingToRollBack, NotInStack: there is no such way back.
            IncompatibleSignature: callers of the serving version would break; `allow_breaking` accepts that.
            GenerationConflict: somebody else moved the alias.
        """
        mutation = _admin.options(
            reason=reason,
            expect=expect,
            allow_breaking=allow_breaking,
            dry_run=dry_run,
            idempotency_key=idempotency_key,
            wait=wait,
        )
        flow = _admin.rollback(model, to, alias, mutation)
        return self._connection.run(flow, seconds(timeout, SWITCH_TIMEOUT_S + wait))

    def remove_alias(
        self,
        model: str,
        alias: str,
        *,
        reason: str = "",
        expect: int | None = None,
        idempotency_key: str = "",
        timeout: float | None = None,
    ) -> None:
        """Remove an alias and its stack; callers of it get AliasNotFound."""
        mutation = _admin.options(reason=reason, expect=expect, idempotency_key=idempotency_key)
        self._connection.run(_admin.remove_alias(model, alias, mutation), seconds(timeout, self._timeout_s))

    def pin(
        self, model: str, version: int, *, reason: str = "", idempotency_key: str = "", timeout: float | None = None
    ) -> None:
        """Load a version and keep it loaded without an alias, so that `model@version` can be asked."""
        mutation = _admin.options(reason=reason, idempotency_key=idempotency_key)
        self._connection.run(_admin.pin(model, version, mutation), seconds(timeout, SWITCH_TIMEOUT_S))

    def unpin(
        self, model: str, version: int, *, reason: str = "", idempotency_key: str = "", timeout: float | None = None
    ) -> None:
        """Stop keeping a version loaded."""
        mutation = _admin.options(reason=reason, idempotency_key=idempotency_key)
        self._connection.run(_admin.unpin(model, version, mutation), seconds(timeout, self._timeout_s))

    def retire(
        self, model: str, version: int, *, reason: str = "", idempotency_key: str = "", timeout: float | None = None
    ) -> Version:
        """Take a version out of use for good; raises VersionInUse while anything refers to it."""
        mutation = _admin.options(reason=reason, idempotency_key=idempotency_key)
        return self._connection.run(_admin.retire(model, version, mutation), seconds(timeout, self._timeout_s))

    def delete(
        self, model: str, version: int, *, reason: str = "", idempotency_key: str = "", timeout: float | None = None
    ) -> Version:
        """Turn a retired version into a tombstone; its number is never used again."""
        mutation = _admin.options(reason=reason, idempotency_key=idempotency_key)
        return self._connection.run(_admin.delete(model, version, mutation), seconds(timeout, self._timeout_s))

    def approve(
        self,
        model: str,
        version: int,
        *,
        alias: str = STABLE,
        reason: str = "",
        idempotency_key: str = "",
        timeout: float | None = None,
    ) -> Approval:
        """Agree that an alias may move on to a version; raises PermissionDenied where the version is one's own."""
        mutation = _admin.options(reason=reason, idempotency_key=idempotency_key)
        flow = _admin.approve(model, version, alias, mutation)
        return self._connection.run(flow, seconds(timeout, self._timeout_s))

    def withdraw_approval(
        self,
        model: str,
        version: int,
        *,
        alias: str = STABLE,
        reason: str = "",
        idempotency_key: str = "",
        timeout: float | None = None,
    ) -> Approval:
        """Take one's own approval back; raises NotFound where there is none that has not expired."""
        mutation = _admin.options(reason=reason, idempotency_key=idempotency_key)
        flow = _admin.withdraw_approval(model, version, alias, mutation)
        return self._connection.run(flow, seconds(timeout, self._timeout_s))

    def approvals(self, model: str | None = None, *, timeout: float | None = None) -> list[Approval]:
        """Return the approvals of a model, or of all that the caller may see, newest first."""
        return self._connection.run(_admin.approvals(model), seconds(timeout, self._timeout_s))

    def models(self, *, timeout: float | None = None) -> list[Model]:
        """Return every model with its aliases."""
        return self._connection.run(_admin.models(), seconds(timeout, self._timeout_s))

    def versions(self, model: str, *, timeout: float | None = None) -> list[Version]:
        """Return a model's versions, newest first."""
        return self._connection.run(_admin.versions(model), seconds(timeout, self._timeout_s))

    def show(self, ref: str, *, timeout: float | None = None) -> Version:
        """Return the version that `m`, `m@3` or `m:canary` means now."""
        return self._connection.run(_admin.show(ModelRef.parse(ref)), seconds(timeout, self._timeout_s))

    def diff(self, model: str, before: int | str, after: int | str, *, timeout: float | None = None) -> VersionDiff:
        """Tell in what two versions of a model differ: signature, settings, operators, weights, answers.

        Args:
            model: the name that owns both.
            before: the number of the first version, or an alias that points at it.
            after: the same for the second one.
            timeout: seconds; 300 where it is not given, for big weights have to be read.
        """
        return self._connection.run(_admin.diff(model, before, after), seconds(timeout, DIFF_TIMEOUT_S))

    def log(
        self,
        model: str | None = None,
        *,
        alias: str | None = None,
        version: int | None = None,
        action: str | None = None,
        actor: str | None = None,
        outcome: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        before: int | None = None,
        after: int | None = None,
        oldest_first: bool = False,
        limit: int = DEFAULT_LIMIT,
        timeout: float | None = None,
    ) -> list[Event]:
        """Return the last events that everything given here holds for, newest first.

        Args:
            model: of this model; of all where it is not given.
            alias: about this alias.
            version: that moved from or to this version.
            action: "register", "quantize", "promote", "rollback", "alias.remove", "pin", "unpin", "retire" or "delete".
            actor: whose actor contains this, in any case.
            outcome: "ok", the reason of a refusal ("PREPARE_FAILED"), or "refused" for every refusal.
            since: from this time on (with a zone).
            until: up to this time (with a zone).
            before: with a lower sequence number: the page after one that ended with it.
            after: with a higher sequence number: what is new since.
            oldest_first: begin with the oldest.
            limit: this many at most.
            timeout: seconds for all pages together.
        """
        where = EventFilter(
            model=model,
            alias=alias,
            version=version,
            action=action,
            actor=actor,
            outcome=outcome,
            since=since,
            until=until,
            before=before,
            after=after,
            oldest_first=oldest_first,
        )
        return self._connection.run(_history.log(where, limit), seconds(timeout, self._timeout_s))

    def aliases_at(self, when: datetime, *, model: str | None = None, timeout: float | None = None) -> list[AliasAt]:
        """Return where each alias pointed at a time (with a zone), by model, `stable` first, from the events."""
        return self._connection.run(_history.aliases_at(when, model), seconds(timeout, self._timeout_s))

    def verify_log(self, *, known: ChainHead | None = None, timeout: float | None = None) -> ChainReport:
        """Read the whole history as it is stored, hash it here, and return where its chain breaks, if it does.

        Args:
            known: a place of which you kept the hash (an earlier report's `events` and `head`): only that shows a
                history that somebody wrote anew from the beginning.
            timeout: seconds for all of it; 300 where it is not given.
        """
        flow = _history.verify(known or START)
        return self._connection.run(flow, seconds(timeout, VERIFY_TIMEOUT_S))

    def head(self, *, timeout: float | None = None) -> SignedHead:
        """Read the end of the history, signed by the server's audit key; raises DataLoss where it is not."""
        return self._connection.run(_audit.head(), seconds(timeout, self._timeout_s))

    def export_log(self, target: Path | BinaryIO, *, timeout: float | None = None) -> SignedHead:
        """Write the whole history, verified, with its signed head into a new file, or into one that is open.

        Each event is a line, which is its own bytes; the head comes last. Raises DataLoss, InvalidArgument.
        """
        with _audit.opened(target) as file:
            return self._connection.run(_audit.export(file.write), seconds(timeout, VERIFY_TIMEOUT_S))

    def status(self, *, timeout: float | None = None) -> ReplicaStatus:
        """Return what the replica is and does: workers, servables, aliases, addresses."""
        return self._connection.run(_admin.status(), seconds(timeout, self._timeout_s))

    def close(self) -> None:
        """Close the connection; calls in flight are cancelled. May be called again."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
