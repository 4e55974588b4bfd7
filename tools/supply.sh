#!/usr/bin/env bash
# Say what is installed (`sbom`), or ask whether any of it is known to be broken (`audit`).
# The tools have an environment of their own, build/supply/, made at the first call.
set -euo pipefail
cd "$(dirname "$0")/.."

what=$1
tools=$PWD/build/supply
out=build/interlock.cdx.json

if ! [ -f "$tools/.done" ] || ! cmp -s tools/supply.txt "$tools/.done"; then
  echo "$what: making $tools"
  .venv/bin/python -m venv --clear "$tools"
  "$tools/bin/python" -m pip install --quiet --disable-pip-version-check --no-input -r tools/supply.txt
  cp tools/supply.txt "$tools/.done"
fi

case $what in
sbom)
  "$tools/bin/cyclonedx-py" environment --pyproject pyproject.toml --output-reproducible --output-format JSON \
    --output-file "$out" .venv/bin/python
  count=$("$tools/bin/python" -c 'import json, sys; print(len(json.load(open(sys.argv[1]))["components"]))' "$out")
  echo "sbom: $out names $count distributions (CycloneDX JSON)"
  ;;
audit)
  .venv/bin/python -c 'from interlock_server.cli import check_engine; check_engine()'
  site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
  found=$(mktemp)
  trap 'rm -f "$found"' EXIT
  # Its exit status says the same of findings, of errors, and nothing of what it could not ask about: the report does.
  "$tools/bin/pip-audit" --path "$site" --skip-editable --progress-spinner off --format json --output "$found" \
    ${AUDIT_SERVICE:+--vulnerability-service "$AUDIT_SERVICE"} || true
  "$tools/bin/python" tools/audit_report.py "$found"
  ;;
*)
  echo "usage: tools/supply.sh sbom|audit" >&2
  exit 2
  ;;
esac
