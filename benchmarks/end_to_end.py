"""Our trainer as the peers' driver wants it: K timed updates, one JSON line at the end of stdout."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

import tyro

from fls_jax.process.allocator import description, restart_with_settings


@dataclass(frozen=True)
class Options:
    """Time whole updates of our trainer."""

    game: str = "Pong"
    """game, as EnvPool spells it"""
    network: Literal["cnn", "cnn_sparse_fls"] = "cnn"
    """published name of the network"""
    num_envs: int = 8
    """games played side by side"""
    updates: int = 4
    """updates that are timed"""
    warmup_updates: int = 1
    """updates before those, not timed (compilation)"""


def main() -> None:
    """Train, time, print."""
    options = tyro.cli(Options)
    restart_with_settings()
    import time

    from benchmarks.measure import Measure, make_trainer
    from fls_jax.runs.provenance import versions

    trainer = make_trainer(Measure("end-to-end", options.game, options.network, options.num_envs))
    seconds = []
    for _ in range(options.warmup_updates + options.updates):
        start = time.perf_counter()
        row = trainer.advance()
        seconds.append(time.perf_counter() - start)
    trainer.close()
    report = {
        "peer": "ours",
        "network": options.network,
        "seconds_per_update": seconds[options.warmup_updates :],
        "steps_per_update": trainer.config.steps_per_update,
        "versions": versions(),
        "allocator": description(),
        "losses": {name: row[name] for name in ("loss_policy", "loss_value")},
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
