"""Say what came of an audit: what is known to be broken, and what could not be asked about. Standard library only.

`python tools/audit_report.py REPORT`, where REPORT is pip-audit's JSON. Exits 0 only where everything was asked about
and nothing is known.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

OURS = "interlock"
"""Installed from this directory, so that no advisory can be about it."""


def report(text: str) -> tuple[str, ...]:
    """Return the lines to print: none of them where everything is well."""
    if not text.strip():
        return (
            "no advisories could be had (the reason is above); of what is installed only the floors were checked that "
            "the server itself starts with",
        )
    installed = [each for each in json.loads(text)["dependencies"] if each["name"] != OURS]
    lines: list[str] = []
    for each in installed:
        for hole in each.get("vulns", ()):
            mended = ", ".join(hole["fix_versions"]) or "no release"
            lines.append(f"{each['name']} {each['version']} has {hole['id']}, mended in {mended}")
    unasked = sorted(each["name"] for each in installed if "skip_reason" in each)
    if unasked:
        named = ", ".join(unasked[:5]) + (", …" if len(unasked) > 5 else "")
        lines.append(
            f"of {len(installed)} distributions {len(unasked)} are not known to the service of advisories ({named}): "
            "what is wrong with them would not show. Is this machine's network what it should be?"
        )
    return tuple(lines)


def main(path: str) -> int:
    """Print what came of it; return the exit status."""
    lines = report(Path(path).read_text())
    for line in lines:
        print(f"audit: {line}", file=sys.stderr)
    if not lines:
        print("audit: nothing is known to be wrong with what is installed")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
