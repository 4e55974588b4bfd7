"""`interlock diff`: the table, the JSON and the page."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from interlock import convert_diff
from interlock.diff import AnswerComparison, VersionDiff
from interlock.v1 import admin_pb2 as pb
from interlock_client.cli.diff_page import page
from interlock_client.cli.printing import plain

from tests.unit.client.cli.samples import Command
from tests.unit.client.diffs import DIFF
from tests.unit.client.scripted import ScriptedServer


@pytest.fixture(autouse=True)
def diffing(server: ScriptedServer) -> None:
    server.behaviours["DiffVersions"] = lambda *_: pb.DiffVersionsResponse(diff=convert_diff.diff(DIFF))


def test_the_table_says_everything(interlock: Command) -> None:
    done = interlock("diff", "digits", 2, 3)
    assert (done.code, done.err) == (0, "")
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    for words in (
        "digits@2 (stable) → digits@3 (canary)",
        "serving 3 breaks callers of 2: input 'x' is gone; input 'image' is new",
        "going back to 2 breaks callers of 3: input 'image' is gone",
        "max_batch_size 32 8",
        "torch 2.9 2.13",
        "run time 1.2 ms 2.4 ms",
        "ai.onnx.Relu 3 1",
        "shared 1 tensor, 2.5 KiB",
        "on disk 100.0 KiB and 102.0 KiB, 94.0 KiB of it shared: 108.0 KiB",
        "embedding changed FLOAT[64, 10] FLOAT[65, 10] another shape",
        "head.weight changed FLOAT[64, 10] FLOAT[64, 10] 12 of 640 0.25 0.0123",
        "head.bias changed FLOAT[64, 10] FLOAT[64, 10] 640 of 640 inf inf",
        "new added - FLOAT[64, 10]",
        "renamed renamed from before FLOAT[64, 10] FLOAT[64, 10]",
        "1 tensor more; --all lists them",
        "golden samples of both, where the inputs are the same: version 3 has no golden samples",
        "y 64 3 0.125 0.01 96.9% BEYOND 0.1 0.9 0.2 0.8",
        "old - - - - - it is gone",
    ):
        assert words in lines, f"{words!r} is not in\n{done.out}"
    assert "\x1b" not in done.out, "what a stranger wrote into a note drives no terminal"
    assert "body.weight" not in done.out
    assert "body.weight" in interlock("diff", "digits", 2, 3, "--all").out


def test_equal_versions_take_few_lines(interlock: Command, server: ScriptedServer) -> None:
    nothing = AnswerComparison(0, why="both versions are made of the same files")
    same = VersionDiff(
        before=DIFF.before,
        after=replace(DIFF.before, version=3),
        same_artifact=True,
        breaking=(),
        breaking_back=(),
        signature=(),
        config=(),
        metadata=(),
        environment=(),
        measured=(),
        operators=(),
        tensors=(),
        tensor_counts=(),
        disk=DIFF.disk,
        golden=nothing,
        replayed=nothing,
    )
    server.behaviours["DiffVersions"] = lambda *_: pb.DiffVersionsResponse(diff=convert_diff.diff(same))
    out = interlock("diff", "digits", 2, 3).out
    assert "the same artifact" in out and "callers of either can be served by the other" in out
    assert len(out.splitlines()) == 5


def test_json_is_the_dataclasses_fields(interlock: Command) -> None:
    assert interlock("diff", "digits", 2, 3, "-o", "json").json == plain(DIFF)


# --- the page ---

_VOID = frozenset({"meta", "br"})


class Reader(HTMLParser):
    """Checks that elements are closed in order, and gathers what a browser would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.foreign: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _VOID:
            self.open.append(tag)
        if tag in {"script", "link", "iframe", "img", "object"}:
            self.foreign.append(tag)
        self.foreign += [name for name, _ in attrs if name in {"src", "href", "srcset"} or name.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_whole_and_needs_nothing_else(interlock: Command, tmp_path: Path) -> None:
    target = tmp_path / "diff.html"
    assert interlock("diff", "digits", 2, 3, "--html", target).code == 0
    written = target.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(written)
    assert reader.open == [] and reader.foreign == []
    assert not re.search(r"url\(|@import|https?:", written)
    assert "<script>alert(1)</script>" in reader.text, "it is shown, not run"
    for words in ("version 2 → 3", "head.weight", "12 of 640", "body.weight", "breaks callers", "96.9%", "it is gone"):
        assert words in reader.text
    assert [each.name for each in tmp_path.iterdir()] == ["diff.html"]


def test_a_page_that_cannot_be_written_is_one_line(interlock: Command, tmp_path: Path) -> None:
    done = interlock("diff", "digits", 2, 3, "--html", tmp_path / "nowhere" / "diff.html")
    assert done.code == 1 and "cannot be written" in done.err


def test_an_equal_pair_has_a_page_too() -> None:
    reader = Reader()
    reader.feed(page(replace(DIFF, tensors=(), tensor_counts=(), breaking=(), breaking_back=(), operators=())))
    assert reader.open == [] and "can be served by the other" in reader.text
