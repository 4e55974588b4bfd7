"""The docs know every setting, error, metric, command and RPC, and nothing that is not there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import click
import httpx
import numpy as np
import pytest
from interlock import errors
from interlock.model import NonFinite, ServingConfig
from interlock.v1 import admin_pb2
from interlock_client.cli.entry import interlock as command
from interlock_server.rest.openapi import document
from interlock_server.settings import Settings
from prometheus_client.parser import text_string_to_metric_families

from tests import models
from tests.meta.repository import ROOT, tracked
from tests.server import Server
from tools import docs

_ROW: Final = re.compile(r"^\| `([^`]+)`", re.MULTILINE)


def _text(page: str) -> str:
    return (ROOT / page).read_text()


def _first_cells(page: str) -> list[str]:
    return _ROW.findall(_text(page))


@pytest.mark.parametrize("page", docs.GENERATED)
def test_a_generated_table_is_current(page: str) -> None:
    assert docs.render(page, _text(page)) == _text(page), f"{page} is stale; run: make fmt"


def test_a_page_without_its_markers_is_an_error() -> None:
    with pytest.raises(ValueError, match="lacks the lines"):
        docs.render("docs/settings.md", "# Settings\n")


def test_every_setting_is_documented() -> None:
    assert _first_cells("docs/settings.md") == list(Settings.model_fields)
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_every_error_is_documented_by_its_reason() -> None:
    reasons = _first_cells("docs/errors.md")
    assert set(reasons) == set(errors.by_reason())
    assert len(reasons) == len(set(reasons)), "two classes share a reason"


def _commands(group: click.Group, prefix: str) -> list[str]:
    context = click.Context(group)
    found: list[str] = []
    for name in group.list_commands(context):
        child = group.get_command(context, name)
        found += _commands(child, f"{prefix} {name}") if isinstance(child, click.Group) else [f"{prefix} {name}"]
    return found


def test_every_command_is_documented() -> None:
    assert re.findall(r"^### (.+)$", _text("docs/guide/cli.md"), re.MULTILINE) == _commands(command, "interlock")


def test_every_rpc_is_documented() -> None:
    page = _text("docs/guide/rpc.md").partition("## Admin port")
    admin = set(_ROW.findall(page[2]))
    assert admin == {method.name for method in admin_pb2.DESCRIPTOR.services_by_name["AdminService"].methods}
    assert set(_ROW.findall(page[0])) >= {
        "ServerLive",
        "ServerReady",
        "ServerMetadata",
        "ModelReady",
        "ModelMetadata",
        "ModelInfer",
    }


def test_every_path_of_rest_is_documented() -> None:
    page = re.findall(r"^\| `([A-Z]+) (\S+)` ", _text("docs/guide/rest.md"), re.MULTILINE)
    paths: Mapping[str, Mapping[str, object]] = document()["paths"]  # type: ignore[assignment]
    served = [(method.upper(), path) for path, methods in paths.items() for method in methods if method != "parameters"]
    assert sorted(page) == sorted(served)


def test_every_metric_of_a_server_is_documented_with_its_type_and_labels(server: Server, tmp_path: Path) -> None:
    path = models.write(tmp_path / "m.onnx", models.affine())
    with server.admin() as admin, server.client() as client:
        admin.register("m", path, config=ServingConfig(non_finite=NonFinite.COUNT))
        admin.promote("m", 1)
        client.infer("m", {"x": np.ones((1, 2), np.float32)})
    scraped = httpx.get(f"http://{server.http}/metrics").text

    exported: dict[str, tuple[str, frozenset[str]]] = {}
    for family in text_string_to_metric_families(scraped):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = frozenset(label for sample in family.samples for label in sample.labels) - {"le"}
        exported[name] = (family.type, labels)

    rows = re.findall(r"^\| `(interlock_\w+)` \| (\w+) \|([^|]*)\|", _text("docs/metrics.md"), re.MULTILINE)
    documented = {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    assert documented == exported


def _anchors(page: Path) -> frozenset[str]:
    """Return what can be linked to in a page, as GitHub names its headings."""
    headings = re.findall(r"^#+ +(.+)$", _text(str(page)), re.MULTILINE)
    bare = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", each) for each in headings)
    return frozenset(re.sub(r"[^\w\- ]", "", each.strip().lower()).replace(" ", "-") for each in bare)


def test_links_between_pages_lead_somewhere() -> None:
    pages = [page for page in tracked() if page.suffix == ".md"]
    anchors = {(ROOT / page).resolve(): _anchors(page) for page in pages}
    dead: list[str] = []
    for page in pages:
        for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", _text(str(page))):
            if "://" in target:
                continue
            there = (ROOT / page.parent / target).resolve() if target else (ROOT / page).resolve()
            if not there.exists() or (anchor and there in anchors and anchor not in anchors[there]):
                dead.append(f"{page}: {target}#{anchor}")
    assert dead == []


def test_the_way_through_the_code_names_files_and_classes_that_exist() -> None:
    named = re.findall(r"`([\w./]+\.(?:py|proto))(?:::(\w+))?`", _text("docs/architecture.md"))
    assert len(named) > 40
    for path, name in named:
        base = "" if path.split("/")[0] in ("registry", "proto", "client") else "server/interlock_server"
        source = _text(str(Path(base, path)))
        assert not name or re.search(rf"^(?:class|def) {name}\b", source, re.MULTILINE), f"{path}::{name}"


_NO_COMMANDS: Final = {"ready", "history", "version", "{name}"}
"""What follows `interlock` in the ready line, in what keys sign, and in a message that fills it in."""


def _told() -> Iterator[tuple[str, list[str]]]:
    """Yield where a page or a message names a call of the command, and the words behind `interlock`."""
    sources = [
        page for page in tracked() if page.suffix == ".md" or (page.suffix == ".py" and page.parts[0] != "tests")
    ]
    for page in sources:
        text = _text(str(page)).replace("\\\n", " ")
        calls = re.findall(r"`interlock ([^`\n]+)`", text)
        calls += re.findall(r"^\s*interlock (.+)$", text, re.MULTILINE) if page.suffix == ".md" else []
        for call in calls:
            words = re.split(r"[#|;]", call)[0].split()
            if words and words[0] not in _NO_COMMANDS:
                yield f"{page}: {call}", words


def test_pages_and_messages_name_commands_and_flags_that_exist() -> None:
    wrong: list[str] = []
    calls = list(_told())
    assert len(calls) > 200
    for where, words in calls:
        found: click.Command | None = command
        context = click.Context(command)
        while isinstance(found, click.Group) and words and not words[0].startswith("-"):
            found = found.get_command(context, words.pop(0).rstrip(",."))
        flags = {"--help", *(flag for each in found.params for flag in each.opts)} if found is not None else set()
        bare = (word.strip("[]().,'\"") for word in words)
        given = {re.split("[=\\]]", word)[0] for word in bare if word.startswith("--")}
        if found is None or not given <= flags:
            wrong.append(where)
    assert wrong == []


def test_every_decision_is_in_the_index_and_has_its_three_parts() -> None:
    pages = sorted(path for path in (ROOT / "docs/adr").glob("*.md") if path.name != "README.md")
    assert re.findall(r"\((\d{4}-[\w-]+\.md)\)", _text("docs/adr/README.md")) == [path.name for path in pages]
    for path in pages:
        assert path.read_text().startswith(f"# {path.name[:4]}: ")
        assert re.findall(r"^## (.+)$", path.read_text(), re.MULTILINE) == ["Context", "Decision", "Consequences"]
