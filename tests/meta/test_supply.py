"""What `make audit` says comes from the report, and silence of the advisories is not taken for health."""

from __future__ import annotations

import json

from tools import audit_report


def told(*dependencies: dict[str, object]) -> str:
    return "\n".join(audit_report.report(json.dumps({"dependencies": dependencies, "fixes": []})))


GOOD: dict[str, object] = {"name": "click", "version": "8.3.0", "vulns": []}
BAD: dict[str, object] = {
    "name": "onnx",
    "version": "1.20.0",
    "vulns": [{"id": "CVE-1", "fix_versions": ["1.21.0", "1.20.1"]}, {"id": "CVE-2", "fix_versions": []}],
}
UNKNOWN: dict[str, object] = {"name": "numpy", "version": "2.4.0", "skip_reason": "not found"}
OURS: dict[str, object] = {"name": "interlock", "version": "0.1.0", "skip_reason": "editable"}


def test_nothing_is_said_where_everything_was_asked_about_and_nothing_is_known() -> None:
    assert told(GOOD, OURS) == ""


def test_what_is_broken_is_named_with_what_mends_it() -> None:
    assert told(GOOD, BAD) == (
        "onnx 1.20.0 has CVE-1, mended in 1.21.0, 1.20.1\nonnx 1.20.0 has CVE-2, mended in no release"
    )


def test_what_nobody_could_be_asked_about_is_no_good_news() -> None:
    assert "of 2 distributions 1 are not known to the service of advisories (numpy)" in told(GOOD, UNKNOWN, OURS)
    assert "no advisories could be had" in audit_report.report("")[0]
