"""`make engines`: versions that one release of ONNX Runtime has served, served by another, and back again.

Both read one data directory, in turns. Every version must be proven anew by the release that serves it: its golden
samples replayed, its derived form made for that release. The other release is taken from the package index, into an
environment of its own that shares everything else with this one.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
import venv
from importlib import metadata
from pathlib import Path

import click
import numpy as np
import onnxruntime as ort
from interlock.model import LoadedFrom, ServableState
from interlock.types import Array
from interlock_server.worker.engine import CPU

from tests import models
from tests.server import Server
from tests.support import eventually

_WIDTH, _HIDDEN = 64, 1024
"""Wide enough for a derived form."""
_X = np.linspace(-1, 1, 4 * _WIDTH, dtype=np.float32).reshape(4, _WIDTH)


def environment(folder: Path, release: str) -> Path:
    """Make an environment with another release of ONNX Runtime, and return its `interlock` command."""
    target = folder / "engine"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target)]
    subprocess.run([*install, f"onnxruntime=={release}"], check=True, timeout=300)
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    site = sysconfig.get_path("purelib", vars={"base": str(folder / "venv"), "platbase": str(folder / "venv")})
    # The engine first; behind it all that is installed here, with what is installed editable.
    here = [path for path in sys.path if path and Path(path).is_dir() and Path(path) != Path.cwd()]
    Path(site, "engine.pth").write_text("\n".join([str(target), *here]) + "\n")
    command = folder / "venv" / "bin" / "interlock"
    command.write_text(f"#!{python}\nfrom interlock_client.cli import main\nmain()\n")
    command.chmod(0o755)
    found = subprocess.run(
        [python, "-I", "-c", "import onnxruntime; print(onnxruntime.__version__)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert found.stdout.strip() == release, found.stdout
    return command


def expected(file: Path) -> Array:
    """Return what the release that is installed here answers."""
    (answer,) = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"]).run(None, {"x": _X})
    return np.asarray(answer)


def check(server: Server, answers: dict[int, Array], release: str) -> None:
    """Demand that every version is loaded, proven, and answers as it should, and that switches work."""
    with server.admin() as admin, server.client(timeout=30) as client:

        def ready() -> bool:
            (worker,) = admin.status().workers
            found = {each.version: each for each in worker.servables}
            return set(found) == set(answers) and all(each.state is ServableState.READY for each in found.values())

        eventually(ready, f"{release}: every version is ready", 60.0)
        for version, answer in answers.items():
            admin.promote("m", version, timeout=120)
            result = client.infer("m", {"x": _X})
            assert np.allclose(result["y"], answer, rtol=1e-3, atol=1e-5), version
            assert result.version == version
        (worker,) = admin.status().workers
        sources = {each.version: each.loaded_from for each in worker.servables}
        assert set(sources.values()) <= {LoadedFrom.ARTIFACT, LoadedFrom.DERIVED}, sources
    refused = [line for line in server.log().splitlines() if "golden" in line and '"error"' in line]
    assert not refused, refused
    said = ", ".join(f"{version} from {source.value}" for version, source in sorted(sources.items()) if source)
    print(f"onnxruntime {release}: versions {said}; {CPU}; answers as they should be", flush=True)


@click.command()
@click.option("--release", default="1.30.0", show_default=True, help="The other release of ONNX Runtime.")
def main(release: str) -> None:
    """Serve one data directory with two releases of ONNX Runtime in turns."""
    with tempfile.TemporaryDirectory(prefix="engines-") as made:
        folder = Path(made)
        other = environment(folder, release)
        answers: dict[int, Array] = {}
        with Server(folder / "data", interlock=other) as server, server.admin() as admin:
            for version in (1, 2):
                file = models.write(folder / f"m-{version}.onnx", models.mlp(_WIDTH, _HIDDEN, seed=version))
                answers[version] = expected(file)
                golden = models.golden_file(folder / f"m-{version}.npz", [({"x": _X}, {"y": answers[version]})])
                made_version = admin.register("m", file, golden=golden, timeout=120)
                assert made_version.proven
                admin.promote("m", version, timeout=120)
            check(server, answers, release)
        for command, name in ((None, metadata.version("onnxruntime")), (other, release)):
            with Server(folder / "data", interlock=command) as server:
                check(server, answers, name)


if __name__ == "__main__":
    main()
