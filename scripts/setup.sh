#!/usr/bin/env bash
# Makes a virtual environment with the pinned requirements and the JAX build for this machine's accelerator.
# usage: setup.sh ACCEL PYTHON [VENV]   (ACCEL: auto, cpu, cuda12, cuda13 or tpu; VENV: .venv)
set -euo pipefail
accel=$1 python=$2 venv=${3:-.venv}

fail() { echo "setup: $1" >&2; exit 2; }

find_accelerator() { # sets found and why
  found=cpu why="no NVIDIA GPU or TPU found"
  if [ -e /dev/accel0 ] || [ -e /dev/vfio/0 ]; then
    found=tpu why="a TPU device is there"
  elif version=$(nvidia-smi 2>/dev/null | grep -o 'CUDA Version: [0-9]*' | grep -o '[0-9]*$'); then
    [ "$version" -ge 13 ] && found=cuda13 || found=cuda12
    why="nvidia-smi shows CUDA $version"
  fi
}

choose_accelerator() { # sets accel, chosen (auto or asked) and why
  chosen=asked why="asked for"
  if [ "$accel" != auto ]; then return; fi
  if [ ! -s "$venv/accel" ]; then
    find_accelerator
    accel=$found chosen=auto
    return
  fi
  read -r accel chosen < "$venv/accel" || true
  if [ "$accel" = cpu ] && [ "${chosen:-auto}" = auto ]; then
    find_accelerator
    [ "$found" = cpu ] || echo "setup: $why now, but JAX for cpu is installed; make setup ACCEL=$found changes that."
  fi
  why="as before"
}

# What an environment is made of. Another pin, accelerator or place (its scripts name their folder) makes it anew.
ingredients() { echo "$accel $(pwd -P)"; cat requirements.txt pyproject.toml scripts/setup.sh; }
up_to_date() { ingredients | cmp -s - "$venv/made-of" && "$venv/bin/python" -c '' 2>/dev/null; }

lock() { # held until this script and what it started have ended
  exec 9> "$venv.lock" || fail "$(pwd) cannot be written: free space or fix permissions."
  "$python" -c '
import fcntl
try:
    try:
        fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("setup: waiting for another set-up in this folder ...", flush=True)
        fcntl.flock(9, fcntl.LOCK_EX)
except OSError as error:
    print(f"setup: this folder has no locks ({error.strerror}): run one set-up at a time.", flush=True)'
}

install() {
  local pip="env PIP_DISABLE_PIP_VERSION_CHECK=1 $venv/bin/python -m pip install --quiet --no-input"
  echo "setup: installing the pinned requirements into $venv (a few minutes the first time) ..."
  $pip -r requirements.txt \
    && if [ "$accel" != cpu ]; then $pip "jax[$accel]" -c requirements.txt; fi \
    && $pip --no-deps --no-build-isolation -e . \
    || fail "pip could not install the requirements (above); the same command tries again."
}

case $accel in
  auto | cpu | cuda12 | cuda13 | tpu) ;;
  *) fail "ACCEL is '$accel'; choose auto, cpu, cuda12, cuda13 or tpu." ;;
esac
choose_accelerator
if up_to_date; then
  if [ "$why" != "as before" ]; then
    echo "$accel $chosen" > "$venv/accel"
    echo "setup: JAX for $accel is installed ($why)."
  fi
  exit 0
fi

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
  || fail "$python is not Python 3.11 or newer; name one with PYTHON=/path/to/python3.11."
lock
if up_to_date; then exit 0; fi # the other one did it
echo "setup: JAX for $accel ($why; choose with ACCEL=cpu|cuda12|cuda13|tpu)"
made_for=$(cut -d ' ' -f 1 "$venv/accel" 2>/dev/null) || made_for=$accel
made_in=$(cat "$venv/place" 2>/dev/null) || made_in=$(pwd -P)
if [ "$made_in" != "$(pwd -P)" ]; then
  echo "setup: this folder was $made_in when $venv was made in it; it is made anew."
  rm -rf "$venv"
elif [ "$made_for" != "$accel" ] || ! "$venv/bin/python" -c '' 2>/dev/null; then
  rm -rf "$venv" # another accelerator's plugins would still be found; an interpreter can go
fi
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv" \
  || fail "$python -m venv failed; on Debian: apt install python3-venv."
pwd -P > "$venv/place"
install
echo "$accel $chosen" > "$venv/accel"
ingredients > "$venv/made-of"
echo "setup: done."
