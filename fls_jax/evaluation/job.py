"""The evaluation job: plays rounds of games and writes one JSON. It stops at a signal and can be resumed.

Every round uses fresh environments with new seeds. A round depends only on the parameters and the settings,
so an interrupted round is played again with the same games. Long games are therefore not lost more often than
short ones, and a stopped evaluation gives, on the same machine, the same result as one that was not.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jax

from fls_jax.agent import Agent, load_agent
from fls_jax.atari.pool import GAME_BYTES
from fls_jax.errors import UserError
from fls_jax.evaluation.play import Game, make_act, play_round
from fls_jax.evaluation.pools import make_pool
from fls_jax.evaluation.progress import EvaluationProgress
from fls_jax.evaluation.results import PartFile, check_same, read_result, summarise, write_result
from fls_jax.evaluation.settings import EvaluationSettings
from fls_jax.networks.replacement import TRAINED
from fls_jax.ppo.environments import environment_seeds
from fls_jax.process.interruption import StopFlag
from fls_jax.process.machine import check_memory
from fls_jax.runs.folder import set_aside
from fls_jax.runs.provenance import commit, machine, versions


def evaluate(
    run_dir: Path,
    settings: EvaluationSettings,
    step: int | None = None,
    fresh: bool = False,
    out: Path | None = None,
) -> Path | None:
    """Play whole games with a run's agent and write `evaluation/<env_step>-<mode>.json` in its folder.

    Returns the result's path, or None after a signal; the same call without `fresh` then resumes. step: the
    checkpoint, the latest by default. fresh: rename an earlier result, finished or not. out: the folder for
    the result instead of the run's `evaluation/`, for a run that cannot be written. Raises UserError for
    errors that the user can correct.
    """
    return evaluate_agent(run_dir, load_agent(run_dir, step), settings, fresh, out)


def result_path(run_dir: Path, agent: Agent, settings: EvaluationSettings) -> Path:
    """`evaluation/<env_step>-<mode>.json`, with `-<replacement>` after the mode if attention is replaced."""
    words = [str(agent.step), settings.mode]
    words += [agent.attention.replace(":", "-")] if agent.attention != TRAINED else []
    return run_dir / "evaluation" / f"{'-'.join(words)}.json"


def evaluate_agent(
    run_dir: Path,
    agent: Agent,
    settings: EvaluationSettings,
    fresh: bool = False,
    out: Path | None = None,
) -> Path | None:
    """As `evaluate`, for a loaded agent, whose attention may be replaced."""
    with StopFlag("this step", "finished rounds of games are kept") as stop:
        settings = settings.validated(agent.game)
        games = f"{settings.num_envs:,} games"
        check_memory(settings.num_envs * GAME_BYTES, games, "lower --num-envs")
        path = result_path(run_dir, agent, settings)
        if out is not None:
            path = out / path.name
        part = PartFile(path.with_suffix(".part.jsonl"))
        try:
            return _Job(agent, settings, path, part, stop).run(fresh)
        except OSError as error:
            raise UserError(
                f"The evaluation in {path.parent} cannot be written ({error.strerror}): free space or fix "
                "permissions, or choose another folder with --out, then run the same command"
                f"{' without --fresh' * fresh} again: finished rounds are kept."
            ) from error


class _Job:
    """One session of an evaluation."""

    def __init__(
        self, agent: Agent, settings: EvaluationSettings, path: Path, part: PartFile, stop: StopFlag
    ) -> None:
        self.agent, self.settings, self.path, self.part, self.stop = agent, settings, path, part, stop
        self.title = f"{agent.game} {agent.config.variant} step {agent.step:,} {settings.mode}"
        if agent.attention != TRAINED:
            self.title += f", attention {agent.attention}"

    def run(self, fresh: bool) -> Path | None:
        before = None if fresh else read_result(self.path)
        if before is not None:
            check_same(self.path, before, self.identity())
            print(f"This evaluation is finished: {describe(before['summary'])}. {self.path}")
            return self.path
        self.check_seed()
        self.part.open(self.identity(), self.session(), fresh)
        try:
            if fresh:
                set_aside(self.path)
            self.play()
            if self.part.rounds < self.settings.rounds:
                print(
                    f"Stopped: {len(self.part.games):,} of {self.settings.total_games:,} games are kept in "
                    f"{self.part.path}. The same command{' without --fresh' * fresh} plays the rest."
                )
                return None
            result = self.result()
            write_result(self.path, result)
            print(f"{self.title}: {describe(result['summary'])}. Written to {self.path}")
        finally:
            self.part.close(delete=self.path.exists())
        return self.path

    def play(self) -> None:
        """Play the remaining rounds, until a signal."""
        act = make_act(self.agent, self.settings.greedy)
        score = sum(game.score for game in self.part.games)
        with EvaluationProgress(
            self.title, self.settings.total_games, len(self.part.games), score
        ) as progress:
            for number in range(self.part.rounds, self.settings.rounds):
                begun = time.perf_counter()
                games = self.play_round(number, act, progress)
                if games is None:
                    return
                self.part.add_round(games, time.perf_counter() - begun)

    def play_round(self, number: int, act: Any, progress: EvaluationProgress) -> list[Game] | None:
        settings, game = self.settings, self.agent.game
        first = number * settings.games_per_round
        pool = make_pool(
            game,
            settings.infinite_breakout,
            settings.num_envs,
            settings.round_seed(number),
            settings.max_steps(game),
            self.agent.config.sticky_actions,
        )
        self.check_actions(pool.num_actions)
        try:
            return play_round(
                pool,
                act,
                jax.random.fold_in(jax.random.key(settings.seed), number),
                range(first, first + settings.games_in_round(number)),
                lambda game: progress.add(game.score),
                lambda: bool(self.stop),
            )
        finally:
            pool.close()

    def check_seed(self) -> None:
        """Print a warning if the agent was trained on these games."""
        config, settings = self.agent.config, self.settings
        last = settings.round_seed(settings.rounds) - 1
        used = [seed for seed in environment_seeds(config, config.seed) if settings.seed <= seed <= last]
        if used:
            print(
                f"Warning: the games' seeds, {settings.seed} to {last}, were partly used in training "
                f"({min(used)} to {max(used)}): choose another --seed."
            )

    def check_actions(self, num_actions: int) -> None:
        if num_actions != len(self.agent.actions):
            raise UserError(
                f"{self.agent.game} has {num_actions} actions here, and the agent has "
                f"{len(self.agent.actions)} ({', '.join(self.agent.actions)})."
            )

    def identity(self) -> dict[str, Any]:
        """The values by which two evaluations are the same."""
        agent = self.agent
        return {
            "game": agent.game,
            "network": agent.config.variant,
            "env_step": agent.step,
            "parameters": agent.with_attention(TRAINED).fingerprint,
            **({"attention": agent.attention} if agent.attention != TRAINED else {}),
            **self.settings.to_json(),
            "max_episode_steps": self.settings.max_steps(agent.game),
            "sticky_actions": agent.config.sticky_actions,
        }

    def session(self) -> dict[str, Any]:
        """The code and the machine of this process."""
        return {
            "versions": versions(),
            "commit": commit(),
            "machine": machine(),
            "backend": jax.default_backend(),
        }

    def result(self) -> dict[str, Any]:
        infinite = self.settings.infinite_breakout
        return {
            **self.identity(),
            "training_seed": self.agent.config.seed,
            "trained_preprocessing": self.agent.preprocessing,
            "preprocessing": "envpool",
            "environment": "BreakoutInfinite" if infinite else self.agent.game,
            # Human and random scores are for the unmodified game.
            "summary": summarise(self.part.games, None if infinite else self.agent.game),
            "seconds": round(self.part.seconds, 3),
            **self.part.sessions[-1],
            "sessions": self.part.sessions,
            "games": [game.to_json() for game in self.part.games],
        }


def describe(summary: dict[str, Any]) -> str:
    """One line of text for a summary."""
    interval = summary["interval_95"]["mean"]
    between = (
        "no interval from one game" if interval is None else "95% interval {:.2f} to {:.2f}".format(*interval)
    )
    text = (
        f"{summary['games']:,} game{'s' * (summary['games'] != 1)}, mean return {summary['mean']:.2f} "
        f"({between}), std {summary['std']:.2f}, "
        f"median {summary['median']:.2f}, IQM {summary['iqm']:.2f}"
    )
    if summary["human_normalised"]:
        text += f", human-normalised mean {summary['human_normalised']['mean']:.3f}"
    return text
