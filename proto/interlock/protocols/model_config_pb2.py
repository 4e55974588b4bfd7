"""Message classes and the enum of `model_config.proto`, in the private pool; typed by the generated stub beside this file."""

from interlock.protocols import pool as _pool

DESCRIPTOR = _pool.file_descriptor("model_config.proto")
globals().update(_pool.message_classes(DESCRIPTOR))
globals().update(_pool.enums(DESCRIPTOR))
