"""The gaze pass over one run: scores its agent's maps, and controls, against human gaze from Atari-HEAD.

Trials are scored one after the other, and each is written when it is done. A trial that cannot be read does
not affect others. A signal stops the pass; the same call resumes after the trials already written.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import jax

from fls_jax.agent import Agent, load_agent
from fls_jax.atari_head.archives import TrialError
from fls_jax.atari_head.dataset import Trial
from fls_jax.atari_head.download import CITATION, LICENCE, RECORDS
from fls_jax.errors import UserError
from fls_jax.gaze.atlas import Atlas
from fls_jax.gaze.observations import Preprocessing, open_trial
from fls_jax.gaze.results import ResultsWriter, Scored
from fls_jax.gaze.scoring import SEED, SIGMA
from fls_jax.gaze.settings import GazeSettings
from fls_jax.gaze.summary import (
    BLOCK,
    RESAMPLES,
    TrialStatistics,
    model_summary,
    over_controls,
    trial_statistics,
    trial_summary,
)
from fls_jax.gaze.trial_pass import Stopped, TrialPass, TrialScores
from fls_jax.process.display import ProgressDisplay
from fls_jax.process.interruption import StopFlag
from fls_jax.runs.provenance import commit, machine, versions
from fls_jax.types import DEAD


def score_run(
    run_dir: Path,
    atlas: Atlas,
    settings: GazeSettings,
    stop: StopFlag,
    fresh: bool = False,
    home: Path | None = None,
) -> dict[str, Any]:
    """Score one run's agent and write RUN/gaze/<protocol>-<space>/; returns the content of summary.json.

    home: the folder for gaze/, instead of RUN.

    If `stop` is set, the trials scored so far are written, and the summary has `complete: false`. Trials
    already scored under the same settings are kept, unless `fresh`. Raises UserError if the run or the data
    cannot be used, or no trial could be scored.
    """
    agent = load_agent(run_dir, settings.step)
    return _Pass(run_dir, agent, atlas, settings, stop, fresh).run(home or run_dir)


class _Pass:
    """One session of a pass."""

    def __init__(
        self, run_dir: Path, agent: Agent, atlas: Atlas, settings: GazeSettings, stop: StopFlag, fresh: bool
    ) -> None:
        self.run_dir, self.agent, self.settings, self.stop, self.fresh = run_dir, agent, settings, stop, fresh
        self.dataset = atlas.dataset
        self.trials = atlas.dataset.select(agent.game, settings.trials)
        self.gaze = atlas.gaze(agent.game, settings.space) if settings.controls else None
        self.scoring = TrialPass(
            agent, settings.protocol, settings.space, settings.controls, settings.methods
        )
        self.title = (
            f"{agent.game} {agent.config.variant} step {agent.step:,} {settings.protocol} {settings.space}"
        )
        self.preprocessing = _preprocessing(agent)
        self.entries: dict[int, dict[str, Any]] = {}
        self.statistics: dict[int, TrialStatistics] = {}
        self.differences: dict[int, TrialStatistics] = {}

    def run(self, home: Path) -> dict[str, Any]:
        folder = home / "gaze" / f"{self.settings.protocol}-{self.settings.space}"
        with ResultsWriter(folder, self.identity(), self.fresh) as writer:
            # 1. Take over finished trials, score the others, and summarise all of them.
            self.keep(writer)
            self.score(writer)
            summary = self.identity() | self.summary()
            # 2. Publish, unless the results that exist contain these trials and more.
            if self.statistics and writer.standing > self.statistics.keys():
                writer.discard()
                print(f"{folder} holds more trials ({len(writer.standing)}) and is left unchanged.")
            elif self.statistics:
                for path in writer.publish(summary):
                    print(f"Earlier results are kept in {path}")
                print(f"Written to {folder}")
        if not self.statistics and not self.stop:
            reasons = "; ".join(f"trial {t}: {entry['reason']}" for t, entry in self.entries.items())
            raise UserError(f"No trial could be scored ({reasons}).")
        return summary

    def keep(self, writer: ResultsWriter) -> None:
        """Take over the trials that were scored before."""
        for trial in self.trials:
            if trial.id in writer.kept:
                self.record(writer, *writer.kept[trial.id])
        if self.entries:
            print(
                f"{self.title}: {len(self.entries)} of {len(self.trials)} trials are scored already "
                "(--fresh scores them again)"
            )

    def score(self, writer: ResultsWriter) -> None:
        """Score the remaining trials, until a signal."""
        left = [trial for trial in self.trials if trial.id not in self.entries]
        for number, trial in enumerate(left, start=1):
            try:
                self.check_signal()
                title = f"{self.title}: trial {trial.id} ({number}/{len(left)})"
                self.record(writer, *self.score_trial(trial, title))
            except TrialError as error:
                print(f"Trial {trial.id} failed: {error}")
                self.record(writer, {**_name(trial), "scored": False, "reason": str(error)})
            except Stopped:
                print(f"Stopped: {len(self.statistics)} of {len(self.trials)} trials are scored.")
                return

    def score_trial(self, trial: Trial, title: str) -> Scored:
        """Open and score one trial. Raises TrialError, and Stopped after a signal."""
        # 1. Open: read pictures (still encoded) and gaze; pool the gaze of the game's other trials.
        begun = time.perf_counter()
        observations = open_trial(
            trial,
            protocol=self.settings.protocol,
            preprocessing=self.preprocessing,
            space=self.settings.space,
        )
        others = self.gaze.of_others(trial.id) if self.gaze else {}
        with ProgressDisplay(title, observations.asked, "reading ...") as progress:
            # 2. Score: two passes over the pictures (gaze/trial_pass.py).
            scores = self.scoring.score(observations, trial.id, others, self.shown_by(progress))
            if not len(scores.frames):
                bad = observations.data.first_undecodable
                raise TrialError(
                    f"none of its {observations.asked} observations has all its pictures"
                    + (f" (the first that cannot be decoded is {bad})" if bad else "")
                )
            # 3. Report what was read and left out.
            report = observations.report()
            seconds = time.perf_counter() - begun
            speed = len(scores.frames) / seconds
            progress.message(
                f"Trial {trial.id}: {len(scores.frames):,} observations in {seconds:.1f} s ({speed:,.0f}/s)"
                + "".join(f"; {problem}" for problem in report.problems())
            )
        entry = {
            **_name(trial),
            "scored": True,
            "observations": len(scores.frames),
            "problems": report.problems(),
            "report": asdict(report),
            "notes": {name: note for name in self.scoring.maps if (note := self.scoring.note(name, others))},
            "largest_saliency": scores.peak,
            "seconds": round(seconds, 3),
            "commit": commit(),
        }
        return Scored(entry, scores)

    def shown_by(self, progress: ProgressDisplay) -> Callable[[int], None]:
        """A function that reports progress: each of the two passes counts for half an observation."""
        done = 0.0

        def advance(observations: int) -> None:
            nonlocal done
            self.check_signal()
            done += observations / 2
            progress.count(int(done), "observations")

        return advance

    def check_signal(self) -> None:
        if self.stop:
            raise Stopped

    def record(self, writer: ResultsWriter, entry: dict[str, Any], scores: TrialScores | None = None) -> None:
        """Write a trial, and keep its statistics for the summary."""
        if scores is not None:
            statistics = trial_statistics(scores.values, entry["trial"])
            entry = entry | {"scores": trial_summary(statistics, self.scoring.maps)}
            self.statistics[entry["trial"]] = statistics
            self.differences[entry["trial"]] = trial_statistics(over_controls(scores.values), entry["trial"])
        self.entries[entry["trial"]] = entry
        writer.add(entry, scores)

    def identity(self) -> dict[str, Any]:
        """The values by which two passes are the same, except for the trials."""
        agent, settings = self.agent, self.settings
        return {
            "game": agent.game,
            "network": agent.config.variant,
            "training_seed": agent.config.seed,
            "env_step": agent.step,
            "parameters": agent.fingerprint,
            "protocol": settings.protocol,
            "space": settings.space,
            "preprocessing": self.preprocessing,
            "maps": self.scoring.maps,
            "sigma": SIGMA[settings.space],
            "seed": SEED,
            "untrained_seed": agent.config.seed,
            "dataset": {
                "path": str(self.dataset.root.resolve()),
                "release": self.dataset.layout,
                "metadata_release": self.dataset.metadata_release,
            },
            "other_trials": sorted(self.gaze.counts) if self.gaze else [],
        }

    def is_dead(self, trial: int) -> bool:
        """Whether the model's map is almost zero in a trial, so that its scores mean nothing."""
        peak = self.entries[trial].get("largest_saliency")
        return peak is not None and peak < DEAD

    def summary(self) -> dict[str, Any]:
        """The content of summary.json, without the entries of `identity`."""
        scored = sorted(self.statistics)
        statistics, differences = (
            [of_trial[trial] for trial in scored] for of_trial in (self.statistics, self.differences)
        )
        asked = [trial.id for trial in self.trials]
        notes: dict[str, str] = {}
        for trial in reversed(scored):
            notes |= self.entries[trial]["notes"]
        defined_somewhere = {
            name for name in self.scoring.maps if any(name not in self.entries[t]["notes"] for t in scored)
        }
        # If the two disagree, the metadata is right: a part of one release is stored in the layout of the
        # other.
        release = self.dataset.metadata_release or ("v1" if self.dataset.layout == "v1" else "v4")
        return {
            "dead_attention": bool(scored) and all(self.is_dead(trial) for trial in scored),
            "complete": set(asked) == set(self.entries),
            "run": str(self.run_dir),
            "trials": {
                "asked": asked,
                "scored": scored,
                "averaged": [t for t in scored if self.entries[t]["report"].get("frame_averaging")],
                "failed": {t: e["reason"] for t, e in self.entries.items() if not e["scored"]},
            },
            "observations": sum(part.observations for part in statistics),
            "notes": {name: note for name, note in notes.items() if name not in defined_somewhere},
            "scores": model_summary(statistics, self.scoring.maps) if statistics else {},
            "differences": model_summary(differences, self.scoring.maps[1:]) if differences else {},
            "intervals": {"share": 0.95, "resamples": RESAMPLES, "observations_in_a_block": BLOCK},
            "licence": LICENCE,
            "citation": CITATION.format(record=RECORDS[release]),
            "commit": commit(),
            "versions": versions(),
            "machine": machine(),
            "backend": jax.default_backend(),
        }


def _name(trial: Trial) -> dict[str, Any]:
    return {"trial": trial.id, "name": trial.name}


def _preprocessing(agent: Agent) -> Preprocessing:
    for known in get_args(Preprocessing):
        if agent.preprocessing == known:
            return known
    raise UserError(
        f"The run's config.json has the preprocessing {agent.preprocessing!r}; "
        f"it must be one of {', '.join(get_args(Preprocessing))}."
    )
