"""Quantization reports ↔ messages of `interlock.v1`; with `convert` the only place where those are built and read."""

from __future__ import annotations

from interlock.golden import Tolerance
from interlock.quantization import Form, OutputParity, Quantization
from interlock.v1 import admin_pb2


def quantization(value: Quantization) -> admin_pb2.Quantization:
    """Return the message of a report."""
    return admin_pb2.Quantization(
        form=value.form.value,
        parent=value.parent,
        samples=value.samples,
        atol=value.tolerance.atol,
        rtol=value.tolerance.rtol,
        outputs=[
            admin_pb2.OutputParity(
                output=each.output,
                max_abs=each.max_abs,
                max_rel=each.max_rel,
                rel_l2=each.rel_l2,
                argmax=each.argmax,
            )
            for each in value.outputs
        ],
        parent_bytes=value.parent_bytes,
        bytes=value.bytes,
        parent_run_s=value.parent_run_s,
        run_s=value.run_s,
        converted=value.converted,
    )


def from_quantization(message: admin_pb2.Quantization) -> Quantization:
    """Read a report."""
    return Quantization(
        form=Form(message.form),
        parent=message.parent,
        samples=message.samples,
        tolerance=Tolerance(atol=message.atol, rtol=message.rtol),
        outputs=tuple(
            OutputParity(
                output=each.output,
                max_abs=each.max_abs,
                max_rel=each.max_rel,
                rel_l2=each.rel_l2,
                argmax=each.argmax if each.HasField("argmax") else None,
            )
            for each in message.outputs
        ),
        parent_bytes=message.parent_bytes,
        bytes=message.bytes,
        parent_run_s=message.parent_run_s,
        run_s=message.run_s,
        converted=message.converted,
    )
