"""`fls report`: reads run folders, lets their agents play, and writes one HTML file or a site."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from fls_jax.agent import Agent, load_agent
from fls_jax.errors import UserError
from fls_jax.evaluation.job import evaluate
from fls_jax.evaluation.settings import EvaluationSettings
from fls_jax.film.job import play
from fls_jax.process.display import ProgressDisplay
from fls_jax.report.document import agent_id, index_document, report_document
from fls_jax.report.page import page
from fls_jax.report.recording import FPS, Recording, clip_record, observed
from fls_jax.report.sources import Sources, read_sources
from fls_jax.runs.files import part_of, write_whole
from fls_jax.saliency import METHODS

MAX_STEPS = 9000


def report(
    runs: Sequence[Path],
    out: Path = Path("report.html"),
    steps: int = 900,
    seed: int = 1000,
    greedy: bool = False,
    make: bool = False,
    games: int = 32,
    methods: Sequence[str] = ("attention",),
) -> list[Path]:
    """Write the report of run folders; returns the files, the front page first.

    Args:
        runs: run folders, or folders that hold run folders.
        out: a file that ends in .html, or a folder for one page per game and `index.html`.
        steps: agent steps that each agent plays for the player; 0: records only.
        seed: of the games and the sampled actions.
        greedy: take the most probable action instead of sampling.
        make: first evaluate the latest checkpoint of each run that lacks an evaluation.
        games: whole games in each such evaluation.
        methods: names in fls_jax.saliency.METHODS whose maps are recorded.

    Raises UserError for errors that the user can correct.
    """
    _check(out, steps, seed, games, methods)
    if make:
        _make_evaluations(read_sources(runs), games)
    sources = read_sources(runs)
    job = _Job(sources, steps, seed, greedy, methods, _command(runs, out, steps, seed, greedy, methods))
    try:
        if out.suffix.lower() == ".html":
            return [job.write(sources, out)]
        return job.write_site(out)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}): choose another --out.") from error


class _Job:
    """Loads agents, records their play, and writes documents."""

    def __init__(
        self,
        sources: Sources,
        steps: int,
        seed: int,
        greedy: bool,
        methods: Sequence[str],
        command: str,
    ) -> None:
        self.sources, self.steps, self.seed, self.greedy = sources, steps, seed, greedy
        self.methods, self.command = methods, command

    def write(self, sources: Sources, path: Path) -> Path:
        """Write one page of these runs."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with part_of(path) as part:
            clips = self.clips(sources) if self.steps else []
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
        for _, group in groupby(agents, key=lambda name: sources.runs[name].game):
            numbers = list(group)
            clips += [self.clip(sources, {n: agents[n] for n in numbers}, number) for number in numbers]
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

    def clip(self, sources: Sources, agents: dict[int, Agent], player: int) -> dict[str, Any]:
        """Record one agent at play, observed by all."""
        agent, label = agents[player], sources.labels[player]
        title = f"{sources.runs[player].game}, played by {label}"
        with ProgressDisplay(title, self.steps * (1 + len(agents)), "playing ...") as display:
            clip = play(agent, self.steps, self.seed, self.greedy, lambda done: display.count(done, "steps"))
            observers = []
            for place, (number, each) in enumerate(agents.items(), start=1):
                before = place * self.steps
                observers.append(
                    observed(
                        agent_id(number),
                        each,
                        clip,
                        self.methods,
                        lambda done, b=before: display.count(b + done, "steps"),
                    )
                )
        recording = Recording(
            id=f"c{player + 1}",
            label=title,
            description=_description(agent, label, self.seed, self.greedy, len(agents)),
            game=sources.runs[player].game,
            player=agent_id(player),
            seed=self.seed,
            greedy=self.greedy,
            clip=clip,
        )
        return clip_record(recording, agent, observers)


def _description(agent: Agent, label: str, seed: int, greedy: bool, agents: int) -> str:
    actions = "the most probable action is taken" if greedy else "actions are sampled from its policy"
    others = " Every agent sees the same frames; the player acts." if agents > 1 else ""
    return (
        f"{label} at step {agent.step:,} plays from the beginning of a game, seed {seed}; {actions}. "
        f"◂ marks the action taken.{others}"
    )


def _make_evaluations(sources: Sources, games: int) -> None:
    """Evaluate the latest checkpoint of each run that has no evaluation of it."""
    settings = EvaluationSettings(num_envs=min(games, 16), games_per_env=-(-games // 16))
    for run in sources.runs:
        try:
            step = load_agent(run.path).step
        except UserError:
            continue  # listed later, when the player needs it
        if not any(each.env_step == step and each.mode == settings.mode for each in run.evaluations):
            evaluate(run.path, settings, step)


def _check(out: Path, steps: int, seed: int, games: int, methods: Sequence[str]) -> None:
    """Raise UserError for impossible options."""
    for method in methods:
        if method not in METHODS:
            raise UserError(f"There is no saliency method {method!r}; choose one of: {', '.join(METHODS)}.")
    for name, value, low, high in (
        ("steps", steps, 0, MAX_STEPS),
        ("seed", seed, 0, 2**31 - 1),
        ("games", games, 1, 100_000),
    ):
        if not low <= value <= high:
            raise UserError(f"--{name} is {value}; it must lie between {low:,} and {high:,}.")
    if out.suffix.lower() != ".html" and out.suffix:
        raise UserError(f"--out is {out}; give a name that ends in .html, or a folder.")


def _command(
    runs: Sequence[Path], out: Path, steps: int, seed: int, greedy: bool, methods: Sequence[str]
) -> str:
    words = ["fls", "report", *map(str, runs), "-o", str(out), "--steps", str(steps), "--seed", str(seed)]
    return shlex.join([*words, *["--greedy"] * greedy, "--methods", *methods])


def _file_name(game: str, taken: set[str]) -> str:
    """A file name for a game: letters and digits, without repetitions."""
    name = "".join(letter for letter in game if letter.isascii() and letter.isalnum())[:60] or "game"
    while name in taken or name == "index":
        name += "-2"
    return name
