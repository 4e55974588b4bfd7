"""Message classes of `reflection_v1alpha.proto`, in the private pool; typed by the generated stub beside this file."""

from interlock.protocols import pool as _pool

DESCRIPTOR = _pool.file_descriptor("reflection_v1alpha.proto")
globals().update(_pool.message_classes(DESCRIPTOR))
