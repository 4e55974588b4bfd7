"""The examples in Go and Java, compiled against stubs that protoc makes of our .proto files, with Debian's packages."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.server import Server

ROOT: Final = Path(__file__).parent.parent.parent
PROTO: Final = ROOT / "proto"
FILES: Final = (
    "interlock/protocols/open_inference.proto",
    "interlock/protocols/model_config.proto",
    "interlock/v1/admin.proto",
    "interlock/v1/diff.proto",
    "interlock/v1/model.proto",
)
"""What a service needs stubs of, as docs/guide/stubs.md says."""
_GO_PATH: Final = "/usr/share/gocode"
_NEWER_PROTOBUF: Final = "golang-github-golang-protobuf-1-5-dev"
_JARS: Final = Path("/usr/share/java")
_OLDER_GRPC: Final[Mapping[str, str]] = {
    "grpc.NewClient(": "grpc.Dial(",
    "grpc.WithTransportCredentials(insecure.NewCredentials())": "grpc.WithInsecure()",
    '\t"google.golang.org/grpc/credentials/insecure"\n': "",
}
"""Debian's grpc-go has older names for what opens a connection; nothing else of the example differs."""


class MissingTools(Exception):
    """Programs or libraries that a compiler needs are not installed."""

    def __init__(self, what: str, packages: str) -> None:
        super().__init__(f"{what} is missing: apt-get install --no-install-recommends {packages}")


@dataclass(frozen=True)
class GoProgram:
    """examples/go, by the stubs of protoc-gen-go and protoc-gen-go-grpc."""

    name: str
    model: str
    packages: str = "golang-go golang-google-grpc-dev protobuf-compiler protoc-gen-go-1-5 protoc-gen-go-grpc"

    @property
    def _folder(self) -> Path:
        return ROOT / f".venv-interop-{self.name}"

    def set_up(self) -> None:
        """Make the stubs and compile the example; raises MissingTools."""
        for tool in ("go", "protoc", "protoc-gen-go", "protoc-gen-go-grpc"):
            if shutil.which(tool) is None:
                raise MissingTools(tool, self.packages)
        stubs, sources = self._folder / "src/example.com/you/interlock", self._folder / "src/client"
        shutil.rmtree(self._folder / "src", ignore_errors=True)
        for made in (stubs, sources):
            made.mkdir(parents=True)
        own = "example.com/you/interlock"
        named = [
            f"--{plugin}_opt=M{file}={own}/{Path(file).parent.name}" for file in FILES for plugin in ("go", "go-grpc")
        ]
        places = [
            f"--{plugin}_{what}" for plugin in ("go", "go-grpc") for what in (f"out={stubs}", f"opt=module={own}")
        ]
        subprocess.run(["protoc", "-I", str(PROTO), *places, *named, *FILES], check=True)
        code = (ROOT / "examples/go/client.go").read_text()
        if not Path(_GO_PATH, "src/google.golang.org/grpc/credentials/insecure").exists():
            for newer, older in _OLDER_GRPC.items():
                code = code.replace(newer, older)
        (sources / "client.go").write_text(code)
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "GOPATH": f"{self._folder}:{self._newer_protobuf()}:{_GO_PATH}",
            "GO111MODULE": "off",
            "GOCACHE": str(self._folder / "cache"),
        }
        subprocess.run(["go", "build", "-o", "client", "."], cwd=sources, env=environment, check=True)

    def _newer_protobuf(self) -> str:
        """Return a folder with the library that fits the stubs: Debian installs grpc-go with an older one."""
        folder = self._folder / "newer"
        if not folder.exists():
            half = self._folder / "fetching"
            shutil.rmtree(half, ignore_errors=True)
            half.mkdir(parents=True)
            subprocess.run(["apt-get", "download", "-qq", _NEWER_PROTOBUF], cwd=half, check=True)
            (package,) = half.glob("*.deb")
            subprocess.run(["dpkg", "-x", str(package), str(half)], check=True)
            half.rename(folder)
        return str(folder / "usr/share/gocode")

    def command(self, server: Server) -> Sequence[str]:
        """Return the command line of its session."""
        return [str(self._folder / "src/client/client"), self.model, server.grpc, server.admin_address]


@dataclass(frozen=True)
class JavaProgram:
    """examples/java, by the stubs of protoc and grpc-java's plugin."""

    name: str
    model: str
    packages: str = (
        "default-jdk-headless protobuf-compiler protobuf-compiler-grpc-java-plugin libgrpc-java libprotobuf-java "
        "libnetty-java libperfmark-java libgoogle-gson-java libgeronimo-annotation-1.3-spec-java"
    )

    @property
    def _folder(self) -> Path:
        return ROOT / f".venv-interop-{self.name}"

    @property
    def _libraries(self) -> str:
        kinds = ("grpc-*.jar", "netty-*.jar", "perfmark-api*.jar", "gson.jar", "protobuf.jar", "guava.jar")
        more = ("failureaccess*.jar", "geronimo-annotation-1.3-spec.jar")
        return ":".join(str(jar) for kind in (*kinds, *more) for jar in sorted(_JARS.glob(kind)))

    def set_up(self) -> None:
        """Make the stubs and compile the example; raises MissingTools."""
        plugin = shutil.which("grpc_java_plugin")
        tools = [tool for tool in ("javac", "protoc") if shutil.which(tool) is None]
        if plugin is None or tools or not (_JARS / "grpc-netty.jar").exists():
            raise MissingTools(", ".join(tools) or "grpc-java", self.packages)
        stubs, classes = self._folder / "stubs", self._folder / "classes"
        for made in (stubs, classes):
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir(parents=True)
        outputs = [f"--java_out={stubs}", f"--plugin=protoc-gen-grpc-java={plugin}", f"--grpc-java_out={stubs}"]
        subprocess.run(["protoc", "-I", str(PROTO), *outputs, *FILES], check=True)
        sources = [*map(str, stubs.rglob("*.java")), str(ROOT / "examples/java/Client.java")]
        subprocess.run(
            ["javac", "-nowarn", "-d", str(classes), "-cp", self._libraries, *sources],
            check=True,
        )

    def command(self, server: Server) -> Sequence[str]:
        """Return the command line of its session."""
        classes = f"{self._folder / 'classes'}:{self._libraries}"
        return ["java", "-cp", classes, "Client", self.model, server.grpc, server.admin_address]
