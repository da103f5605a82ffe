"""The training job: resume, loop, record, checkpoints, signals."""

from fls_jax.train.job import Tracking, train

__all__ = ["Tracking", "train"]
