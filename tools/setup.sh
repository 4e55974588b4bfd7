#!/usr/bin/env bash
# Make .venv/ or bring it up to date; a call that finds nothing to do costs a fraction of a second.
# Environment: PYTHON, ENGINE, TORCH_INDEX (see the Makefile).
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
engine=${ENGINE:-}
torch_index=${TORCH_INDEX:-}
venv=$PWD/.venv
stamp=$venv/.interlock-setup

die() {
  echo "setup: $*" >&2
  exit 1
}

# Two `make` at once must not install into the same place; the lock ends with this process.
exec 9<pyproject.toml
flock 9

if [ -z "$engine" ]; then
  if nvidia-smi -L >/dev/null 2>&1; then engine=gpu; else engine=cpu; fi
fi
case $engine in cpu | gpu) ;; *) die "ENGINE is '$engine'; it is cpu or gpu" ;; esac

# What cannot be changed in place: these need a new environment.
basis="$venv engine=$engine"
wanted="$basis torch_index=$torch_index $(cat pyproject.toml constraints.txt proto/interlock/__init__.py | sha256sum)"

runs() { "$venv/bin/python" -c "import sys; sys.exit(sys.version_info < (3, 11))" >/dev/null 2>&1; }
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && runs; then
  exit 0
fi

started=$SECONDS
if ! runs || { [ -f "$stamp" ] && [[ "$(cat "$stamp")" != "$basis "* ]]; }; then
  command -v "$python" >/dev/null || die "there is no '$python'; on Debian: sudo apt-get install python3 python3-venv"
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || die "'$python' does not run"
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die "'$python' is Python $version; 3.11 or newer is needed. Name another one: make setup PYTHON=python3.11"
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    die "Python $version lacks its venv module; on Debian: sudo apt-get install python3-venv (or python$version-venv)"
  echo "setup: making .venv with Python $version"
  "$python" -m venv --clear "$venv"
fi

rm -f "$stamp"
echo "setup: installing interlock[server,$engine,torch,dev]; the first time takes minutes"
quiet=--quiet
[ -t 1 ] && quiet=  # somebody watches: pip shows its progress bars
"$venv/bin/python" -m pip install --disable-pip-version-check --no-input $quiet \
  ${torch_index:+--extra-index-url "$torch_index"} -c constraints.txt -e ".[server,$engine,torch,dev]" ||
  die "pip could not install everything (its message is above); run make setup again when that is mended"
echo "$wanted" >"$stamp"
echo "setup: done in $((SECONDS - started)) s; the command is .venv/bin/interlock"
