"""What a run writes down: the JSONL record, which is the source of truth, and Weights & Biases.

The only place that imports wandb.
"""

from __future__ import annotations

from fls_jax.tracking.live import WandbMode, WandbRun
from fls_jax.tracking.record import Record, Row, read_record

__all__ = ["Record", "Row", "WandbMode", "WandbRun", "read_record"]
