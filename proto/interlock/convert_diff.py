"""How versions differ ↔ messages of `interlock.v1`; with `convert` the only place where those are built and read."""

from __future__ import annotations

from collections.abc import Iterable

from interlock import convert
from interlock import diff as d
from interlock.v1 import diff_pb2


def diff(value: d.VersionDiff) -> diff_pb2.VersionDiff:
    """Return a diff as a message."""
    return diff_pb2.VersionDiff(
        before=convert.version(value.before),
        after=convert.version(value.after),
        same_artifact=value.same_artifact,
        breaking=value.breaking,
        breaking_back=value.breaking_back,
        signature=_fields(value.signature),
        config=_fields(value.config),
        metadata=_fields(value.metadata),
        environment=_fields(value.environment),
        measured=_fields(value.measured),
        operators=[
            diff_pb2.OperatorChange(
                domain=each.domain,
                op_type=each.op_type,
                opset_before=each.opset_before,
                opset_after=each.opset_after,
                count_before=each.count_before,
                count_after=each.count_after,
            )
            for each in value.operators
        ],
        tensors=[_tensor(each) for each in value.tensors],
        tensor_counts=[
            diff_pb2.TensorCount(status=_status(each.status), tensors=each.tensors, size_bytes=each.size_bytes)
            for each in value.tensor_counts
        ],
        disk=diff_pb2.DiskUse(
            before_bytes=value.disk.before_bytes,
            after_bytes=value.disk.after_bytes,
            shared_bytes=value.disk.shared_bytes,
        ),
        golden=_comparison(value.golden),
        replayed=_comparison(value.replayed),
    )


def _fields(changes: Iterable[d.FieldChange]) -> list[diff_pb2.FieldChange]:
    return [diff_pb2.FieldChange(name=each.name, before=each.before, after=each.after) for each in changes]


def _status(status: d.TensorStatus) -> diff_pb2.TensorStatus.ValueType:
    return diff_pb2.TensorStatus.Value(f"TENSOR_STATUS_{status.value}")


def _tensor(value: d.TensorChange) -> diff_pb2.TensorChange:
    figures = value.figures
    return diff_pb2.TensorChange(
        name=value.name,
        status=_status(value.status),
        before=_form(value.before),
        after=_form(value.after),
        figures=None
        if figures is None
        else diff_pb2.TensorFigures(
            elements=figures.elements,
            changed=figures.changed,
            max_abs=figures.max_abs,
            relative_l2=figures.relative_l2,
        ),
        why=value.why,
        renamed_from=value.renamed_from,
    )


def _form(value: d.TensorForm | None) -> diff_pb2.TensorForm | None:
    if value is None:
        return None
    return diff_pb2.TensorForm(dtype=value.dtype, dims=value.dims, size_bytes=value.size_bytes)


def _comparison(value: d.AnswerComparison) -> diff_pb2.AnswerComparison:
    return diff_pb2.AnswerComparison(
        samples=value.samples,
        outputs=[
            diff_pb2.AnswerDifference(
                output=each.output,
                rows=each.rows,
                differing=each.differing,
                max_abs=each.max_abs,
                relative_l2=each.relative_l2,
                same_top=each.same_top,
                within_tolerance=each.within_tolerance,
                before=each.before,
                after=each.after,
                why=each.why,
            )
            for each in value.outputs
        ],
        why=value.why,
    )


def from_diff(message: diff_pb2.VersionDiff) -> d.VersionDiff:
    """Read a diff."""
    return d.VersionDiff(
        before=convert.from_version(message.before),
        after=convert.from_version(message.after),
        same_artifact=message.same_artifact,
        breaking=tuple(message.breaking),
        breaking_back=tuple(message.breaking_back),
        signature=_from_fields(message.signature),
        config=_from_fields(message.config),
        metadata=_from_fields(message.metadata),
        environment=_from_fields(message.environment),
        measured=_from_fields(message.measured),
        operators=tuple(
            d.OperatorChange(
                domain=each.domain,
                op_type=each.op_type,
                opset_before=each.opset_before,
                opset_after=each.opset_after,
                count_before=each.count_before,
                count_after=each.count_after,
            )
            for each in message.operators
        ),
        tensors=tuple(_from_tensor(each) for each in message.tensors),
        tensor_counts=tuple(
            d.TensorCount(status=_from_status(each.status), tensors=each.tensors, size_bytes=each.size_bytes)
            for each in message.tensor_counts
        ),
        disk=d.DiskUse(
            before_bytes=message.disk.before_bytes,
            after_bytes=message.disk.after_bytes,
            shared_bytes=message.disk.shared_bytes,
        ),
        golden=_from_comparison(message.golden),
        replayed=_from_comparison(message.replayed),
    )


def _from_fields(messages: Iterable[diff_pb2.FieldChange]) -> tuple[d.FieldChange, ...]:
    return tuple(d.FieldChange(name=each.name, before=each.before, after=each.after) for each in messages)


def _from_status(status: diff_pb2.TensorStatus.ValueType) -> d.TensorStatus:
    return d.TensorStatus(diff_pb2.TensorStatus.Name(status).removeprefix("TENSOR_STATUS_"))


def _from_tensor(message: diff_pb2.TensorChange) -> d.TensorChange:
    figures = message.figures
    return d.TensorChange(
        name=message.name,
        status=_from_status(message.status),
        before=_from_form(message.before) if message.HasField("before") else None,
        after=_from_form(message.after) if message.HasField("after") else None,
        figures=d.TensorFigures(
            elements=figures.elements,
            changed=figures.changed,
            max_abs=figures.max_abs,
            relative_l2=figures.relative_l2,
        )
        if message.HasField("figures")
        else None,
        why=message.why,
        renamed_from=message.renamed_from,
    )


def _from_form(message: diff_pb2.TensorForm) -> d.TensorForm:
    return d.TensorForm(dtype=message.dtype, dims=tuple(message.dims), size_bytes=message.size_bytes)


def _from_comparison(message: diff_pb2.AnswerComparison) -> d.AnswerComparison:
    return d.AnswerComparison(
        samples=message.samples,
        outputs=tuple(
            d.AnswerDifference(
                output=each.output,
                rows=each.rows,
                differing=each.differing,
                max_abs=each.max_abs,
                relative_l2=each.relative_l2,
                same_top=each.same_top if each.HasField("same_top") else None,
                within_tolerance=each.within_tolerance,
                before=tuple(each.before),
                after=tuple(each.after),
                why=each.why,
            )
            for each in message.outputs
        ),
        why=message.why,
    )
