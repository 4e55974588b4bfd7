"""The benchmark of the registry, in its short form, on both databases."""

from __future__ import annotations

import json
from pathlib import Path

from tests.bench import registry
from tests.databases import POSTGRESQL, SQLITE


def test_every_operation_is_timed_on_both_databases(tmp_path: Path) -> None:
    registry.main(["--quick", "--out", str(tmp_path / "registry.json")])
    timed = json.loads((tmp_path / "registry.json").read_text())["timed"]
    assert {(each["database"], each["versions"]) for each in timed} == {
        (database, versions) for database in (SQLITE, POSTGRESQL) for versions in (200, 400)
    }
    operations = {each["operation"] for each in timed}
    assert {"open", "roll back", "promote (plan and commit)", "versions, first 100"} < operations
    assert len(timed) == 4 * len(operations)
    assert "| roll back |" in (tmp_path / "registry.md").read_text()
