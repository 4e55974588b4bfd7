"""Message classes of `health.proto`, in the private pool; typed by the generated stub beside this file."""

from interlock.protocols import pool as _pool

DESCRIPTOR = _pool.file_descriptor("health.proto")
globals().update(_pool.message_classes(DESCRIPTOR))
