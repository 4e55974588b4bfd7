from __future__ import annotations

import json
import logging
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from interlock_server.process import logs


@pytest.fixture
def root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    chatty = {name: logging.getLogger(name).level for name in ("alembic", "asyncio", "sqlalchemy", "uvicorn")}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in chatty.items():
        logging.getLogger(name).setLevel(before)


@pytest.mark.usefixtures("root_logger")
def test_a_json_line_holds_the_message_and_its_facts(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("worker-0", "info", "json")
    logging.getLogger("interlock.test").info("loaded %s", "m@1", extra={"version": "m@1", "path": Path("p")})
    line = json.loads(capfd.readouterr().err)
    assert line["message"] == "loaded m@1"
    assert (line["level"], line["process"], line["logger"], line["pid"]) == (
        "info",
        "worker-0",
        "interlock.test",
        os.getpid(),
    )
    assert (line["version"], line["path"]) == ("m@1", "p")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])


@pytest.mark.usefixtures("root_logger")
@pytest.mark.parametrize(("level", "heard"), [("info", ["failed"]), ("debug", ["Invalid HTTP request", "failed"])])
def test_what_strangers_send_to_the_http_port_fills_no_log(
    capfd: pytest.CaptureFixture[str], level: str, heard: list[str]
) -> None:
    logs.configure("control", level, "json")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request")
    logging.getLogger("uvicorn.error").error("failed")
    assert [json.loads(line)["message"] for line in capfd.readouterr().err.splitlines()] == heard


@pytest.mark.usefixtures("root_logger")
@pytest.mark.parametrize("form", ["json", "auto"])
def test_an_exception_stays_on_its_json_line(capfd: pytest.CaptureFixture[str], form: str) -> None:
    logs.configure("control", "info", form)
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("interlock.test").exception("it failed")
    (line,) = capfd.readouterr().err.splitlines()
    assert "ValueError: two\nlines" in json.loads(line)["exception"]


@pytest.mark.usefixtures("root_logger")
def test_a_text_line_is_for_people(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("control", "debug", "text")
    logging.getLogger("interlock.test").warning("slow", extra={"seconds": 1.5})
    line = capfd.readouterr().err
    assert re.fullmatch(r"\d\d:\d\d:\d\d warning control    slow seconds=1.5\n", line)


@pytest.mark.usefixtures("root_logger")
@pytest.mark.parametrize(("level", "kept"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_lines_under_the_level_are_dropped(capfd: pytest.CaptureFixture[str], level: str, kept: int) -> None:
    logs.configure("control", level, "json")
    logger = logging.getLogger("interlock.test")
    for write in (logger.debug, logger.info, logger.warning, logger.error):
        write("line")
    assert len(capfd.readouterr().err.splitlines()) == kept


@pytest.mark.usefixtures("root_logger")
def test_chatty_libraries_are_heard_only_when_debugging(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("control", "info", "json")
    logging.getLogger("sqlalchemy").info("SELECT 1")
    assert capfd.readouterr().err == ""


def test_signals_have_names_in_the_log() -> None:
    from interlock_server.process.child import describe

    assert describe(-signal.SIGKILL) == "killed by SIGKILL"
    assert describe(3) == "exit status 3"


@pytest.mark.usefixtures("root_logger")
def test_a_callers_words_make_no_line_of_their_own_and_drive_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("control", "info", "text")
    logging.getLogger("interlock.test").info("model %s", "m\n12:00:00 error forged\x1b[2J", extra={"by": "a\rb"})
    (line,) = capfd.readouterr().err.splitlines()
    assert line.endswith(r"model m\n12:00:00 error forged\x1b[2J by=a\rb")
