"""A proof that is killed leaves nothing running."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support import eventually

_PROOF = """
import sys, time
from pathlib import Path
from tests.server import Server
server = Server(Path(sys.argv[1])).start()
print("up", flush=True)
time.sleep(600)
"""


def test_a_proof_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    data = tmp_path / "data"
    proof = subprocess.Popen([sys.executable, "-c", _PROOF, str(data)], stdout=subprocess.PIPE)
    try:
        assert proof.stdout is not None and proof.stdout.readline() == b"up\n"
        family = _family(proof.pid)
        assert len(family) >= 5, "the proof, its watcher, the supervisor, the control process and a worker"
    finally:
        proof.kill()
        proof.communicate()
    eventually(lambda: not any(_runs(pid) for pid in family), f"all of {family} have ended")


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in _family(int(child)))]


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
