"""Every example, run as a reader would run it, against one server, with its own check of what came back."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import torch

from tests.meta.repository import ROOT
from tests.server import Server

EXAMPLES: Final = {
    "linear_regression": "the served line is y = 3x + 2",
    "mlp_digits": "stable now: 9",
    "rnn_sequences": "the longer it reads, the better it knows",
    "text_embedding": "questions found the right description",
    "transformer_encoder": "the slip was undone",
    "two_layer": "the model fills gaps in better than the mean",
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Train on one thread: the networks are small, and a pool that shares its cores with a server mostly waits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("examples") / "data") as running:
        yield running


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_does_what_it_says(
    shared: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setenv("INTERLOCK_SERVER", shared.grpc)
    monkeypatch.setenv("INTERLOCK_ADMIN", shared.admin_address)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert ended.value.code == 0, said
    assert EXAMPLES[name] in said and "WRONG" not in said


def test_the_map_names_every_example_and_every_example_is_run_here() -> None:
    scripts = {path.name for path in (ROOT / "examples").glob("*.py")} - {"__init__.py"}
    named = set(re.findall(r"^\| \[(\w+\.py)\]", (ROOT / "examples" / "README.md").read_text(), re.MULTILINE))
    assert scripts == named == {f"{name}.py" for name in EXAMPLES}


def test_an_example_fits_on_a_few_screens() -> None:
    for name in EXAMPLES:
        assert len(Path(ROOT / "examples" / f"{name}.py").read_text().splitlines()) <= 120, name
