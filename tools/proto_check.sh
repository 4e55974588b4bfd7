#!/usr/bin/env bash
# Fail if the committed stubs are not what proto/ generates, if a .proto file breaks the style, or if it breaks callers of
# the released one (tools/released.binpb). Usage: tools/proto_check.sh [COMMITTED_ROOT]; changes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
committed=${1:-proto}
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
tools/proto.sh "$fresh"

status=0
while read -r file; do
  if ! cmp --silent "$fresh/$file" "$committed/$file"; then
    echo "proto: $committed/$file is stale or missing; run: make proto" >&2
    status=1
  fi
done < <(cd "$fresh" && find . -type f -printf '%P\n' | sort)
# Of interlock/v1 everything is generated, so what the generator did not write is left over from a removed file.
while read -r file; do
  if [ ! -e "$fresh/$file" ]; then
    echo "proto: $committed/$file is made by no .proto file any more; remove it" >&2
    status=1
  fi
done < <(cd "$committed" && find interlock/v1 -name '*_pb2*' -type f -not -path '*/__pycache__/*' | sort)
buf=$(dirname "${PYTHON:-.venv/bin/python}")/buf
"$buf" lint || status=1
if ! "$buf" breaking --against tools/released.binpb; then
  echo "proto: that breaks programs which were built with the released .proto files; add fields and RPCs instead" >&2
  status=1
fi
exit $status
