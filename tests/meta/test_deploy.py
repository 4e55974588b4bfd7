"""The files of deploy/ fit the server: flags, settings, probes, metrics, stop times, and what an image is made of."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext
from typing import Final

import click
import pytest
from interlock_client.cli.entry import interlock as command
from interlock_server.access.rules import ROUTES
from interlock_server.cli import strange_variables
from interlock_server.process.boot import _OPEN_FILES
from interlock_server.process.supervisor import _KILL_AFTER_GRACE_S
from interlock_server.settings import Settings

from tests.authority import Authority
from tests.meta.repository import ROOT, tracked
from tests.server import clean_environment

_DEPLOY: Final = ROOT / "deploy"
_UNIT: Final = (_DEPLOY / "systemd" / "interlock.service").read_text()
_TOML: Final = _DEPLOY / "systemd" / "interlock.toml"
_DOCKERFILE: Final = (_DEPLOY / "docker" / "Dockerfile").read_text()
_CHECK: Final = _DEPLOY / "docker" / "healthcheck.py"
_POD: Final = (_DEPLOY / "kubernetes" / "interlock.yaml").read_text()
_ALERTS: Final = (_DEPLOY / "prometheus" / "alerts.yaml").read_text()
_README: Final = (_DEPLOY / "README.md").read_text()


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in set(os.environ) - set(clean_environment()):
        monkeypatch.delenv(name)


def _one(pattern: str, text: str) -> str:
    found = re.findall(pattern, text, re.MULTILINE)
    assert len(found) == 1, f"{pattern}: {found}"
    return str(found[0])


def _calls() -> Iterator[list[str]]:
    """Yield the words behind `interlock` of every call of the command in these files."""
    yield shlex.split(_one(r"^ExecStart=\S+/interlock (.+)$", _UNIT))
    yield re.findall(r'"([^"]+)"', _one(r"^CMD \[(.+)\]$", _DOCKERFILE))
    yield re.findall(r'"([^"]+)"', _one(r"^ +args: \[(.+)\]$", _POD))
    text = "\n".join((_README, re.sub(r"^# +", "", _TOML.read_text(), flags=re.MULTILINE))).replace("\\\n", "")
    for words in re.findall(r"\binterlock (serve .+|token create .+)$", text, re.MULTILINE):
        yield shlex.split(words)


def test_every_command_and_flag_is_one_of_ours() -> None:
    calls = list(_calls())
    assert len(calls) == 8 and sum(call[0] == "serve" for call in calls) == 4, calls
    for words in calls:
        found: click.Command = command
        context = click.Context(command)
        while isinstance(found, click.Group):
            child = found.get_command(context, words.pop(0))
            assert child is not None
            found = child
        flags = {flag for parameter in found.params for flag in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= flags, words


def _variables() -> dict[str, str]:
    """Return every setting that the image, the pod or the text passes as a variable."""
    return {
        **dict(re.findall(r"^(?:ENV)? +(INTERLOCK_\w+)=(\S+?)(?: \\)?$", _DOCKERFILE, re.MULTILINE)),
        **dict(re.findall(r'\{name: (INTERLOCK_\w+), value: "?([^"}]+)"?\}', _POD)),
        **dict(re.findall(r"-e (INTERLOCK_\w+)=(\S+)", _README)),
    }


def test_every_variable_is_a_setting_with_a_value_that_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = _variables()
    assert set(re.findall(r"name: (INTERLOCK_\w+)", _POD)) <= set(variables)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = Settings.load({"host": "0.0.0.0", "auth": "on"}, None)
    assert str(settings.data) == "/var/lib/interlock/data" and settings.certificates is not None
    everywhere = re.findall(
        r"\bINTERLOCK_(?!PORT\b)\w+", "\n".join((_UNIT, _DOCKERFILE, _POD, _README, _CHECK.read_text()))
    )
    assert strange_variables(dict.fromkeys(everywhere, "")) == []


def test_the_settings_file_is_taken_as_it_is_and_with_all_that_it_proposes(tmp_path: Path) -> None:
    settings = Settings.load({}, _TOML)
    assert (str(settings.data), settings.auth) == ("/var/lib/interlock", "on")
    assert f"StateDirectory={settings.data.name}\n" in _UNIT
    everything = tmp_path / "everything.toml"
    everything.write_text(re.sub(r"^# (?=\w+ = )", "", _TOML.read_text(), flags=re.MULTILINE))
    assert Settings.load({"host": "0.0.0.0"}, everything).tls_client_ca is not None


def test_nothing_is_stopped_before_it_has_drained() -> None:
    grace_s = Settings.model_fields["drain_grace_s"].default
    assert Settings.load({}, _TOML).drain_grace_s == float(_variables()["INTERLOCK_DRAIN_GRACE_S"]) == grace_s
    needed_s = grace_s + _KILL_AFTER_GRACE_S
    paused_s = float(_one(r'command: \["sleep", "(\d+)"\]', _POD))
    assert float(_one(r"^TimeoutStopSec=(\d+)$", _UNIT)) > needed_s
    assert float(_one(r"terminationGracePeriodSeconds: (\d+)$", _POD)) > needed_s + paused_s
    assert float(_one(r"-d .*--stop-timeout (\d+)", _README)) > needed_s
    assert "KillMode=mixed\n" in _UNIT, "the supervisor tells its children; systemd must not"
    assert int(_one(r"^LimitNOFILE=(\d+)$", _UNIT)) >= _OPEN_FILES


def test_probes_ask_what_is_open_to_everybody() -> None:
    probed = [*re.findall(r"httpGet: \{path: (\S+),", _POD), _one(r'^_PATH: Final = "(.+)"$', _CHECK.read_text())]
    assert sorted(probed) == ["/healthz", "/healthz", "/readyz", "/readyz"]
    assert all(ROUTES[f"GET {path}"].is_open for path in probed)
    assert Settings.load({}, None).open_probes


def test_the_alerts_are_those_of_the_page_on_metrics() -> None:
    metrics, _, alerts = (ROOT / "docs" / "metrics.md").read_text().partition("## Worth an alert")
    proposed = re.findall(r"^\| `(.+?)`", alerts, re.MULTILINE)
    written = re.findall(r"^ +expr: (.+)$", _ALERTS, re.MULTILINE)
    assert sorted(written) == sorted([*proposed, 'up{job="interlock"} == 0'])
    known = set(re.findall(r"^\| `(interlock_\w+)`", metrics, re.MULTILINE))
    assert set(re.findall(r"\binterlock_\w+", "".join(written))) <= known
    names = re.findall(r"- alert: (\w+)$", _ALERTS, re.MULTILINE)
    assert len(set(names)) == len(names) == len(written)


def test_the_image_is_made_of_files_that_are_there_and_are_let_in() -> None:
    copied = [
        path for words in re.findall(r"^COPY (?!--from)(.+) \S+$", _DOCKERFILE, re.MULTILINE) for path in words.split()
    ]
    assert {"pyproject.toml", "proto", "registry", "server", "client"} <= set(copied)
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert sorted(rule[1:] for rule in rules if rule[0] == "!") == sorted(copied)
    files = [str(path) for path in tracked()]
    for path in copied:
        assert [file for file in files if file == path or fnmatch(file, f"{path}/*")], path
    assert re.findall(r"^USER (\d+):\1$", _DOCKERFILE, re.MULTILINE) == re.findall(r"runAsUser: (\d+)", _POD)
    assert "--insecure" not in _DOCKERFILE + _POD + _UNIT


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" and self.server.is_ready else 503)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, format: str, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _answering(*, ready: bool, tls: SSLContext | None = None) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    server.is_ready = ready  # type: ignore[attr-defined]
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield str(server.server_port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _checked(port: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = clean_environment(INTERLOCK_HTTP_PORT=port, **variables)
    return subprocess.run(
        [sys.executable, "-I", "-S", str(_CHECK)], env=environment, capture_output=True, text=True, check=False
    )


def test_the_health_check_tells_a_server_that_takes_requests_from_one_that_does_not(tmp_path: Path) -> None:
    pair = Authority(tmp_path).server()
    context = SSLContext(PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    with _answering(ready=True, tls=context) as port:
        assert _checked(port, INTERLOCK_TLS_CERT=str(pair.cert)).returncode == 0
    with _answering(ready=True) as port:
        assert _checked(port).returncode == 0
    with _answering(ready=False) as port:
        assert _checked(port).stderr == "/readyz: 503\n"
    with socket.socket() as taken:  # and not listened on: nobody else gets it meanwhile
        taken.bind(("127.0.0.1", 0))
        refused = _checked(str(taken.getsockname()[1]))
    assert refused.returncode == 1 and "ConnectionRefusedError" in refused.stderr
