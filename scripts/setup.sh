#!/usr/bin/env bash
# Makes .venv with the pinned requirements and the JAX build for this machine's accelerator.
# usage: setup.sh ACCEL PYTHON   (ACCEL: auto, cpu, cuda12, cuda13 or tpu)
set -euo pipefail
accel=$1 python=$2

fail() { echo "setup: $1" >&2; exit 2; }

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
  || fail "$python is not Python 3.11 or newer; name one with PYTHON=/path/to/python3.11."

if [ "$accel" = auto ] && [ -s .venv/accel ]; then
  accel=$(cat .venv/accel) why="as before"
elif [ "$accel" = auto ]; then
  accel=cpu why="no NVIDIA GPU or TPU found"
  if [ -e /dev/accel0 ] || [ -e /dev/vfio/0 ]; then
    accel=tpu why="a TPU device is there"
  elif version=$(nvidia-smi 2>/dev/null | grep -o 'CUDA Version: [0-9]*' | grep -o '[0-9]*$'); then
    [ "$version" -ge 13 ] && accel=cuda13 || accel=cuda12
    why="nvidia-smi shows CUDA $version"
  fi
else
  why="asked for"
fi
case $accel in
  cpu) extra="" ;;
  cuda12 | cuda13 | tpu) extra="[$accel]" ;;
  *) fail "ACCEL is '$accel'; choose auto, cpu, cuda12, cuda13 or tpu." ;;
esac

wanted=$( (echo "$accel"; cat requirements.txt pyproject.toml scripts/setup.sh) | sha256sum)
# What was installed is remembered by its digest: a changed pin or another ACCEL installs again.
before=$(cat .venv/accel 2>/dev/null || true)
if [ "$(cat .venv/digest 2>/dev/null || true)" = "$wanted" ]; then
  [ "$why" = "as before" ] || echo "setup: JAX for $accel is installed ($why)."
  exit 0
fi
echo "setup: JAX for $accel ($why; choose with ACCEL=cpu|cuda12|cuda13|tpu)"
if [ -n "$before" ] && [ "$before" != "$accel" ]; then
  rm -rf .venv  # another accelerator's plugins would still be found
fi
[ -x .venv/bin/python ] || "$python" -m venv .venv || fail "$python -m venv failed; on Debian: apt install python3-venv."
echo "setup: installing the pinned requirements into .venv (a few minutes the first time) ..."
pip="env PIP_DISABLE_PIP_VERSION_CHECK=1 .venv/bin/python -m pip install --quiet --no-input"
$pip -r requirements.txt
if [ -n "$extra" ]; then
  jax=$(grep -m1 '^jax==' requirements.txt | cut -d' ' -f1)
  $pip "jax$extra==${jax#jax==}" -c requirements.txt
fi
$pip --no-deps --no-build-isolation -e .
echo "$accel" > .venv/accel
echo "$wanted" > .venv/digest
echo "setup: done."
