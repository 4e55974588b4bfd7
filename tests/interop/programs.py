"""The programs of `make interop`: how each is set up, and how its session is started."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from tests import environments
from tests.interop.compiled import GoProgram, JavaProgram
from tests.server import Server

ROOT: Final = Path(__file__).parent.parent.parent
HERE: Final = Path(__file__).parent


class Program(Protocol):
    """Something that speaks to a server. Its session ends with status 0 where all went well."""

    @property
    def name(self) -> str:
        """Return what it is chosen by."""
        ...

    def set_up(self) -> None:
        """Install what it needs, unless it is there; the only step that may use the network."""
        ...

    def command(self, server: Server) -> Sequence[str]:
        """Return the command line of its session."""
        ...


@dataclass(frozen=True)
class PythonProgram:
    """A script in a virtual environment of its own, with its client's own protobuf; nothing of ours is in there."""

    name: str
    script: str
    packages: tuple[str, ...]

    @property
    def _environment(self) -> str:
        return f"interop-{self.name}"

    def set_up(self) -> None:
        """Make the environment; it is made anew when the packages change."""
        environments.set_up(self._environment, self.packages)

    def command(self, server: Server) -> Sequence[str]:
        """Return the command line of its session."""
        # -P: the folder of the script must not come before the client's own packages.
        return [
            str(environments.folder_of(self._environment) / "bin" / "python"),
            "-P",
            "-W",
            "error",
            str(HERE / self.script),
            server.grpc,
            server.http,
            "native" if "native" in server.flags else "",
        ]


@dataclass(frozen=True)
class NodeProgram:
    """An example for Node.js, with its own packages; it gets a model and the addresses of both gRPC ports."""

    name: str
    folder: str
    model: str

    def set_up(self) -> None:
        """Install the packages that the example names."""
        quiet = ("--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
        subprocess.run(["npm", "install", *quiet], cwd=ROOT / self.folder, check=True)

    def command(self, server: Server) -> Sequence[str]:
        """Return the command line of its session."""
        return ["node", str(ROOT / self.folder / "client.js"), self.model, server.grpc, server.admin_address]


PROGRAMS: Final[tuple[Program, ...]] = (
    PythonProgram("tritonclient", "session_tritonclient.py", ("tritonclient[grpc]>=2.73,<3", "ml_dtypes>=0.4")),
    PythonProgram("kserve", "session_kserve.py", ("kserve>=0.21,<0.22",)),
    PythonProgram("tritonclient-http", "session_tritonclient_http.py", ("tritonclient[http]>=2.73,<3",)),
    PythonProgram("reflection", "session_reflection.py", ("grpcio-reflection>=1.81",)),
    PythonProgram(
        "grpclib", "session_grpclib.py", ("grpclib>=0.4.7", "googleapis-common-protos", "tritonclient[grpc]>=2.73,<3")
    ),
    NodeProgram("node", "examples/node", "m"),
    GoProgram("go", "m"),
    JavaProgram("java", "m"),
)
