"""A synthetic data set and agent for the gaze benchmark.

A trial has any length and is otherwise like a real one: pictures of about 2 kB, an archive in the release's
layout, and a gaze file with several samples per frame (a tracker at 1000 Hz gives about 50).
"""

from __future__ import annotations

import bz2
import io
import tarfile
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from fls_jax.config import TrainConfig
from fls_jax.networks.modules import ActorCritic
from fls_jax.networks.specs import network_spec
from fls_jax.runs.checkpoints import CheckpointStore
from fls_jax.runs.folder import RunFolder

GAME = "MsPacman"
_ACTIONS = ["NOOP", "UP", "RIGHT", "LEFT", "DOWN", "UPRIGHT", "UPLEFT", "DOWNRIGHT", "DOWNLEFT"]
_RUN = "XX_1000001"
_PICTURES = 400  # then they repeat


def write_run(path: Path, network: str) -> Path:
    """A run folder with fresh random parameters."""
    RunFolder(path).path.mkdir(parents=True)
    RunFolder(path).write_config(
        TrainConfig(game=GAME, network=network), {"action_names": _ACTIONS, "preprocessing": "envpool"}
    )
    module = ActorCritic(network_spec(network), len(_ACTIONS))
    params = jax.jit(module.init)(jax.random.key(1), jnp.zeros((1, 84, 84, 4), jnp.uint8))["params"]
    store = CheckpointStore(path / "checkpoints")
    store.save(0, params, {"update": np.zeros((), np.int32)})
    store.close()
    return path


def write_trial(root: Path, frames: int, samples: int) -> Path:
    """A flat folder with one trial of `frames` frames and `samples` gaze samples on each but the last."""
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    stem = f"1_{_RUN}_Jan-01-00-00-00"
    (root / f"{stem}.tar.bz2").write_bytes(_archive(_pictures(rng), stem, frames))
    (root / f"{stem}.txt").write_text(_gaze(rng, frames, samples))
    (root / "meta_data.csv").write_text(
        "GameName,trial_id,subject_id,load_trial,highest_score,total_frame,frame_averaging,fps\n"
        f"ms_pacman,1,XX,0,0,{frames},FALSE,20\n"
    )
    return root


def _pictures(rng: np.random.Generator) -> list[bytes]:
    """Encoded pictures: a still maze of rectangles and some sprites that move."""
    maze = np.zeros((210, 160, 3), np.uint8)
    for _ in range(60):
        y, x = rng.integers(0, (200, 150))
        h, w = rng.integers(2, 20, 2)
        maze[y : y + h, x : x + w] = rng.choice([[0, 28, 136], [228, 111, 111], [180, 122, 48]])
    places = rng.uniform((10, 10), (190, 140), size=(6, 2))
    speeds = rng.normal(0, 2, size=(6, 2))
    pictures = []
    for _ in range(_PICTURES):
        picture = maze.copy()
        for (y, x), colour in zip(places.astype(int), np.linspace(60, 250, 6), strict=True):
            picture[y : y + 10, x : x + 8] = (colour, 255 - colour, 128)
        speeds *= np.where((places < (5, 5)) | (places > (195, 148)), -1, 1)
        places = np.clip(places + speeds, 0, (199, 151))
        pictures.append(cv2.imencode(".png", picture)[1].tobytes())
    return pictures


def _archive(pictures: list[bytes], stem: str, frames: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for number in range(1, frames + 1):
            png = pictures[number % len(pictures)]
            info = tarfile.TarInfo(f"{stem}/{_RUN}_{number}.png")
            info.size = len(png)
            archive.addfile(info, io.BytesIO(png))
    return bz2.compress(buffer.getvalue())


def _gaze(rng: np.random.Generator, frames: int, samples: int) -> str:
    """Fixations of about six frames each, with a tracker's jitter."""
    fixations = rng.normal((80, 105), (30, 35), size=(frames // 6 + 1, 2))
    lines = ["frame_id,episode_id,score,duration(ms),unclipped_reward,action,gaze_positions"]
    for number in range(1, frames):
        gaze = np.clip(fixations[number // 6] + rng.normal(0, 1.5, size=(samples, 2)), 0, (159, 209))
        positions = ",".join(f"{value:.2f}" for value in gaze.ravel())
        lines.append(f"{_RUN}_{number},0,0,50,0,0,{positions}")
    return "\n".join([*lines, f"{_RUN}_{frames},0,0,50,0,0,"]) + "\n"
