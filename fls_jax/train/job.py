"""The training job: open the folder, build the trainer, update, write record and checkpoints, close.

The same call resumes where the last one stopped.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from fls_jax.atari.emulator import action_names
from fls_jax.atari.pool import games, note_on_name
from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.ppo.hosts import in_any_process
from fls_jax.ppo.trainer import Member, Trainer
from fls_jax.process.allocator import description as allocator_description
from fls_jax.process.devices import describe_devices, unused_accelerators
from fls_jax.process.display import TrainingDisplay
from fls_jax.process.interruption import StopFlag
from fls_jax.process.places import usable_places
from fls_jax.process.timing import PhaseTimer
from fls_jax.runs.checkpoints import CheckpointStore
from fls_jax.runs.contents import checkpoint_steps
from fls_jax.runs.folder import RunFolder, default_run_dir
from fls_jax.runs.provenance import commit, machine, versions
from fls_jax.runs.record import Record, Row, read_record
from fls_jax.train.preparation import as_begun, check_room, is_finished, resolve
from fls_jax.train.together import check_alike, leads, shared_run
from fls_jax.types import DEAD, Params
from fls_jax.wandb.live import WandbMode, WandbRun


@dataclass(frozen=True)
class Tracking:
    """Settings for Weights & Biases."""

    mode: WandbMode = "auto"
    project: str = "fls-jax"


def train(
    config: TrainConfig, run_dir: Path | None = None, fresh: bool = False, tracking: Tracking = Tracking()
) -> RunFolder:
    """Train until the end, a signal or an error. Resumes the run that the folder holds.

    Returns the run's folder. Raises UserError for errors that the user can correct: an unknown game or
    network, another configuration in the folder, a folder in use, a full disk, a loss that is not finite, a
    machine that cannot compute or has too little memory.
    """
    note = note_on_name(config.game, config.sticky_actions)
    config = resolve(config)
    for line in [note, *usable_places()]:
        if line:
            print(line)
    check_room(config)
    with StopFlag() as stop, shared_run(run_dir or default_run_dir(config), fresh) as folder:
        config = as_begun(config, folder)
        check_alike(config)
        if is_finished(config, folder):
            return folder
        with contextlib.closing(Trainer(config)) as trainer:
            Job(config, folder, trainer, stop, tracking).run()
    return folder


def provenance(config: TrainConfig) -> dict[str, Any]:
    """The entries of config.json that are not configuration: code, libraries, machine, game."""
    return {
        "action_names": list(action_names(games()[config.game])),
        "preprocessing": "envpool",
        "backend": jax.default_backend(),
        "allocator": allocator_description(),
        "versions": versions(),
        "machine": machine(),
        "commit": commit(),
    }


class Job:
    """One session of a run: from the latest checkpoint until the end or a signal."""

    def __init__(
        self,
        config: TrainConfig,
        folder: RunFolder,
        trainer: Trainer | Member,
        stop: StopFlag,
        tracking: Tracking,
    ) -> None:
        self.config, self.folder, self.trainer, self.stop = config, folder, trainer, stop
        self.total = config.last_step
        self.store = CheckpointStore(folder.checkpoints, config.keep_checkpoints, config.keep_every)
        self.display = TrainingDisplay(f"{config.game} {config.variant} seed {config.seed}", self.total)
        self.saved, self.warned = 0, False
        self.seconds_before = 0.0
        details = provenance(config)
        if not isinstance(trainer, Member) or trainer.run == 0:
            self.say_devices(details["machine"])
        self.resume()
        if leads() and not folder.config_file.exists():
            self.write_config(details)
        self.record = Record(folder.record_file, self.saved) if leads() else None
        if leads():
            self.write_session(details)
        mode = tracking.mode if leads() else "off"
        self.wandb = WandbRun(folder.path, config.to_json() | details, "train", mode, tracking.project)
        self.wandb.catch_up(read_record(folder.record_file))

    def say_devices(self, machine: dict[str, object]) -> None:
        """Print the devices of this session, and accelerators that it does not use."""
        used = list(self.trainer.placement.mesh.devices.flat)
        if (count := jax.process_count()) > 1:
            self.display.message(f"{count} processes train together, each with devices of its own:")
        for line in (describe_devices(used, machine), unused_accelerators(used)):
            if line:
                self.display.message(line)

    def write_config(self, details: dict[str, Any]) -> None:
        """Write config.json. Raises UserError if it cannot be written."""
        try:
            self.folder.write_config(self.config, details)
        except OSError as error:
            raise UserError(
                f"{self.folder.config_file} cannot be written ({error.strerror}): free space or fix "
                "permissions, or choose another --run-dir."
            ) from error

    def write_session(self, details: dict[str, Any]) -> None:
        """Record this session. Earlier sessions that left no checkpoint are dropped from the file."""
        own = {name: details[name] for name in ("backend", "allocator", "versions", "machine", "commit")}
        with contextlib.closing(Record(self.folder.sessions_file, self.saved - 1)) as sessions:
            sessions.write({"env_step": self.saved, "processes": jax.process_count(), **own})

    def resume(self) -> None:
        """Restore the latest checkpoint that can be read, and print its step."""
        params, learner = self.trainer.checkpoint()
        restored = self.store.restore_latest(params, learner, self.trainer.placement.replicated)
        if restored is None:
            return
        for step, reason in restored.damaged.items():
            self.display.message(
                f"Warning: the checkpoint at step {step:,} is damaged ({reason}); it was moved to "
                f"{self.folder.path / 'damaged-checkpoints'} and the one before it is used."
            )
        self.trainer.restore(restored.params, restored.learner)
        self.saved = restored.step
        rows = [row for row in read_record(self.folder.record_file) if row["env_step"] <= restored.step]
        self.seconds_before = rows[-1].get("seconds_total", 0.0) if rows else 0.0
        self.display.message(f"Resuming {self.folder.path} at step {restored.step:,}; the games start anew.")

    def run(self) -> None:
        """Update until the end or a signal, save, and print where."""
        with self.closing(), self.display:
            if unused := self.trainer.placement.unused:
                used = self.trainer.placement.count
                self.display.message(
                    f"Training on {used} of {used + unused} devices: the most that environments and "
                    "minibatches divide among."
                )
            if self.wandb.failure:
                self.display.message(self.wandb.failure)
            self.loop()
            self.save()
            self.store.wait()
        step = self.trainer.env_step
        if step == 0:
            print("Stopped before the first update: there is nothing to save. The same command starts anew.")
            return
        state = "Stopped" if step < self.total else "Finished"
        print(
            f"{state} at step {step:,} of {self.total:,}. Checkpoint: {self.folder.checkpoints / str(step)}"
        )
        if state == "Stopped":
            print("The same command resumes from there.")

    def loop(self) -> None:
        """All updates of this session. Each row is on disk before its checkpoint is started."""
        session = last = time.perf_counter()
        checkpoint_seconds = 0.0
        while self.trainer.env_step < self.total and not in_any_process(bool(self.stop)):
            row = self.trainer.advance()
            now = time.perf_counter()
            self.note(row, now - last, now - session, checkpoint_seconds)
            last = now
            self.display.update(row)
            checkpoint_seconds = self.save_if_due()

    def note(
        self, row: Row, update_seconds: float, session_seconds: float, checkpoint_seconds: float
    ) -> None:
        """Add the times, in seconds, to a row and write it. Raises UserError if the loss is not finite."""
        self.check_finite(row)
        self.check_attention(row)
        row |= self.speed(update_seconds, self.seconds_before + session_seconds)
        row["seconds_checkpoint"] = checkpoint_seconds
        if self.record is not None:
            self.record.write(row)
        self.wandb.log(row)

    def save_if_due(self) -> float:
        """Start a save if one is due. Returns the seconds that this took."""
        timer = PhaseTimer()
        if self.trainer.updates % self.config.checkpoint_every == 0:
            with timer("checkpoint"):
                self.save()
        return timer.seconds.get("checkpoint", 0.0)

    def speed(self, update_seconds: float, total_seconds: float) -> Row:
        """Steps a second of this update and of all sessions, everything included."""
        return {
            "sps": self.config.steps_per_update / update_seconds,
            "sps_overall": self.trainer.env_step / total_seconds,
            "seconds_total": total_seconds,
        }

    def check_attention(self, row: Row) -> None:
        """Warn, once per session, if the attention has become almost zero."""
        mean = row.get("attention_mean")
        if mean is not None and mean < DEAD and not self.warned:
            self.warned = True
            self.display.message(
                f"Warning: the attention has died (mean {mean:.1e} at step {row['env_step']:,}): the agent "
                "no longer sees its input, and its maps mean nothing. A lower --learning-rate prevents it."
            )

    def check_finite(self, row: Row) -> None:
        """Raise UserError if the loss or the gradient is not finite: later parameters would be useless."""
        bad = [name for name in ("loss", "grad_norm") if not math.isfinite(row[name])]
        if bad:
            raise self.diverged(" and ".join(bad))

    def diverged(self, what: str) -> UserError:
        """The error for `what` that is not finite after the last update."""
        self.store.wait()
        steps = checkpoint_steps(self.folder.checkpoints)
        good = "there is no checkpoint yet"
        if steps:
            good = f"the last good checkpoint is {self.folder.checkpoints / str(steps[-1])}"
        return UserError(
            f"Training diverged: {what} not finite at update {self.trainer.updates} "
            f"(step {self.trainer.env_step:,}); {good}. Lower --learning-rate or check the "
            "settings."
        )

    def save(self) -> None:
        """Start to save a checkpoint, once per step. Raises UserError if a parameter is not finite."""
        if self.saved == self.trainer.env_step:
            return
        params, learner = self.trainer.checkpoint()
        # The loss and gradient of an update are computed before it can spoil the parameters.
        if not _all_finite(params):
            raise self.diverged("parameters")
        if self.record is not None:
            self.record.sync()  # must not lag behind the checkpoint, even after a loss of power
        self.store.save(self.trainer.env_step, params, learner)
        self.saved = self.trainer.env_step

    @contextlib.contextmanager
    def closing(self) -> Generator[None]:
        """Close what was opened, also after an error. Only the first error is raised."""
        try:
            yield
        except BaseException:
            if jax.process_count() == 1:  # others may be gone, and saving takes all
                with contextlib.suppress(UserError):
                    self.store.close()
            raise
        else:
            self.store.close()
        finally:
            self.wandb.finish()
            if self.record is not None:
                self.record.close()


@jax.jit
def _all_finite(params: Params) -> jax.Array:
    return jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]))
