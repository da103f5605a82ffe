"""`fls <command>`: parse, call one function, print. No logic; heavy modules are imported when needed."""

from __future__ import annotations

from collections.abc import Sequence

import fls_jax
from fls_jax.cli.commands import (
    Evaluate,
    Gaze,
    Report,
    Saliency,
    Train,
    Video,
)
from fls_jax.cli.data_commands import AtariHead, Games, ImportBaselines, Networks, Sync
from fls_jax.cli.parsing import check_no_empty_value, parse
from fls_jax.process.allocator import restart_with_settings

__all__ = ["AtariHead", "Games", "Gaze", "Networks", "Train", "parse", "run"]


def run(arguments: Sequence[str]) -> None:
    """Parse `arguments` (without the program's name) and run the command they name."""
    if list(arguments) == ["--version"]:
        print(f"fls {fls_jax.__version__}")
        return
    check_no_empty_value(arguments)
    match parse(arguments):
        case Train() as command:
            if command.allocator == "tuned":
                restart_with_settings()
            from fls_jax.process.cluster import connect
            from fls_jax.train.job import Tracking, train

            connect(command.coordinator, command.processes, command.process_id)
            tracking = Tracking(command.wandb, command.wandb_project)
            if command.seeds is None:
                train(command.config, command.run_dir, command.fresh, tracking)
            else:
                from fls_jax.train.seeds import parse_seeds, train_seeds

                seeds = parse_seeds(command.seeds)
                train_seeds(command.config, seeds, command.run_dir, command.fresh, tracking)
        case Evaluate() as command:
            from fls_jax.evaluation.job import evaluate
            from fls_jax.process.machine import check_machine

            check_machine()
            if command.attention in ((), ("trained",)):
                evaluate(command.run, command.settings, command.step, command.fresh, command.out)
            else:
                from fls_jax.evaluation.attention_job import evaluate_attention

                evaluate_attention(
                    command.run, command.settings, command.attention, command.step, command.fresh, command.out
                )
        case Video() as command:
            from fls_jax.film.job import film
            from fls_jax.process.machine import check_machine

            check_machine()
            film(**vars(command))
        case Gaze() as command:
            from fls_jax.gaze.job import gaze
            from fls_jax.process.machine import check_machine

            check_machine()
            gaze(**vars(command))
        case Saliency() as command:
            from fls_jax.benchmark.job import compare

            compare(**vars(command))
        case Report() as command:
            from fls_jax.report.job import report

            report(**vars(command))
        case AtariHead() as command:
            from fls_jax.atari_head.download import download
            from fls_jax.atari_head.zenodo import Zenodo

            download(command.game, command.dir, release=command.release, server=Zenodo(command.server))
        case Sync() as command:
            from fls_jax.wandb.sync import sync

            sync(command.directory, command.wandb_project, command.offline, command.dry_run)
        case ImportBaselines() as command:
            from fls_jax.imports.baselines import import_baselines

            folder = import_baselines(command.experiment_dir, command.run_dir)
            print(f"Imported {command.experiment_dir} as the run {folder.path}")
        case Games():
            from fls_jax.atari.pool import games

            print("\n".join(games()))
        case Networks():
            from fls_jax.networks.summary import print_networks

            print_networks()
