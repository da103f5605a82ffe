"""The gaze job: scores run folders against Atari-HEAD; writes tables and a study over many runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from fls_jax.agent import load_agent
from fls_jax.atari_head.archives import TrialError
from fls_jax.atari_head.dataset import Dataset, open_dataset
from fls_jax.atari_head.metadata import ALL_TRIALS, TrialFilter, canonical_game
from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.gaze.atlas import Atlas
from fls_jax.gaze.gaze_pass import score_run
from fls_jax.gaze.methods import posthoc
from fls_jax.gaze.observations import Protocol, Space
from fls_jax.gaze.overlay import film_trial
from fls_jax.gaze.settings import GazeSettings
from fls_jax.gaze.study import make_folder, write_study
from fls_jax.gaze.tables import print_study, print_summary
from fls_jax.process.interruption import StopFlag
from fls_jax.runs.folder import RunFolder, find_runs

PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
_MOST_PROBLEMS = 10


def gaze(
    runs: Sequence[Path],
    atari_head: Path,
    trials: Sequence[int] = (),
    protocol: Protocol | Literal["both"] | None = None,
    space: Space = "screen",
    step: int | None = None,
    controls: bool = True,
    out: Path | None = None,
    video: bool = False,
    fresh: bool = False,
    trial_filter: TrialFilter = ALL_TRIALS,
    methods: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Score runs against Atari-HEAD and print their tables. With `out`, also write a study over all runs.

    Returns the contents of the summary.json files of the completed passes.

    Args:
        runs: run folders, or folders that hold run folders.
        atari_head: the data set, as for `open_dataset`.
        trials, space, step, controls: see GazeSettings; no trials: all of the run's game.
        protocol: `aligned`, `paper`, or `both`, one after the other. None: `aligned`, with `out` `both`.
        out: folder of the study, which needs controls. Results of run folders that cannot be written also
            go below it.
        video: also film every scored trial, to RUN/video/<env_step>-gaze-<trial>.mp4.
        fresh: score again; earlier results are kept under another name.
        methods: saliency methods to score beside the attention, of fls_jax.saliency.METHODS, or `all`.
        trial_filter: selects trials by how they were recorded; others are treated as absent.

    Raises UserError if the data set or a run cannot be used. Of several runs, those whose game is not in the
    data set are left out with a note, and a run that fails does not affect the others.
    """
    if out is not None and not controls:
        raise UserError("A study shows every map beside its controls: leave out --no-controls or --out.")
    protocol = protocol or ("both" if out else "aligned")
    settings = GazeSettings(tuple(trials) or None, "aligned", space, step, controls, posthoc(methods))
    with StopFlag("this batch of frames", "trials that were written are kept") as stop:
        dataset = open_dataset(atari_head).filtered(trial_filter)
        _show_problems(dataset)
        folders = _with_gaze(_expanded(runs), dataset)
        if len(folders) > len(runs):  # found below a folder: listed before anything is written into them
            print(f"{len(folders)} runs: {', '.join(map(str, folders))}", flush=True)
        if out is not None:
            make_folder(out)  # tried before the work
        job = _Job(Atlas(dataset), stop, fresh, video, alone=len(folders) == 1, out=out)
        for folder in folders:
            for each in PROTOCOLS if protocol == "both" else (protocol,):
                if not stop:
                    job.score(folder, replace(settings, protocol=each))
        if stop:
            print(f"The same command{' without --fresh' * fresh} resumes from there.")
        elif out is not None and job.scored:
            print_study(write_study(job.scored, out))
            print(f"Written to {out}: study.md, study.csv, runs.csv")
    if job.failures:
        raise UserError(f"{len(job.failures)} of the passes failed: {'; '.join(job.failures)}")
    return job.scored


class _Job:
    """Passes over several runs, with their results and failures."""

    def __init__(
        self, atlas: Atlas, stop: StopFlag, fresh: bool, video: bool, alone: bool, out: Path | None
    ) -> None:
        self.atlas, self.stop, self.fresh, self.video, self.alone = atlas, stop, fresh, video, alone
        self.out = out
        self.scored: list[dict[str, Any]] = []
        self.failures: list[str] = []

    def score(self, folder: Path, settings: GazeSettings) -> None:
        """One pass. If it is one of several, a failure is printed and recorded."""
        try:
            summary = score_run(folder, self.atlas, settings, self.stop, self.fresh, self.home(folder))
            if not summary["trials"]["scored"]:
                return
            print_summary(summary)
            if summary["complete"]:
                self.scored.append(summary)
            if self.video:
                self.film(folder, settings, summary)
        except UserError as error:
            if self.alone:
                raise
            self.failures.append(f"{folder}: {error}")
            print(self.failures[-1])

    def home(self, folder: Path) -> Path:
        """The folder of a run's results: itself, or below `out` if it cannot be written."""
        if self.out is None or os.access(folder, os.W_OK):
            return folder
        return self.out / "runs" / folder.resolve().as_posix().strip("/").replace("/", "_")

    def film(self, folder: Path, settings: GazeSettings, summary: dict[str, Any]) -> None:
        """Film every scored trial. One that cannot be read does not affect the others."""
        agent = load_agent(folder, summary["env_step"])
        suffix = "" if settings.protocol == "aligned" else f"-{settings.protocol}"
        failures = []
        for trial in self.atlas.dataset.select(agent.game, summary["trials"]["scored"]):
            path = self.home(folder) / "video" / f"{agent.step}-gaze-{trial.id}{suffix}.mp4"
            try:
                if not self.stop:
                    film_trial(agent, trial, path, settings.protocol, summary["preprocessing"], self.stop)
            except TrialError as error:  # scored before, and damaged or gone since
                failures.append(f"trial {trial.id} cannot be filmed: {error}")
        if failures:
            raise UserError("; ".join(failures))


def _show_problems(dataset: Dataset) -> None:
    for problem in dataset.problems[:_MOST_PROBLEMS]:
        print(f"Note: {problem}")
    if len(dataset.problems) > _MOST_PROBLEMS:
        print(f"Note: and {len(dataset.problems) - _MOST_PROBLEMS} more.")


def _expanded(runs: Sequence[Path]) -> list[Path]:
    """The run folders that are named or are below a named folder, without repetitions."""
    folders: list[Path] = []
    if not runs:
        raise UserError("Name a run folder, or a folder of run folders: fls gaze RUN --atari-head DIR.")
    for path in runs:
        found = find_runs(path)
        if not found:
            raise UserError(f"{path} is not a run folder and contains none: there is no config.json.")
        folders += found
    return list(dict.fromkeys(folders))


def _with_gaze(folders: list[Path], dataset: Dataset) -> list[Path]:
    """The runs whose game is in the data set. A single run is left to `score_run` and its message."""
    if len(folders) == 1:
        return folders
    kept = []
    for folder in folders:
        game = _game(folder)
        if game is None or (canonical_game(game) or game) in dataset.games():
            kept.append(folder)
        else:
            print(f"Note: {folder} is left out: {dataset.root} has no trials of {game}")
    if not kept:
        found = ", ".join(dataset.games()) or "no game"
        raise UserError(f"{dataset.root} has no trials of any of these runs' games; it has {found}.")
    return kept


def _game(folder: Path) -> str | None:
    """The game of a run; None if its config.json cannot be used, which its own pass will report."""
    run = RunFolder(folder)
    try:
        return TrainConfig.from_json(run.read_config(), str(run.config_file)).game
    except UserError:
        return None
