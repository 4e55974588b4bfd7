from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from interlock.errors import StartupRefused
from interlock_server.certificates import CertificateFiles
from interlock_server.cli import check_engine, serve, strange_variables
from interlock_server.settings import Settings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("INTERLOCK_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "interlock.toml"


def test_the_defaults_start_a_server_on_this_machine_alone() -> None:
    settings = Settings.load({}, None)
    assert (settings.host, settings.grpc_port, settings.http_port, settings.admin_port) == (
        "127.0.0.1",
        8001,
        8000,
        8002,
    )
    assert settings.database_url == f"sqlite:///{Path('interlock-data').absolute()}/registry.db"


@pytest.mark.parametrize(
    ("flag", "variable", "line", "port"),
    [
        (None, None, None, 8001),
        (None, None, "grpc_port = 1", 1),
        (None, "2", None, 2),
        (None, "2", "grpc_port = 1", 2),
        (3, None, "grpc_port = 1", 3),
        (3, "2", None, 3),
        (3, "2", "grpc_port = 1", 3),
        (0, "2", "grpc_port = 1", 0),
    ],
)
def test_a_flag_beats_a_variable_beats_the_file_beats_the_default(
    monkeypatch: pytest.MonkeyPatch, file: Path, flag: int | None, variable: str | None, line: str | None, port: int
) -> None:
    if variable is not None:
        monkeypatch.setenv("INTERLOCK_GRPC_PORT", variable)
    if line is not None:
        file.write_text(line)
    flags: dict[str, object] = {} if flag is None else {"grpc_port": flag}
    assert Settings.load(flags, file if line is not None else None).grpc_port == port


def test_each_source_gives_what_the_others_leave_open(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    file.write_text("grpc_port = 1\nhttp_port = 1\nadmin_port = 1\n")
    monkeypatch.setenv("INTERLOCK_HTTP_PORT", "2")
    settings = Settings.load({"admin_port": 3}, file)
    assert (settings.grpc_port, settings.http_port, settings.admin_port) == (1, 2, 3)


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ({"tensorrt": True, "gpu_graphs": True}, "tensorrt and gpu_graphs are both on"),
        ({"workers": 2, "providers": "cuda"}, "workers is 2 and providers is 'cuda'"),
        ({"workers": 0}, "workers is '0'"),
        ({"front": "native", "tls_cert": "c.pem", "tls_key": "k.pem"}, "front is 'native', which has no TLS"),
        ({"front": "other"}, "front is 'other'"),
        ({"providers": "tpu"}, "providers is 'tpu'"),
        ({"host": "0.0.0.0"}, r"host '0.0.0.0' is reachable from other machines.* --insecure"),
        ({"host": "10.0.0.1"}, "no TLS"),
        ({"host": "example.org"}, "no TLS"),
        ({"host": "::"}, "no TLS"),
        ({"host": ""}, "no TLS"),
        ({"host": "0.0.0.0", "tls_cert": "c", "tls_key": "k"}, r"0.0.0.0.* this server has no authentication"),
        ({"tls_cert": "c"}, "tls_cert is set and tls_key is not"),
        ({"tls_key": "k"}, "tls_key is set and tls_cert is not"),
        ({"tls_client_ca": "a"}, "tls_client_ca is set without"),
        ({"require_approvals": "m:stable=2"}, "require_approvals is 'm:stable=2' and auth is 'off'"),
        ({"require_approvals": "m=0", "auth": "on"}, "require_approvals: 'm=0' is no rule of approvals"),
        ({"grpc_port": 65536}, "grpc_port is '65536'"),
        ({"grpc_port": -1}, "grpc_port is '-1'"),
        ({"default_deadline_s": 60.0, "max_deadline_s": 30.0}, "max_deadline_s 30.0 is under default_deadline_s 60.0"),
        ({"default_deadline_s": 0.0}, "default_deadline_s"),
        ({"keep_depth": 17}, "keep_depth"),
        ({"max_queue_size": 0}, "max_queue_size"),
        ({"drain_grace_s": -1.0}, "drain_grace_s"),
        ({"drain_grace_s": float("inf")}, "drain_grace_s is 'inf'"),
        ({"prepare_timeout_s": float("nan")}, "prepare_timeout_s is 'nan'"),
        ({"max_message_bytes": 1000}, "max_message_bytes"),
        ({"log_level": "loud"}, "log_level"),
        ({"no_such": 1}, "there is no setting 'no_such'$"),
        ({"keep_dept": 1}, "there is no setting 'keep_dept'; did you mean 'keep_depth'?"),
        ({"grpc_port": 9000, "admin_port": 9000}, "grpc_port and admin_port are both 9000"),
    ],
)
def test_a_wrong_value_is_refused_by_name(flags: dict[str, object], why: str) -> None:
    with pytest.raises(StartupRefused, match=why):
        Settings.load(flags, None)


def test_a_variable_that_is_no_setting_is_remarked_on() -> None:
    environment = {"INTERLOCK_REQUIRE_APPROVAL": "m:stable", "INTERLOCK_ZZ": "", "INTERLOCK_DATA": "d", "HOME": "h"}
    environment |= {"INTERLOCK_SERVER": "a:1", "INTERLOCK_TOKEN_FILE": "t"}
    assert strange_variables(environment) == [
        "the variable INTERLOCK_REQUIRE_APPROVAL is no setting, and changes nothing; did you mean 'require_approvals'?",
        "the variable INTERLOCK_ZZ is no setting, and changes nothing",
    ]


def test_every_wrong_value_is_told_at_once(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    file.write_text("keep_depth = 99\nno_such = 1\n")
    monkeypatch.setenv("INTERLOCK_HTTP_PORT", "http")
    with pytest.raises(StartupRefused) as refused:
        Settings.load({"grpc_port": -1}, file)
    for name in ("keep_depth", "no_such", "http_port is 'http'", "grpc_port"):
        assert name in refused.value.message


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.5", "::1", "localhost"])
def test_a_loopback_host_needs_no_permission(host: str) -> None:
    assert Settings.load({"host": host}, None).host == host


def test_a_reachable_host_needs_to_be_called_insecure() -> None:
    assert Settings.load({"host": "0.0.0.0", "insecure": True}, None).insecure


def test_a_reachable_host_needs_no_permission_with_certificates_on_both_sides() -> None:
    found = Settings.load({"host": "0.0.0.0", "tls_cert": "c", "tls_key": "k", "tls_client_ca": "a"}, None)
    assert found.certificates == CertificateFiles(Path("c"), Path("k"), Path("a"))
    assert found.absolute().certificates == CertificateFiles(Path.cwd() / "c", Path.cwd() / "k", Path.cwd() / "a")


def test_a_file_that_is_not_there_is_refused(file: Path) -> None:
    with pytest.raises(StartupRefused, match="is not there"):
        Settings.load({}, file)


@pytest.mark.parametrize("content", [b"grpc_port = ", b"\xff\xfe"])
def test_a_file_that_is_no_toml_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(StartupRefused, match="is not TOML"):
        Settings.load({}, file)


def test_a_database_url_replaces_the_embedded_one() -> None:
    assert Settings.load({"db": "postgresql+psycopg://h/n"}, None).database_url == "postgresql+psycopg://h/n"


@given(st.integers(0, 65535), st.floats(0.001, 1000), st.sampled_from(["auto", "cpu", "cuda"]), st.booleans())
def test_settings_are_the_same_after_the_hand_over(port: int, seconds: float, provider: str, yes: bool) -> None:
    sent = Settings.load(
        {"grpc_port": port, "drain_grace_s": seconds, "providers": provider, "require_golden": yes}, None
    )
    assert Settings.model_validate_json(sent.model_dump_json()) == sent


def test_a_child_takes_what_it_was_handed_and_not_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    handed = Settings.load({"grpc_port": 7}, None).model_dump_json()
    monkeypatch.setenv("INTERLOCK_GRPC_PORT", "9")
    monkeypatch.setenv("INTERLOCK_HOST", "0.0.0.0")
    assert Settings.model_validate_json(handed).grpc_port == 7


def test_exactly_one_engine_is_installed_here() -> None:
    check_engine()


@pytest.mark.parametrize("option", ["--providers=tpu", "--grpc-port=x", "--no-such"])
def test_a_flag_that_makes_no_sense_is_a_usage_error(option: str) -> None:
    assert CliRunner().invoke(serve, [option]).exit_code == 2


def test_a_refused_setting_comes_out_of_the_command_as_our_error() -> None:
    result = CliRunner().invoke(serve, ["--workers=2", "--providers=cuda"])
    assert isinstance(result.exception, StartupRefused)
