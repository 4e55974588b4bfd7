"""`make hostile`: the whole corpus before a real server; exits 1 unless each case is refused for its reason."""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
import grpc
from interlock.v1 import admin_pb2 as pb
from interlock.v1 import admin_pb2_grpc

from tests import models
from tests.hostile.cases import Case
from tests.hostile.corpus import CORPUS
from tests.server import Server

_CHUNK = 1 << 20
LIMITS = {"INTERLOCK_VALIDATE_WALL_S": "20", "INTERLOCK_VALIDATE_CPU_S": "10"}
ACCEPTED = "accepted"


@click.command()
@click.option("--only", default="", help="Cases with this in their family or name.")
def main(only: str) -> None:
    """Upload every hostile model past the client's own checks and print what the server made of each."""
    wanted = [case for case in CORPUS if only in f"{case.family} {case.name}"]
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder) / "data", env=LIMITS) as server:
        wrong = run(server, wanted)
    sys.exit(1 if wrong else 0)


def run(server: Server, cases: list[Case]) -> list[str]:
    """Put cases before a server, print the table, and return what went wrong."""
    wrong: list[str] = []
    statuses: Counter[str] = Counter()
    pids = [worker.pid for worker in server.status().workers]
    with grpc.insecure_channel(server.admin_address) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)
        for number, case in enumerate(cases):
            began = time.monotonic()
            status, message = _register(stub, f"case-{number}", case)
            took = time.monotonic() - began
            statuses[status] += 1
            print(f"{case.family:10} {case.name:52.52} {took:5.1f} s  {status:17} {message[:110]}")
            if status != "INVALID_ARGUMENT" or case.words not in message:
                wrong.append(f"{case.name}: {status}: {message}, expected {case.words!r}")
    wrong += _aftermath(server, pids)
    print(f"{len(cases)} models: {', '.join(f'{count} {status}' for status, count in statuses.items())}")
    for each in wrong:
        print(f"WRONG {each}")
    return wrong


def _aftermath(server: Server, pids: list[int]) -> Iterator[str]:
    """Say what a refused model has left behind, and whether a good one is served after all of them."""
    status = server.status()
    if found := [worker.pid for worker in status.workers if worker.pid not in pids]:
        yield f"a worker was replaced: {found}"
    if loaded := [servable.model for worker in status.workers for servable in worker.servables]:
        yield f"workers have loaded {loaded}"
    with server.admin() as admin:
        if made := [each.name for each in admin.models()]:
            yield f"models were made: {made}"
        if left := list((server.data / "state" / "uploads").iterdir()) + list((server.data / "blobs").iterdir()):
            yield f"files were left: {left}"
        with tempfile.TemporaryDirectory() as folder:
            admin.register("good", models.write(Path(folder) / "good.onnx", models.affine()))
        admin.promote("good", 1)


def _register(stub: admin_pb2_grpc.AdminServiceStub, model: str, case: Case) -> tuple[str, str]:
    try:
        stub.RegisterVersion(_messages(model, case), timeout=120)
    except grpc.RpcError as error:
        return error.code().name, error.details() or ""
    return ACCEPTED, ""


def _messages(model: str, case: Case) -> Iterator[pb.RegisterVersionRequest]:
    contents = [case.make(), *case.files.values()]
    roles: list[pb.FileRole.ValueType] = [pb.FILE_ROLE_MODEL, *([pb.FILE_ROLE_DATA] * len(case.files))]
    files = [
        pb.UploadFile(name=name, role=role, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        for name, role, content in zip(("model.onnx", *case.files), roles, contents, strict=True)
    ]
    yield pb.RegisterVersionRequest(header=pb.RegisterVersionRequest.Header(model=model, files=files))
    for content in contents:
        for at in range(0, len(content), _CHUNK):
            yield pb.RegisterVersionRequest(chunk=content[at : at + _CHUNK])


if __name__ == "__main__":
    main()
