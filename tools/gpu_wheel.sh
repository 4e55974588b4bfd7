#!/usr/bin/env bash
# The checks of tests/gpu_wheel.py with onnxruntime-gpu, in an environment of its own: both ONNX Runtimes in one would
# overwrite each other. Without its CUDA libraries (1.3 GB): on a machine without a GPU they would change nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$PWD/.venv-gpu-wheel
stamp=$venv/interlock-setup
version=$(.venv/bin/python -c 'import onnxruntime; print(onnxruntime.__version__)')
wanted="$venv onnxruntime-gpu=$version $(cat pyproject.toml constraints.txt tools/gpu_wheel.sh | sha256sum)"

if ! [ -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
  echo "gpu-wheel: making .venv-gpu-wheel with onnxruntime-gpu $version (256 MB)"
  .venv/bin/python -m venv --clear "$venv"
  "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --quiet -c constraints.txt \
    -e ".[server,postgres]" "onnxruntime-gpu==$version"
  echo "$wanted" >"$stamp"
fi
exec "$venv/bin/python" -m tests.gpu_wheel "$@"
