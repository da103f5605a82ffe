#!/usr/bin/env bash
# `make bare PYTHON=python3.12`: training, evaluation and a benchmark with the newest versions of what they need, on a
# machine that has neither W&B, PyAV, pandas nor OpenCV; what needs those says so in a sentence. matplotlib, which is
# for figures alone, is there all the same: EnvPool 1.2.7 does not start without it.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${VENV:-.venv-bare}
lacking=(wandb av pandas pyarrow opencv-python-headless)
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet \
  ale-py "envpool<1.3" flax jax jaxtyping numpy optax "orbax-checkpoint<0.13" rich scipy tyro
"$venv/bin/python" -m pip uninstall --quiet --yes "${lacking[@]}"
"$venv/bin/python" -c 'import sys, jax, numpy; print("Python", sys.version.split()[0], "JAX", jax.__version__, "NumPy", numpy.__version__)'

run=$(mktemp -d)/run
fls() { "$venv/bin/python" -m fls_jax "$@"; }
fls train --game Pong --network cnn_sparse_fls_pool --num-envs 2 --rollout-length 8 --minibatches 1 --epochs 1 \
  --max-episode-steps 40 --total-steps 96 --wandb off --run-dir "$run"
fls evaluate "$run" --num-envs 1 --games-per-env 1
"$venv/bin/python" -m benchmarks.measure loop --num-envs 1 --updates 1 --network block_mean

says() { # what, command: it ends with that sentence and code 2
  local said
  if said=$(fls "${@:2}" 2>&1); then echo "bare: fls ${*:2} should have failed"; exit 1; fi
  grep -q "^fls: $1 is not installed" <<<"$said" || { echo "bare: fls ${*:2} said: $said"; exit 1; }
}
says "\(av\|cv2\)" video "$run"
says "\(pandas\|cv2\)" gaze "$run" --atari-head "$run"
says pandas saliency "$run"
says wandb sync "$run"
fls train --game Pong --preset smoke --total-steps 1024 --run-dir "$run-with-wandb" 2>&1 | grep -i "wandb\|W&B"
if figures=$("$venv/bin/python" -m experiments.commands.figures 2>&1); then exit 1; fi
grep -q "not installed" <<<"$figures" || { echo "bare: figures said: $figures"; exit 1; }
echo "bare: all as it should be"
