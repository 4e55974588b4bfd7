"""The real child, with models that hang, eat memory, crash it, or speak out of turn."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from interlock import canonical
from interlock.errors import InternalError, InvalidModel
from interlock.types import DType, Signature, TensorSpec
from interlock_registry.tool import ToolLimits, ValidateJob, ValidateReport, validate
from onnx import helper

from tests import models
from tests.support import eventually, eventually_async

Judge = Callable[..., ValidateReport]


def endless(rounds: int = 10**12) -> bytes:
    """A loop that multiplies a number for ever."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Sin", ["state"], ["next"]),
        ],
        "body",
        [
            models.value("i", DType.INT64, ()),
            models.value("go", DType.BOOL, ()),
            models.value("state", DType.FP32, ("batch",)),
        ],
        [models.value("go_on", DType.BOOL, ()), models.value("next", DType.FP32, ("batch",))],
    )
    return models.build(
        [helper.make_node("Loop", ["rounds", "yes", "x"], ["y"], body=body)],
        [models.value("x", DType.FP32, ("batch",))],
        [models.value("y", DType.FP32, ("batch",))],
        [models.constant("rounds", np.asarray(rounds)), models.constant("yes", np.asarray(True))],
    )


def bomb() -> bytes:
    """A file of some hundred bytes whose run takes 8 GiB."""
    filled = helper.make_node("ConstantOfShape", ["size"], ["big"])
    return models.build(
        [
            filled,
            helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0),
            helper.make_node("Add", ["x", "sum"], ["y"]),
        ],
        [models.value("x", DType.FP32, ("batch", 2))],
        [models.value("y", DType.FP32, ("batch", 2))],
        [models.constant("size", np.asarray([1 << 31], dtype=np.int64))],
    )


def children() -> set[int]:
    listing = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text()
    return {int(pid) for pid in listing.split()}


async def only_child(before: set[int]) -> int:
    await eventually_async(lambda: bool(children() - before), "the tool child starts")
    (pid,) = children() - before
    return pid


def test_a_good_model_is_reported(judge: Judge, tmp_path: Path) -> None:
    golden = models.affine_golden(tmp_path / "g.npz", 3.0, 1.0)
    report = judge(models.affine(3.0, 1.0), golden)
    spec = TensorSpec("x", DType.FP32, ("batch", 2))
    assert report.signature == Signature((spec,), (TensorSpec("y", DType.FP32, ("batch", 2)),))
    assert report.proven and report.joinable and report.golden_samples == 2
    assert report.max_abs < 1e-6 and report.load_s > 0 and report.run_s > 0
    assert (report.opset, report.ir_version) == (models.OPSET, models.IR_VERSION)
    assert report.environment == {"made_by": "tests"}
    assert ValidateReport.from_json(json.loads(canonical.dumps(report.to_json()))) == report


def test_a_hanging_model_is_stopped_at_the_wall_clock(judge: Judge) -> None:
    before = children()
    with pytest.raises(InvalidModel, match=r"longer than 1.5 s.*validate_wall_s") as caught:
        judge(endless(), limits=ToolLimits(wall_s=1.5))
    assert caught.value.facts["check"] == "time"
    assert children() == before


def test_a_spinning_model_is_stopped_at_its_cpu_limit(judge: Judge) -> None:
    with pytest.raises(InvalidModel, match=r"more than 1 s of CPU.*validate_cpu_s"):
        judge(endless(), limits=ToolLimits(cpu_s=1, wall_s=120))


def test_a_memory_bomb_is_refused_by_its_limit(judge: Judge) -> None:
    with pytest.raises(InvalidModel, match=r"more than its 2048 MiB.*validate_memory_bytes") as caught:
        judge(bomb())
    assert caught.value.facts["check"] == "memory"


@pytest.mark.parametrize(
    ("number", "words"),
    [(signal.SIGSEGV, "died with SIGSEGV"), (signal.SIGABRT, "died with SIGABRT"), (signal.SIGKILL, "out of memory")],
)
def test_a_crash_of_the_child_refuses_the_model(tmp_path: Path, number: signal.Signals, words: str) -> None:
    path = models.write(tmp_path / "m.onnx", endless())

    async def crash() -> None:
        before = children()
        job = asyncio.create_task(validate(ValidateJob(model=path), ToolLimits(wall_s=30)))
        os.kill(await only_child(before), number)
        await job

    with pytest.raises(InvalidModel, match=words):
        asyncio.run(crash())


def test_a_cancelled_job_leaves_no_child(tmp_path: Path) -> None:
    path = models.write(tmp_path / "m.onnx", endless())

    async def cancel() -> int:
        before = children()
        job = asyncio.create_task(validate(ValidateJob(model=path), ToolLimits(wall_s=30)))
        pid = await only_child(before)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        return pid

    assert not Path(f"/proc/{asyncio.run(cancel())}").exists()


def test_modules_beside_the_upload_are_not_imported(judge: Judge, tmp_path: Path) -> None:
    for name in ("onnx", "json", "interlock_registry", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('hijacked')")
    assert judge(models.affine()).joinable


def test_secrets_of_the_environment_do_not_reach_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERLOCK_DB", "postgresql://user:secret@host/db")
    path = models.write(tmp_path / "m.onnx", endless())

    async def look() -> str:
        before = children()
        job = asyncio.create_task(validate(ValidateJob(model=path), ToolLimits(wall_s=30)))
        pid = await only_child(before)
        # Until it has replaced itself by the interpreter the child still has our environment.
        await eventually_async(lambda: b"interlock_registry.tool" in Path(f"/proc/{pid}/cmdline").read_bytes(), "exec")
        text = Path(f"/proc/{pid}/environ").read_bytes().decode()
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
        return text

    text = asyncio.run(look())
    assert "PATH=" in text and "secret" not in text


@pytest.fixture
def impostor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Put a shell script in the child's place."""

    def be(script: str) -> None:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    yield be


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        ("echo nonsense", InternalError, "cannot be read"),
        ("echo '{}'", InternalError, "cannot be read"),
        ("""echo '{"walls": [], "report": {"joinable": true}}'""", InternalError, "report cannot be read"),
        ("echo '[]'", InternalError, "cannot be read"),
        ("""echo '{"report": {}}'""", InternalError, "KeyError.'walls'"),
        ("exit 3", InternalError, "exit status 3"),
        ("echo what: std::bad_alloc >&2; kill -ABRT $$", InvalidModel, "2048 MiB of memory"),
        (
            """echo '{"error":{"reason":"PERMISSION_DENIED","message":"m","facts":{},"violations":[]}}'""",
            InternalError,
            "m",
        ),
        ("head -c 20000000 /dev/zero", InternalError, "cannot be read"),
        ("head -c 100000 /dev/zero | tr '\\0' '['", InternalError, "cannot be read"),
    ],
)
def test_a_child_that_talks_nonsense_is_not_believed(
    impostor: Callable[[str], None], tmp_path: Path, script: str, error: type[Exception], words: str
) -> None:
    path = models.write(tmp_path / "m.onnx", models.affine())
    impostor(script)
    with pytest.raises(error, match=words):
        asyncio.run(validate(ValidateJob(model=path), ToolLimits()))


def test_what_a_child_leaves_behind_is_killed_with_it(impostor: Callable[[str], None], tmp_path: Path) -> None:
    path = models.write(tmp_path / "m.onnx", models.affine())
    impostor(f"sleep 1000 & echo $! > {tmp_path}/stray")
    for wall_s in (0.3, 1.0, 10.0, 60.0):  # on a machine that stands still it may not have come so far
        with pytest.raises(InvalidModel, match="took longer"):
            asyncio.run(validate(ValidateJob(model=path), ToolLimits(wall_s=wall_s)))
        if (tmp_path / "stray").exists() and (tmp_path / "stray").read_text():
            break
    stray = int((tmp_path / "stray").read_text())
    eventually(lambda: not runs(stray), "the stray process is gone")


def runs(pid: int) -> bool:
    """Say whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_limits_grow_with_the_model() -> None:
    gib = 1 << 30
    assert ToolLimits.for_model(100).memory_bytes == 2 * gib
    assert ToolLimits.for_model(gib).memory_bytes == 6 * gib
    assert ToolLimits.for_model(100, wall_s=5).wall_s == 5


def test_the_parents_half_imports_no_onnx() -> None:
    code = "import sys, interlock_registry.tool as t; print([m for m in sys.modules if m.startswith('onnx')])"

    async def ask() -> bytes:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        return out

    assert asyncio.run(ask()).strip() == b"[]"
