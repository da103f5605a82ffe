"""Passes over synthetic trials, and their files."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pandas as pd

from fls_jax.atari_head.dataset import open_dataset
from fls_jax.gaze.atlas import Atlas
from fls_jax.gaze.controls import CONTROLS
from fls_jax.gaze.gaze_pass import score_run
from fls_jax.gaze.settings import GazeSettings
from fls_jax.process.interruption import StopFlag

MAPS = ("model", *CONTROLS)
NETWORK = "cnn_sparse_fls"
NO_OTHERS = {"other_trials": "no other trial", "other_humans": "no other player"}


def score(run, data, fresh=False, stop=None, **settings):
    atlas = Atlas(open_dataset(data))
    return score_run(run, atlas, GazeSettings(**settings), StopFlag() if stop is None else stop, fresh)


def read(run, name="aligned-screen"):
    folder = run / "gaze" / name
    return SimpleNamespace(
        frames=pd.read_csv(folder / "frames.csv"),
        parquet=pd.read_parquet(folder / "frames.parquet"),
        trials=json.loads((folder / "trials.json").read_text()),
        summary=json.loads((folder / "summary.json").read_text()),
    )
