"""Values ↔ messages of `interlock.v1`. The only place where those messages are built and read field by field."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from interlock import model as m
from interlock.errors import InvalidArgument, Violation
from interlock.types import Dim, DType, Signature, TensorSpec
from interlock.v1 import admin_pb2, model_pb2


def timestamp(value: datetime) -> Timestamp:
    """Return an aware datetime as a protobuf timestamp."""
    message = Timestamp()
    message.FromDatetime(value.astimezone(UTC))
    return message


def from_timestamp(message: Timestamp) -> datetime:
    """Return a protobuf timestamp as an aware datetime in UTC."""
    return message.ToDatetime(tzinfo=UTC)


def signature(value: Signature) -> model_pb2.Signature:
    """Return a signature as a message."""
    return model_pb2.Signature(
        inputs=[_spec(spec) for spec in value.inputs],
        outputs=[_spec(spec) for spec in value.outputs],
        optional=[_spec(spec) for spec in value.optional],
    )


def _spec(value: TensorSpec) -> model_pb2.TensorSpec:
    return model_pb2.TensorSpec(name=value.name, dtype=value.dtype.value, shape=[_dim(dim) for dim in value.shape])


def _dim(value: Dim) -> model_pb2.Dim:
    if value is None:
        return model_pb2.Dim()
    return model_pb2.Dim(size=value) if isinstance(value, int) else model_pb2.Dim(symbol=value)


def from_signature(message: model_pb2.Signature) -> Signature:
    """Read a signature."""
    return Signature(
        tuple(map(_from_spec, message.inputs)),
        tuple(map(_from_spec, message.outputs)),
        tuple(map(_from_spec, message.optional)),
    )


def _from_spec(message: model_pb2.TensorSpec) -> TensorSpec:
    return TensorSpec(message.name, DType(message.dtype), tuple(_from_dim(dim) for dim in message.shape))


def _from_dim(message: model_pb2.Dim) -> Dim:
    kind = message.WhichOneof("kind")
    if kind is None:
        return None
    return message.size if kind == "size" else message.symbol


def config(value: m.ServingConfig) -> model_pb2.ServingConfig:
    """Return a serving config as a message."""
    return model_pb2.ServingConfig(
        max_batch_size=value.max_batch_size,
        max_queue_delay_us=value.max_queue_delay_us,
        max_queue_size=value.max_queue_size,
        preferred_batch_sizes=value.preferred_batch_sizes,
        instances=value.instances,
        non_finite=model_pb2.NonFinite.Value(f"NON_FINITE_{value.non_finite.name}"),
    )


def from_config(message: model_pb2.ServingConfig) -> m.ServingConfig:
    """Read a serving config; raises InvalidArgument where it holds a choice from a later program."""
    return m.ServingConfig(
        max_batch_size=message.max_batch_size,
        max_queue_delay_us=message.max_queue_delay_us,
        max_queue_size=message.max_queue_size,
        preferred_batch_sizes=tuple(message.preferred_batch_sizes),
        instances=message.instances or 1,
        non_finite=_from_non_finite(message.non_finite),
    )


def _from_non_finite(value: model_pb2.NonFinite.ValueType) -> m.NonFinite:
    if value == model_pb2.NON_FINITE_UNSPECIFIED:
        return m.NonFinite.PASS
    try:
        return m.NonFinite[model_pb2.NonFinite.Name(value).removeprefix("NON_FINITE_")]
    except ValueError as error:
        what = f"non_finite is {value}, which this program does not know; update it"
        raise InvalidArgument(what, violations=[Violation("config.non_finite", what)]) from error


def version(value: m.Version) -> model_pb2.Version:
    """Return a version as a message."""
    return model_pb2.Version(
        model=value.model,
        version=value.version,
        state=model_pb2.VersionState.Value(f"VERSION_STATE_{value.state.value}"),
        digest=value.digest,
        size_bytes=value.size_bytes,
        signature=signature(value.signature),
        config=config(value.config),
        proven=value.proven,
        golden_samples=value.golden_samples,
        note=value.note,
        tags=value.tags,
        created_at=timestamp(value.created_at),
        created_by=value.created_by,
        report_json=value.report_json,
        aliases=value.aliases,
        pinned=value.pinned,
        damage=value.damage,
        signed_by=[
            model_pb2.SignedBy(
                key=each.key, signed_at=timestamp(each.signed_at), actor=each.actor, name=each.name, fault=each.fault
            )
            for each in value.signed_by
        ],
    )


def from_version(message: model_pb2.Version) -> m.Version:
    """Read a version."""
    return m.Version(
        model=message.model,
        version=message.version,
        state=m.VersionState(model_pb2.VersionState.Name(message.state).removeprefix("VERSION_STATE_")),
        digest=message.digest,
        size_bytes=message.size_bytes,
        signature=from_signature(message.signature),
        config=from_config(message.config),
        proven=message.proven,
        golden_samples=message.golden_samples,
        note=message.note,
        tags=dict(message.tags),
        created_at=from_timestamp(message.created_at),
        created_by=message.created_by,
        report_json=message.report_json,
        aliases=tuple(message.aliases),
        pinned=message.pinned,
        damage=message.damage,
        signed_by=tuple(
            m.SignedBy(each.key, from_timestamp(each.signed_at), each.actor, each.name, each.fault)
            for each in message.signed_by
        ),
    )


def alias(value: m.Alias) -> model_pb2.Alias:
    """Return an alias as a message."""
    return model_pb2.Alias(
        model=value.model,
        alias=value.alias,
        version=value.version,
        generation=value.generation,
        stack=value.stack,
        updated_at=timestamp(value.updated_at),
    )


def from_alias(message: model_pb2.Alias) -> m.Alias:
    """Read an alias."""
    return m.Alias(
        model=message.model,
        alias=message.alias,
        version=message.version,
        generation=message.generation,
        stack=tuple(message.stack),
        updated_at=from_timestamp(message.updated_at),
    )


def model(value: m.Model) -> model_pb2.Model:
    """Return a model as a message."""
    return model_pb2.Model(
        name=value.name,
        created_at=timestamp(value.created_at),
        versions=value.versions,
        newest=value.newest,
        aliases=[alias(each) for each in value.aliases],
    )


def from_model(message: model_pb2.Model) -> m.Model:
    """Read a model."""
    return m.Model(
        name=message.name,
        created_at=from_timestamp(message.created_at),
        versions=message.versions,
        newest=message.newest,
        aliases=tuple(map(from_alias, message.aliases)),
    )


def event(value: m.Event) -> model_pb2.Event:
    """Return an event as a message."""
    return model_pb2.Event(
        seq=value.seq,
        time=timestamp(value.time),
        actor=value.actor,
        action=value.action,
        model=value.model,
        alias=value.alias,
        from_version=value.from_version,
        to_version=value.to_version,
        reason=value.reason,
        request_id=value.request_id,
        outcome=value.outcome,
        detail=value.detail,
        hash=value.hash,
    )


def from_event(message: model_pb2.Event) -> m.Event:
    """Read an event."""
    return m.Event(
        seq=message.seq,
        time=from_timestamp(message.time),
        actor=message.actor,
        action=message.action,
        model=message.model,
        alias=message.alias,
        from_version=message.from_version,
        to_version=message.to_version,
        reason=message.reason,
        request_id=message.request_id,
        outcome=message.outcome,
        detail=message.detail,
        hash=message.hash,
    )


def switch(value: m.Switch) -> admin_pb2.Switch:
    """Return the outcome of a promote or rollback as a message."""
    return admin_pb2.Switch(
        model=value.model,
        alias=value.alias,
        from_version=value.from_version,
        to_version=value.to_version,
        generation=value.generation,
        stack=value.stack,
        lagging=value.lagging,
        breaking=value.breaking,
        dry_run=value.dry_run,
        resident=value.resident,
        prepare_s=value.prepare_s,
        commit_s=value.commit_s,
        late=value.late,
    )


def from_switch(message: admin_pb2.Switch) -> m.Switch:
    """Read the outcome of a promote or rollback."""
    return m.Switch(
        model=message.model,
        alias=message.alias,
        from_version=message.from_version,
        to_version=message.to_version,
        generation=message.generation,
        stack=tuple(message.stack),
        lagging=tuple(message.lagging),
        breaking=tuple(message.breaking),
        dry_run=message.dry_run,
        resident=message.resident,
        prepare_s=message.prepare_s,
        commit_s=message.commit_s,
        late=tuple(message.late),
    )


def options(value: m.MutationOptions) -> admin_pb2.MutationOptions:
    """Return mutation options as a message."""
    return admin_pb2.MutationOptions(
        idempotency_key=value.idempotency_key,
        expected_generation=value.expected_generation,
        reason=value.reason,
        dry_run=value.dry_run,
        allow_breaking=value.allow_breaking,
        wait_s=value.wait_s,
    )


def from_options(message: admin_pb2.MutationOptions) -> m.MutationOptions:
    """Read mutation options."""
    return m.MutationOptions(
        idempotency_key=message.idempotency_key,
        expected_generation=message.expected_generation if message.HasField("expected_generation") else None,
        reason=message.reason,
        dry_run=message.dry_run,
        allow_breaking=message.allow_breaking,
        wait_s=message.wait_s,
    )


def header(value: m.UploadHeader) -> admin_pb2.RegisterVersionRequest.Header:
    """Return an upload header as a message."""
    return admin_pb2.RegisterVersionRequest.Header(
        model=value.model,
        files=[file(each) for each in value.files],
        config=None if value.config is None else config(value.config),
        note=value.note,
        tags=value.tags,
        options=options(value.options),
    )


def file(value: m.UploadFile) -> admin_pb2.UploadFile:
    """Return the announcement of a file as a message."""
    return admin_pb2.UploadFile(
        name=value.name,
        role=admin_pb2.FileRole.Value(f"FILE_ROLE_{value.role.value}"),
        size_bytes=value.size_bytes,
        sha256=value.sha256,
    )


def from_file(message: admin_pb2.UploadFile) -> m.UploadFile:
    """Read the announcement of a file; one of unspecified role is a model."""
    return m.UploadFile(
        name=message.name,
        role=_FILE_ROLES.get(message.role, m.FileRole.MODEL),
        size_bytes=message.size_bytes,
        sha256=message.sha256,
    )


_FILE_ROLES: Final = {admin_pb2.FILE_ROLE_GOLDEN: m.FileRole.GOLDEN, admin_pb2.FILE_ROLE_DATA: m.FileRole.DATA}


def from_header(message: admin_pb2.RegisterVersionRequest.Header) -> m.UploadHeader:
    """Read an upload header."""
    return m.UploadHeader(
        model=message.model,
        files=tuple(from_file(each) for each in message.files),
        config=from_config(message.config) if message.HasField("config") else None,
        note=message.note,
        tags=dict(message.tags),
        options=from_options(message.options),
    )


def worker(value: m.WorkerStatus) -> admin_pb2.WorkerStatus:
    """Return a worker's status as a message."""
    return admin_pb2.WorkerStatus(
        index=value.index,
        pid=value.pid,
        reachable=value.reachable,
        epoch=value.epoch,
        provider=value.provider,
        front=value.front,
        servables=[
            admin_pb2.ServableStatus(
                model=each.model,
                version=each.version,
                state=admin_pb2.ServableState.Value(f"SERVABLE_STATE_{each.state.value}"),
                reason=each.reason,
                provider=each.provider,
                in_flight=each.in_flight,
                load_s=each.load_s,
                loaded_from=_loaded_from(each.loaded_from),
            )
            for each in value.servables
        ],
        threads=value.threads,
        threads_reason=value.threads_reason,
    )


def _loaded_from(value: m.LoadedFrom | None) -> admin_pb2.LoadedFrom.ValueType:
    if value is None:
        return admin_pb2.LOADED_FROM_UNSPECIFIED
    return admin_pb2.LoadedFrom.Value(f"LOADED_FROM_{value.value}")


def _from_loaded_from(value: admin_pb2.LoadedFrom.ValueType) -> m.LoadedFrom | None:
    if value == admin_pb2.LOADED_FROM_UNSPECIFIED:
        return None
    return m.LoadedFrom(admin_pb2.LoadedFrom.Name(value).removeprefix("LOADED_FROM_"))


def from_worker(message: admin_pb2.WorkerStatus) -> m.WorkerStatus:
    """Read a worker's status."""
    return m.WorkerStatus(
        index=message.index,
        pid=message.pid,
        reachable=message.reachable,
        epoch=message.epoch,
        provider=message.provider,
        front=message.front,
        servables=tuple(
            m.ServableStatus(
                model=each.model,
                version=each.version,
                state=m.ServableState(admin_pb2.ServableState.Name(each.state).removeprefix("SERVABLE_STATE_")),
                reason=each.reason,
                provider=each.provider,
                in_flight=each.in_flight,
                load_s=each.load_s,
                loaded_from=_from_loaded_from(each.loaded_from),
            )
            for each in message.servables
        ),
        threads=message.threads,
        threads_reason=message.threads_reason,
    )


def status(value: m.ReplicaStatus) -> admin_pb2.GetStatusResponse:
    """Return a replica's status as a message."""
    return admin_pb2.GetStatusResponse(
        replica=value.replica,
        server_version=value.server_version,
        ready=value.ready,
        epoch=value.epoch,
        degraded=value.degraded,
        workers=[worker(each) for each in value.workers],
        aliases=[alias(each) for each in value.aliases],
        sandbox=value.sandbox,
        inference_address=value.inference_address,
        http_address=value.http_address,
        admin_address=value.admin_address,
        replicas=[
            admin_pb2.FleetReplica(
                replica=each.replica,
                admin_address=each.admin_address,
                inference_address=each.inference_address,
                live=each.live,
                ready=each.ready,
                epoch=each.epoch,
                silent_s=each.silent_s,
            )
            for each in value.replicas
        ],
    )


def from_status(message: admin_pb2.GetStatusResponse) -> m.ReplicaStatus:
    """Read a replica's status."""
    return m.ReplicaStatus(
        replica=message.replica,
        server_version=message.server_version,
        ready=message.ready,
        epoch=message.epoch,
        degraded=tuple(message.degraded),
        workers=tuple(map(from_worker, message.workers)),
        aliases=tuple(map(from_alias, message.aliases)),
        sandbox=tuple(message.sandbox),
        inference_address=message.inference_address,
        http_address=message.http_address,
        admin_address=message.admin_address,
        replicas=tuple(
            m.FleetReplica(
                replica=each.replica,
                admin_address=each.admin_address,
                inference_address=each.inference_address,
                live=each.live,
                ready=each.ready,
                epoch=each.epoch,
                silent_s=each.silent_s,
            )
            for each in message.replicas
        ),
    )
