"""The saliency job: run folders -> every method on the same frames, scores, a table."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from fls_jax.agent import Agent, load_agent
from fls_jax.benchmark.comparison import (
    NO_ATTENTION,
    Comparison,
    Settings,
    Stopped,
    identity,
)
from fls_jax.benchmark.frames import SEED, FrameSet, frames_folder, load_frames, play_frames
from fls_jax.benchmark.over_training import write_over_training
from fls_jax.benchmark.results import FRAMES, Results
from fls_jax.errors import UserError
from fls_jax.process.display import ProgressDisplay
from fls_jax.process.interruption import StopFlag
from fls_jax.runs.contents import checkpoint_steps
from fls_jax.runs.files import InUseError, open_locked
from fls_jax.runs.folder import RunFolder, find_runs
from fls_jax.saliency import METHODS
from fls_jax.saliency.methods import find_method
from fls_jax.saliency.question import Target

ALL = "all"
_COLUMNS = {
    "insertion_blurred_probability": "ins.",
    "deletion_blurred_probability": "del.",
    "gini": "gini",
    "spearman:heads": "sanity",
    "ms_per_frame": "ms",
}
_MOST_KINDS = 3


def compare(
    runs: Sequence[Path],
    methods: Sequence[str] = (ALL,),
    targets: Sequence[str] = ("action",),
    frames: int = 500,
    faithful: int = 100,
    frames_from: Path | None = None,
    seed: int = SEED,
    step: int | None = None,
    fresh: bool = False,
    highlights: bool = False,
    every_checkpoint: bool = False,
) -> list[Path]:
    """Compare saliency methods on the agents of run folders; returns the folders of results.

    Args:
        runs: run folders, or folders that hold run folders.
        methods: names in METHODS; `all`: all that the network supports.
        targets: `action`, `policy`, `value`, an action's name or number.
        frames: number of frames from the agent's own games.
        faithful: how many of them are used for insertion, deletion and erasure.
        frames_from: the run whose agent plays the frames for all runs; by default each agent plays its own.
        seed: of the games with the frames. step: the checkpoint; the latest by default.
        fresh: measure again; earlier results are kept under another name.
        highlights: of five times as many frames, use those where the choice of the action matters most.
        every_checkpoint: compare at every checkpoint of a run, on the frames that the agent of `step` plays,
            and write RUN/saliency/over-training-<frames>-<seed>/: one table, and curves over env_step.

    The same call adds what is missing. Raises UserError for unusable input and, after measuring all others,
    for a method that failed.
    """
    _check_numbers(frames, faithful, seed)
    chosen = _methods(methods)
    folders = list(dict.fromkeys(folder for run in runs for folder in find_runs(run)))
    if not folders:
        raise UserError(f"{', '.join(map(str, runs))} contains no run: name a run folder (fls saliency RUN).")
    player = (frames_from, load_agent(frames_from, step)) if frames_from else None
    written: list[Path] = []
    with StopFlag("these frames", "methods that were written are kept") as stop:
        job = _Job(frames, seed, fresh, stop)
        for run in folders:
            latest = load_agent(run, step)
            settings = Settings(
                chosen, tuple(_target(latest, target) for target in targets), faithful, highlights
            )
            _check_game(latest, (player or (run, latest))[1], run)
            numbers = checkpoint_steps(RunFolder(run).checkpoints) if every_checkpoint else [latest.step]
            sets: dict[int, Path] = {}
            for number in numbers:
                agent = latest if number == latest.step else load_agent(run, number)
                sets[number] = job.one(run, agent, player or (run, latest), settings)
                if stop:
                    print(f"Stopped; the same command{' without --fresh' * fresh} resumes from there.")
                    return written
            written += sets.values()
            if every_checkpoint:
                name = sets[numbers[-1]].name.removeprefix(f"{numbers[-1]}-")
                written.append(run / "saliency" / f"over-training-{name}")
                with _written_in(written[-1]):
                    write_over_training(written[-1], sets, str(settings.targets[0]))
                print(f"Written to {written[-1]}")
    failures = job.failures
    asked = [failure for failure in failures if ALL not in methods or not failure.endswith(NO_ATTENTION)]
    if asked:
        raise UserError(f"{len(asked)} of the methods could not be measured: {'; '.join(asked)}")
    return written


@dataclass
class _Job:
    """What all runs share, and what failed.

    count: number of frames; seed: of their games. fresh, stop: see `compare`.
    """

    count: int
    seed: int
    fresh: bool
    stop: StopFlag
    failures: list[str] = field(default_factory=list)

    def one(self, run: Path, agent: Agent, player: tuple[Path, Agent], settings: Settings) -> Path:
        """Compare on one agent, on frames that `player` plays, until the end or a signal. The folder."""
        folder = _folder(run, agent, player[1], settings, self.count, self.seed)
        with _written_in(folder):
            frames = _frames(*player, self.count, self.seed, folder, settings.highlights)
            results = Results(folder, identity(agent, frames, settings))
            former = results.begin(self.fresh)
            if former:
                print(f"Earlier results are kept in {former}")
            if not results.frames_file.exists():
                frames.save(results.frames_file)
            comparison = Comparison(agent, frames, settings, results, self.stop)
            if _measure(comparison):
                comparison.draw()
                _show(comparison.write_tables(complete=True), comparison)
                print(f"Written to {folder}")
        self.failures += [f"{run}: {method}: {why}" for method, why in comparison.failures.items()]
        return folder


@contextlib.contextmanager
def _written_in(folder: Path) -> Generator[None]:
    """Lock the folder for this process. Raises UserError if another has it or it cannot be written."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with open_locked(folder.with_name(f".{folder.name}.lock")):
            yield
    except InUseError as error:
        raise UserError(f"Another comparison writes to {folder}: wait for it, or stop it.") from error
    except OSError as error:
        raise UserError(
            f"{error.filename or folder} cannot be written ({error.strerror}): free space or fix permissions."
        ) from error


def _folder(run: Path, agent: Agent, player: Agent, settings: Settings, count: int, seed: int) -> Path:
    """RUN/saliency/<env_step>-<frames>-<seed>, followed by the frames' run and the targets if not default."""
    own = frames_folder(run, agent.step, count, seed, settings.highlights)
    words = [own.name]
    words += [f"of-{player.config.variant}-{player.step}"] if player is not agent else []
    words += list(map(str, settings.targets)) if settings.targets != ("action",) else []
    return own.with_name("-".join(words))


def _measure(comparison: Comparison) -> bool:
    """Run a comparison with progress. Returns False if a signal stopped it."""
    done = 0
    with ProgressDisplay(f"{comparison.name}, saliency", len(comparison.work)) as display:

        def advance(name: str) -> None:
            nonlocal done
            done += 1
            display.count(done, "methods")
            if name.split(" ")[0] in comparison.failures:
                display.message(f"{name}: {comparison.failures[name.split(' ')[0]]}")

        try:
            comparison.run(advance)
        except Stopped:
            return False
    return True


def _frames(run: Path, agent: Agent, count: int, seed: int, folder: Path, highlights: bool) -> FrameSet:
    """The frames of a run's agent: saved in the folder or the run, or played now."""
    for place in (folder, frames_folder(run, agent.step, count, seed, highlights)):
        if (place / FRAMES).exists():
            return load_frames(place / FRAMES)
    title = f"{agent.game}, {agent.config.variant} at step {agent.step:,}"
    with ProgressDisplay(title, count, "playing ...") as display:
        return play_frames(agent, count, seed, lambda done: display.count(done, "frames"), highlights)


def _methods(names: Sequence[str]) -> tuple[str, ...]:
    if ALL in names:
        return tuple(METHODS)
    for name in names:
        try:
            find_method(name)
        except ValueError as error:
            raise UserError(str(error)) from error
    # Differences are computed to `random`, which costs nothing.
    return tuple(dict.fromkeys(("random", *names)))


def _target(agent: Agent, target: str) -> Target:
    if target in ("action", "policy", "value") or target in agent.actions:
        return target
    if target.isdecimal() and int(target) < len(agent.actions):
        return agent.actions[int(target)]
    raise UserError(
        f"{agent} has no target {target!r}; choose action, policy, value or one of: "
        f"{', '.join(agent.actions)}."
    )


def _check_game(agent: Agent, player: Agent, run: Path) -> None:
    """Raise UserError if the frames would be of another game."""
    if agent.game != player.game:
        raise UserError(
            f"{run} plays {agent.game} and the run of --frames-from {player.game}; frames are of one game: "
            "give runs of the same game."
        )


def _check_numbers(frames: int, faithful: int, seed: int) -> None:
    if frames < 8:
        raise UserError(f"--frames is {frames}; it must be at least 8.")
    if not 1 <= faithful <= frames:
        raise UserError(f"--faithful is {faithful}; it must lie between 1 and --frames, {frames}.")
    if not 0 <= seed < 2**31:
        raise UserError(f"--seed is {seed}; it must lie between 0 and {2**31 - 1:,}.")


def _show(table: pd.DataFrame, comparison: Comparison) -> None:
    """Print a table of the main columns, for the first target."""
    target = str(comparison.settings.targets[0])
    rows = table[table.target == target]
    lifts = [metric for metric in dict.fromkeys(rows.metric) if metric.startswith("lift:")][:_MOST_KINDS]
    columns = _COLUMNS | {metric: f"lift\n{metric.split(':')[1][:6]}" for metric in lifts}
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    shown.add_column("method", no_wrap=True)
    for heading in columns.values():
        shown.add_column(heading, justify="right", no_wrap=True)
    for (agent, method), group in rows[~rows.method.str.contains(" - ")].groupby(
        ["agent", "method"], sort=False
    ):
        values = dict(zip(group.metric, group.value, strict=True))
        shown.add_row(
            method if agent == comparison.name else "  untrained",
            *(_number(values.get(metric)) for metric in columns),
        )
    console = Console(highlight=False)
    console.print(shown)
    console.print(
        f"target {target}. ins., higher is better, and del., lower: area under the action's probability as "
        "pixels are shown and hidden, blurred where they are not; hold them against `random`. lift: share of "
        "the map's mass on the object over its share of the area. sanity: rank correlation with the map "
        "after randomising the heads. ms: per frame. Intervals, differences and the rest: scores.csv."
    )
    own = rows[(rows.agent == comparison.name) & (rows.method == "attention")]
    replaced = own[own.metric.str.startswith("kl:")]
    if len(replaced):
        changes = (
            f"{row.metric.removeprefix('kl:')} {row.value:.3g} [{row.low:.3g}, {row.high:.3g}]"
            for row in replaced.itertuples()
        )
        words = "Attention replaced, KL of the policy in nats:"
        console.print(f"{words} {', '.join(changes)}", markup=False)


def _number(value: float | None) -> str:
    return "" if value is None or value != value else f"{value:.3g}"
