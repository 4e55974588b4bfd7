"""How much of a load is held with TLS and a token on every call: the same server without them, in turns.

Beside it a server of grpcio's that answers with nothing: what TLS takes there is not ours to save.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
from interlock.model import ServingConfig
from interlock_client import Admin, Tls
from interlock_client.bench.plan import Load

from tests import models
from tests.authority import Authority
from tests.bench.infer.drive import Driven, processes_of, request, together
from tests.bench.infer.line import Line
from tests.bench.infer.targets import process
from tests.bench.machine import family
from tests.server import Server, clean_environment

_WIDTH: Final = 150_000
"""FP32 values of 600 KB."""
_ROUND_S: Final = 0.5
"""Short, so that a machine that is busy for a while is so for all ways."""
_WARM_S: Final = 0.1
_PLAIN: Final = "plain"
_FLOOR: Final = "grpcio alone"


@dataclass(frozen=True, slots=True)
class _Way:
    """A server, and how it is asked."""

    name: str
    address: str
    pids: tuple[int, ...]
    tls: Tls | None = None
    token: str = ""
    over: str = _PLAIN
    """The name of the way that it is compared with."""


def tls(folder: Path, seconds: float) -> list[Line]:
    """Measure a tiny model and 600 KB with TLS, with a token, and with both, over neither."""
    x = np.random.default_rng(0).standard_normal((1, _WIDTH), np.float32)
    cases = (
        ("tiny, 8 in flight", [request("tiny", np.ones((1, 10), np.float32))], 8, 0.7),
        ("600 KB, 4 in flight", [request("large", x)], 4, 0.85),
    )
    found: list[Line] = []
    with ExitStack() as stack:
        ways = [stack.enter_context(way) for way in _ways(folder)]
        for case, asked, in_flight, target in cases:
            taken = _in_turns(ways, asked, Load(in_flight), max(3, round(seconds / _ROUND_S)))
            found += [_line(case, way, taken[way.name], taken[way.over], target) for way in ways]
    return found


def _in_turns(ways: Sequence[_Way], asked: Sequence[bytes], load: Load, rounds: int) -> Mapping[str, list[Driven]]:
    taken: dict[str, list[Driven]] = {way.name: [] for way in ways}
    with ExitStack() as stack:
        fleets = {
            way.name: stack.enter_context(processes_of(way.address, asked, tls=way.tls, token=way.token))
            for way in ways
        }
        for turn in range(rounds):
            for way in ways if turn % 2 else reversed(ways):
                (found,) = together([(fleets[way.name], load)], way.pids, _ROUND_S, _WARM_S)
                taken[way.name].append(found)
    return taken


def _line(case: str, way: _Way, taken: list[Driven], plain: list[Driven], target: float) -> Line:
    # Round by round: a machine that is busy for a while is so for both.
    held = median(mine.rate / theirs.rate for mine, theirs in zip(taken, plain, strict=True))
    slower = median(mine.p99_ms / theirs.p99_ms for mine, theirs in zip(taken, plain, strict=True))
    cpu = median(mine.cpu_us / theirs.cpu_us for mine, theirs in zip(taken, plain, strict=True))
    is_plain = way.name == way.over
    return Line(
        part="tls",
        case=case,
        server=way.name,
        rate=median(each.rate for each in taken),
        p50_ms=median(each.p50_ms for each in taken),
        p99_ms=median(each.p99_ms for each in taken),
        cpu_us=median(each.cpu_us for each in taken),
        others_cores=max(each.others_cores for each in taken),
        failed=sum(each.failed for each in taken),
        ratio=None if is_plain else held,
        over="" if is_plain else f"throughput of {way.over}",
        target=target if way.name == "TLS and token" else None,
        most=False,
        note="" if is_plain else f"p99 {slower:.2f} ×, server CPU {cpu:.2f} ×",
    )


def _ways(folder: Path) -> list[AbstractContextManager[_Way]]:
    pair = Authority(folder).server()
    secure = ("--tls-cert", str(pair.cert), "--tls-key", str(pair.key))
    trusting = Tls(ca=str(folder / "ca.pem"))
    return [
        _running(folder, _PLAIN, (), None, with_token=False),
        _running(folder, "token", (), None, with_token=True),
        _running(folder, "TLS", secure, trusting, with_token=False),
        _running(folder, "TLS and token", secure, trusting, with_token=True),
        _alone(_FLOOR, (), None),
        _alone(f"{_FLOOR}, TLS", (str(pair.cert), str(pair.key)), trusting),
    ]


@contextmanager
def _alone(name: str, pair: tuple[str, ...], trusting: Tls | None) -> Iterator[_Way]:
    with process("tests.bench.infer.echo_server", "nothing", *pair) as (pid, address):
        yield _Way(name, address, (pid,), trusting, over=_FLOOR)


@contextmanager
def _running(
    folder: Path, name: str, flags: tuple[str, ...], trusting: Tls | None, *, with_token: bool
) -> Iterator[_Way]:
    data = folder / name.replace(" ", "-")
    token = _token(data) if with_token else ""
    auth = ("--auth", "on") if with_token else ()
    with Server(data, *flags, *auth) as server:
        with Admin(server.admin_address, tls=trusting, token=token or None) as admin:
            for model, file in (("tiny", models.mlp(10, 20, 10, 1)), ("large", models.mlp(_WIDTH, 1, 1, 1))):
                path = models.write(folder / f"{model}.onnx", file)
                admin.register(model, path, config=ServingConfig())
                admin.promote(model, 1)
        assert server.process is not None
        yield _Way(name, server.grpc, tuple(family(server.process.pid)), trusting, token)


def _token(data: Path) -> str:
    command = [str(Path(sys.executable).with_name("interlock")), "token", "create", "bench", "--role", "admin"]
    done = subprocess.run(
        [*command, "--data", str(data)], env=clean_environment(), capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
