# Free-Lunch Saliency in JAX. `make help` lists the targets; each does its own set-up.

GAME     ?= Pong
NETWORK  ?= cnn_sparse_fls
SEED     ?= 1
STEPS    ?= 50000000
PRESET   ?= paper
RUN      ?= runs/$(GAME)/$(NETWORK)/seed$(SEED)
RUN_DIR  ?=
EXPERIMENT ?= pilot
ROOTS    ?= runs experiments/results
REPORT   ?= report.html
PICTURE  ?= docs/moving_picture.webp
ARGS     ?=
ACCEL    ?= auto
PYTHON   ?= python3
VENV     ?= .venv
# What another Python or other versions of the libraries would break first.
CORE_TESTS := tests/networks tests/ppo tests/atari tests/runs tests/saliency tests/test_agent.py tests/test_config.py tests/test_cli.py

BIN      := $(VENV)/bin
SHELL    := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup train evaluate video gaze saliency report figures grid archive results demo ship picture dashboard test lint bench bench-peers bench-accelerator lock core lowest bare clean

help: ## This list
	@echo "make <target> [VARIABLE=value ...]"; echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Virtual environment in .venv with pinned requirements [ACCEL=auto|cpu|cuda12|cuda13|tpu PYTHON=python3 VENV=.venv]
	@bash scripts/setup.sh "$(ACCEL)" "$(PYTHON)" "$(VENV)"

train: setup ## Train an agent; the same command resumes [GAME NETWORK SEED STEPS PRESET=paper|smoke|throughput RUN_DIR ARGS='--option value']
	@$(BIN)/fls train --preset $(PRESET) --game "$(GAME)" --network $(NETWORK) --seed $(SEED) \
	  $(if $(filter smoke,$(PRESET)),$(if $(filter command line environment,$(origin STEPS)),--total-steps $(STEPS)),--total-steps $(STEPS)) \
	  $(if $(RUN_DIR),--run-dir "$(RUN_DIR)") $(ARGS)

evaluate: setup ## Play whole games with a trained agent and sum them up [RUN ARGS='--games-per-env 8']
	@$(BIN)/fls evaluate "$(RUN)" $(ARGS)

video: setup ## Film an agent with its saliency, as MP4 [RUN ARGS='--steps 500']
	@$(BIN)/fls video "$(RUN)" $(ARGS)

gaze: setup ## Score an agent's saliency against human gaze [RUN ATARI_HEAD=folder ARGS='--trials 118 --video']
	@$(if $(ATARI_HEAD),,echo "make gaze: name the folder of Atari-HEAD, ATARI_HEAD=data/atari-head (docs/gaze.md)" >&2; exit 2)
	@$(BIN)/fls gaze "$(RUN)" --atari-head "$(ATARI_HEAD)" $(ARGS)

saliency: setup ## Every saliency method on an agent's own frames: faithfulness, objects, sanity [RUN ARGS='--frames 100']
	@$(BIN)/fls saliency "$(RUN)" $(ARGS)

report: setup ## Curves, tables and play of runs in one HTML file [RUN REPORT=report.html ARGS='--steps 450']
	@$(BIN)/fls report $(RUN) -o "$(REPORT)" $(ARGS)

test: setup ## The tests, on all cores [ARGS='-k name']
	@$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

lint: setup ## Style and types: ruff, ty
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/ty check

bench: setup ## Throughput of every part on this machine, to benchmarks/results/ [ARGS='--networks cnn --num-envs 8 64']
	@$(BIN)/python -m benchmarks.throughput $(ARGS)

bench-peers: setup ## Ours against Stable-Baselines3, SBX and PyTorch, in alternation, to benchmarks/results/ [ARGS]
	@$(BIN)/python -m benchmarks.bench_peers $(ARGS)

bench-accelerator: setup ## What an accelerator does for training, in a time limit [ARGS='--minutes 8 --out DIR']
	@$(BIN)/python -m benchmarks.accelerator $(ARGS)

figures: setup ## Curves and tables of an experiment from run folders, to build/figures/ [EXPERIMENT=pilot|paper ROOTS ARGS]
	@$(BIN)/python -m experiments.commands.figures --experiment $(EXPERIMENT) --roots $(ROOTS) $(ARGS)

grid: setup ## A whole experiment, every stage, on this machine or through Slurm [EXPERIMENT ARGS='--where slurm --dry-run']
	@$(BIN)/python -m experiments.launch $(EXPERIMENT) $(ARGS)

archive: setup ## Copy a run's record and latest checkpoint to experiments/results/pilot/ [RUN ARGS='--out DIR']
	@$(BIN)/python -m experiments.commands.archive "$(RUN)" $(ARGS)

results: setup ## The committed records as a page: experiments/results/README.md [EXPERIMENT]
	@$(BIN)/python -m experiments.commands.figures --experiment $(EXPERIMENT) --roots experiments/results \
	  --out experiments/results/figures --page experiments/results/README.md $(ARGS)

demo: setup ## The shipped agents at play: films, curves, scores, to demo/ [ARGS='--games 8 --steps 900']
	@$(BIN)/python -m experiments.commands.demo $(ARGS)

ship: setup ## Ship a run's agent with a model card, to experiments/pretrained/ [RUN ARGS='--replace']
	@$(BIN)/python -m experiments.commands.ship "$(RUN)" $(ARGS)

picture: setup ## A small looping picture of an agent, game and attention [RUN PICTURE ARGS='--start 200']
	@$(BIN)/python -m experiments.commands.picture $(RUN) --out "$(PICTURE)" $(ARGS)

dashboard: setup ## W&B workspace and report of an experiment; without a key as JSON, to build/dashboard/ [EXPERIMENT ROOTS ARGS]
	@$(BIN)/python -m experiments.commands.dashboard --experiment $(EXPERIMENT) --roots $(ROOTS) $(ARGS)

lock: setup ## Resolve the requirements anew into requirements.txt
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra dev --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make lock" pyproject.toml -o requirements.txt

core: setup ## The core tests alone, e.g. on another Python [VENV=.venv-3.13 PYTHON=python3.13 ARGS]
	@XLA_FLAGS="$${XLA_FLAGS-}" $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(CORE_TESTS) $(ARGS)

lowest: setup ## Core tests with the lowest versions that pyproject.toml allows, in .venv-lowest [ARGS]
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --resolution lowest-direct --python-version 3.11 --extra experiments pyproject.toml \
	  -o .venv-lowest.txt
	@$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python .venv-lowest
	@$(BIN)/uv pip install --quiet --python .venv-lowest/bin/python -r .venv-lowest.txt -e . --no-deps
	@$(BIN)/uv pip install --quiet --python .venv-lowest/bin/python -c .venv-lowest.txt pytest pytest-xdist beartype chex hypothesis scikit-image
	@XLA_FLAGS="$${XLA_FLAGS-}" .venv-lowest/bin/python -m pytest -q $(CORE_TESTS) $(ARGS)

bare: ## Training, evaluation and a benchmark with the newest libraries, without optional ones [PYTHON=python3.12]
	@PYTHON="$(PYTHON)" bash scripts/bare.sh

clean: ## Remove the virtual environments (runs and results stay)
	@rm -rf .venv .venv-* .venv.lock
