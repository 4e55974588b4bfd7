"""Nothing that runs here reports to anybody: ONNX Runtime's wheels would, from the moment they are imported."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.server import Server
from tests.system.stories import pid_or_zero, serve_two


def test_neither_the_worker_nor_the_model_tool_keeps_a_telemetry_session(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with tempfile.TemporaryDirectory(prefix="t-") as scratch:  # a unix socket's path must be short
        environment = {"TMPDIR": scratch, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
        with Server(tmp_path / "data", env=environment) as server:
            serve_two(server, tmp_path)  # the worker loads a model, the model tool validates one
            assert pid_or_zero(server, "worker")
            left = [path.name for path in (*Path(scratch).rglob("*"), *home.rglob("*")) if path.is_file()]
    # The server's own: what each engine thread is at, for when it crashes, and that its folder is in use.
    left = [name for name in left if name not in ("worker-0.notes", "lock")]
    assert left == [], "this is where ONNX Runtime's telemetry notes its session"
