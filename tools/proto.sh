#!/usr/bin/env bash
# Regenerate the committed stubs. Usage: tools/proto.sh [OUTPUT_ROOT], by default in place.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-proto}
python=${PYTHON:-.venv/bin/python}
bin=$(dirname "$python")
mkdir -p "$out"
# Ours: ordinary generated code, in the default pool.
"$python" -m grpc_tools.protoc -Iproto --plugin=protoc-gen-mypy="$bin/protoc-gen-mypy" \
  --plugin=protoc-gen-mypy_grpc="$bin/protoc-gen-mypy_grpc" \
  --python_out="$out" --grpc_python_out="$out" --mypy_out=quiet:"$out" --mypy_grpc_out=quiet:"$out" \
  proto/interlock/v1/*.proto
# Foreign: descriptors and type stubs only; the classes are made in a private pool when they are imported.
"$python" -m grpc_tools.protoc -Iproto --plugin=protoc-gen-mypy="$bin/protoc-gen-mypy" \
  --include_imports --descriptor_set_out="$out/interlock/protocols/protocols.binpb" \
  --mypy_out=quiet:"$out" proto/interlock/protocols/*.proto
