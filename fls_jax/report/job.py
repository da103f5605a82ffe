"""`fls report`: reads run folders, lets their agents play, and writes one HTML file or a site."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from fls_jax.agent import Agent, load_agent
from fls_jax.atari_head.archives import TrialError
from fls_jax.atari_head.dataset import Dataset, Trial, open_dataset
from fls_jax.errors import UserError
from fls_jax.report.clips import Settings, Watching
from fls_jax.report.document import index_document, report_document
from fls_jax.report.making import Stopped, make_missing
from fls_jax.report.page import page
from fls_jax.report.recording import FPS
from fls_jax.report.sources import Sources, read_sources
from fls_jax.runs.files import part_of, write_whole
from fls_jax.saliency import METHODS

MAX_STEPS = 9000
TARGETS = ("action", "policy", "value")


def report(
    runs: Sequence[Path],
    out: Path = Path("report.html"),
    steps: int = 900,
    seed: int = 1000,
    greedy: bool = False,
    methods: Sequence[str] = ("attention",),
    targets: Sequence[str] = ("action",),
    atari_head: Path | None = None,
    trials: Sequence[int] = (),
    records: Sequence[Path] = (),
    make: bool = False,
    games: int = 32,
) -> list[Path]:
    """Write the report of run folders; returns the files, the front page first.

    Args:
        runs: run folders, or folders that hold run folders.
        out: a file that ends in .html, or a folder for one page per game and `index.html`.
        steps: agent steps of each clip, of agents and of a person's trial; 0: only records.
        seed: of the games and the sampled actions.
        greedy: take the most probable action instead of sampling.
        methods: names in fls_jax.saliency.METHODS whose maps are recorded.
        targets: outputs that these explain: action, policy, value.
        atari_head: the data set; agents then also run on a person's trial of their game, shown with the gaze.
        trials: numbers of trials; the first of each game by default.
        records: folders with the records of runs that were shipped without them.
        make: first make missing ones: evaluations, replaced attention, comparisons of saliency methods and,
            with atari_head, gaze passes.
        games: whole games in each evaluation that is made.

    Returns an empty list if a signal stopped it; what --make has made is kept. Raises UserError for errors
    that the user can correct.
    """
    settings = Settings(steps, seed, greedy, tuple(methods), tuple(targets))
    _check(out, settings, games)
    words = _command(runs, out, settings, atari_head, trials, records)
    problems = []
    if make:
        try:
            problems = make_missing(read_sources(runs).runs, games, atari_head)
        except (Stopped, KeyboardInterrupt):
            print("Stopped before the report; the same command goes on from there.")
            return []
    sources = read_sources(runs, records)
    sources.problems += problems
    if atari_head is not None:
        chosen = _trials(open_dataset(atari_head), sources, trials)
        settings = Settings(steps, seed, greedy, tuple(methods), tuple(targets), chosen)
    job = _Job(sources, settings, words)
    try:
        if out.suffix.lower() == ".html":
            return [job.write(sources, out)]
        return job.write_site(out)
    except KeyboardInterrupt:
        print(f"Stopped; {out} is not written. The same command records the clips anew.")
        return []
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}): choose another --out.") from error


class _Job:
    """Agents are loaded, play and are observed; documents are written."""

    def __init__(self, sources: Sources, settings: Settings, command: str) -> None:
        self.sources, self.settings, self.command = sources, settings, command

    def write(self, sources: Sources, path: Path) -> Path:
        """Write one page of these runs."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with part_of(path) as part:
            clips = self.clips(sources) if self.settings.steps else []
            part.write_text(page(report_document(sources, clips, self.command)), encoding="utf-8")
        minutes = sum(clip["frames"]["shape"][0] for clip in clips) / FPS / 60
        size = path.stat().st_size / 1e6
        print(f"{path}: {size:.2f} MB, {len(clips)} clips, {minutes:.1f} minutes of play")
        return path

    def write_site(self, folder: Path) -> list[Path]:
        """Write one page per game and the front page."""
        pages, paths, tables = [], [], []
        for game, group in groupby(self.sources.runs, key=lambda run: run.game):
            chosen = Sources(list(group), [])
            path = self.write(chosen, folder / f"{_file_name(game, {p.stem for p in paths})}.html")
            self.sources.problems += chosen.problems
            paths.append(path)
            agents = f"{len(chosen.runs)} agent{'s' * (len(chosen.runs) != 1)}"
            pages.append({"file": path.name, "title": game, "note": agents})
        tables = report_document(self.sources, [], self.command)["tables"]
        chosen_tables = [table for table in tables if table["place"] == "overview"]
        folder.mkdir(parents=True, exist_ok=True)
        front = folder / "index.html"
        write_whole(front, page(index_document(self.sources, pages, chosen_tables, self.command)))
        return [front, *paths]

    def clips(self, sources: Sources) -> list[dict[str, Any]]:
        """Record every agent at play, observed by all agents of its game. Lists runs without checkpoint."""
        agents = self.load(sources)
        clips = []
        for game, group in groupby(agents, key=lambda name: sources.runs[name].game):
            watching = Watching(sources, {number: agents[number] for number in group}, self.settings)
            clips += [watching.clip(player) for player in watching.agents]
            for trial in self.settings.trials:
                if trial.game == game:
                    try:
                        clips.append(watching.trial(trial))
                    except TrialError as error:
                        sources.leave_out(Path(str(trial.frames or trial.gaze)), str(error))
        return clips

    def load(self, sources: Sources) -> dict[int, Agent]:
        """The agents that can be loaded, by their index among the runs."""
        agents = {}
        for number, run in enumerate(sources.runs):
            try:
                agents[number] = load_agent(run.path)
            except UserError as error:
                sources.leave_out(run.path, f"It is not in the player: {error}")
        return agents


def _trials(dataset: Dataset, sources: Sources, numbers: Sequence[int]) -> tuple[Trial, ...]:
    """The trials of the runs' games that are asked for; UserError where there is none."""
    games = {run.game for run in sources.runs}
    known = [trial for trial in dataset.trials if trial.game in games]
    if not known:
        found = ", ".join(dataset.games()) or "no game"
        raise UserError(f"{dataset.root} has no trials of {', '.join(sorted(games))}; it has {found}.")
    missing = set(numbers) - {trial.id for trial in known}
    if missing:
        raise UserError(
            f"{dataset.root} has no trial {', '.join(map(str, sorted(missing)))} of "
            f"{', '.join(sorted(games))}; it has {', '.join(str(trial.id) for trial in known)}."
        )
    if numbers:
        return tuple(trial for trial in known if trial.id in numbers)
    return tuple({trial.game: trial for trial in reversed(known)}.values())


def _check(out: Path, settings: Settings, games: int) -> None:
    """UserError for options that cannot work."""
    for kind, names, known in (
        ("saliency method", settings.methods, tuple(METHODS)),
        ("target", settings.targets, TARGETS),
    ):
        for name in names:
            if name not in known:
                raise UserError(f"There is no {kind} {name!r}; choose one of: {', '.join(known)}.")
    for name, value, low, high in (
        ("steps", settings.steps, 0, MAX_STEPS),
        ("seed", settings.seed, 0, 2**31 - 1),
        ("games", games, 1, 100_000),
    ):
        if not low <= value <= high:
            raise UserError(f"--{name} is {value}; it must lie between {low:,} and {high:,}.")
    if out.suffix.lower() != ".html" and out.suffix:
        raise UserError(f"--out is {out}; give a name that ends in .html, or a folder.")


def _command(
    runs: Sequence[Path],
    out: Path,
    settings: Settings,
    atari_head: Path | None,
    trials: Sequence[int],
    records: Sequence[Path],
) -> str:
    words = ["fls", "report", *map(str, runs), "-o", str(out)]
    words += ["--steps", str(settings.steps), "--seed", str(settings.seed), *["--greedy"] * settings.greedy]
    words += ["--methods", *settings.methods, "--targets", *settings.targets]
    words += ["--atari-head", str(atari_head)] if atari_head else []
    words += ["--trials", *map(str, trials)] if trials else []
    return shlex.join([*words, *(["--records", *map(str, records)] if records else [])])


def _file_name(game: str, taken: set[str]) -> str:
    """A file name for a game: letters and digits, without repetitions."""
    name = "".join(letter for letter in game if letter.isascii() and letter.isalnum())[:60] or "game"
    while name in taken or name == "index":
        name += "-2"
    return name
