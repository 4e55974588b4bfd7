"""From a training script to a registered version: `export` proves and writes, `push` also registers and promotes.

Importing this needs nothing but the light client; calling it needs `pip install 'interlock[torch,cpu]'`.
"""

from interlock.errors import ExportRefused, GoldenMismatch

from interlock_client.torch._export import ExportResult, export
from interlock_client.torch._push import push

__all__ = ["ExportRefused", "ExportResult", "GoldenMismatch", "export", "push"]
