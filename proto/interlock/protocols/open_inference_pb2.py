"""Message classes of `open_inference.proto`, in the private pool; typed by the generated stub beside this file."""

from interlock.protocols import pool as _pool

DESCRIPTOR = _pool.file_descriptor("open_inference.proto")
globals().update(_pool.message_classes(DESCRIPTOR))
