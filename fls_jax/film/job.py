"""The film of an agent at play: game and input side by side, saliency over both, numbers below.

The film takes two passes, because every frame is scaled by the maximum over the whole clip: first the agents
play, then the frames are drawn. Between the passes screens are kept compressed (1 to 4 kB of 100), so that a
long clip takes little memory; playing again would cost a second emulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from fls_jax.agent import Agent, load_agent
from fls_jax.errors import UserError
from fls_jax.film.clip import Clip
from fls_jax.film.drawing import mosaic
from fls_jax.film.methods import ATTENTION, check_methods, with_method
from fls_jax.film.movie import Movie
from fls_jax.film.playing import play
from fls_jax.film.relative import Relative
from fls_jax.film.views import draw
from fls_jax.networks.replacement import TRAINED, check_name, needs_reference
from fls_jax.process.display import ProgressDisplay
from fls_jax.saliency.projection import Protocol

MAX_AGENTS = 16  # 4 x 4 tiles just fit what decoders of H.264 must take (level 5.1)
_REFERENCE = 256  # steps of another game whose attention replaces the agent's


def film(
    runs: Sequence[Path],
    out: Path | None = None,
    step: int | None = None,
    steps: int = 1000,
    protocol: Protocol = "aligned",
    seed: int = 1000,
    fps: int = 15,
    greedy: bool = False,
    relative: Relative = "none",
    map_only: bool = False,
    attention: str = TRAINED,
    method: Sequence[str] = (ATTENTION,),
) -> Path:
    """Film the agents of one or several runs of a game. Each plays its own game from the beginning.

    Args:
        runs: run folders; several appear as tiles of one picture.
        out: the MP4 file; None: see default_path.
        step: env_step of the checkpoints; None: the latest of each run.
        steps: agent steps to play, one frame each; when a game ends the next one begins.
        protocol: receptive fields through which attention is drawn (see saliency/projection.py).
        seed: of the games and the sampled actions; each agent plays as it would alone.
        fps: frames a second.
        greedy: take the most probable action instead of sampling.
        relative: draw attention minus its mean over the clip, or minus its value on the most frequent patch.
        map_only: show the map alone instead of the agent's input, and the game without saliency.
        attention: the replacement that multiplies the features (networks/replacement.py).
        method: saliency methods to draw, of fls_jax.saliency.METHODS; a tile for each agent and method.

    Returns the file's path. Raises UserError for errors that the user can correct.
    """
    _check_numbers(steps, seed, fps)
    check_methods(method)
    if relative != "none" and tuple(method) != (ATTENTION,):
        raise UserError("--relative is for attention: leave it or --method out.")
    agents = load_agents(runs, step)
    if len(agents) * len(method) > MAX_AGENTS:
        raise UserError(
            f"{len(agents)} runs with {len(method)} methods are {len(agents) * len(method)} tiles; a film "
            f"shows at most {MAX_AGENTS}: leave some out."
        )
    words = [relative] * (relative != "none") + ["map"] * map_only
    words += [attention.replace(":", "-")] * (attention != TRAINED)
    words += list(method) if tuple(method) != (ATTENTION,) else []
    out = out or default_path(Path(runs[0]), agents, protocol, greedy, words)
    if out.suffix.lower() != ".mp4":
        raise UserError(f"--out is {out}; the film is an MP4 file: give a name that ends in .mp4.")
    agents = [with_attention(agent, attention, seed) for agent in agents]
    with Movie(out, fps) as movie:
        clips = _play_all(agents, steps, seed, greedy)
        pairs = [
            (agent, with_method(agent, clip, name))
            for agent, clip in zip(agents, clips, strict=True)
            for name in method
        ]
        tiles = zip(*(draw(*pair, protocol, relative, map_only) for pair in pairs), strict=True)
        with ProgressDisplay(str(out), steps, "drawing ...") as display:
            for number, row in enumerate(tiles, start=1):
                movie.add(mosaic(row))
                display.count(number, "frames")
    print(f"{out}: {steps:,} frames, {steps / fps:,.0f} s")
    return out


def with_attention(agent: Agent, name: str, seed: int) -> Agent:
    """The agent with its attention replaced. If maps of other moments are needed, it first plays a game.

    Raises UserError for a replacement that is impossible.
    """
    try:
        if check_name(name) == TRAINED:
            return agent
        reference = None
        if needs_reference(name) and agent.spec.attention is not None:
            clip = play(agent, _REFERENCE, seed + 1)
            reference = np.moveaxis(clip.observations(), 1, -1)
        return agent.with_attention(name, reference)
    except ValueError as error:
        raise UserError(f"--attention: {error}") from error


def _play_all(agents: Sequence[Agent], steps: int, seed: int, greedy: bool) -> list[Clip]:
    """Play one clip after the other, with progress."""
    names = ", ".join(f"{agent.config.variant} at step {agent.step:,}" for agent in agents)
    clips: list[Clip] = []
    with ProgressDisplay(f"{agents[0].game}, {names}", steps * len(agents), "playing ...") as display:
        for agent in agents:
            report = partial(lambda before, done: display.count(before + done, "steps"), len(clips) * steps)
            clips.append(play(agent, steps, seed, greedy, report))
    return clips


def load_agents(runs: Sequence[Path], step: int | None = None) -> list[Agent]:
    """The agents of run folders. Raises UserError if they play different games or are too many."""
    if not 1 <= len(runs) <= MAX_AGENTS:
        raise UserError(f"{len(runs)} runs were given; a film shows 1 to {MAX_AGENTS}: leave some out.")
    agents = [load_agent(run, step) for run in runs]
    for run, agent in zip(runs, agents, strict=True):
        if agent.game != agents[0].game:
            raise UserError(
                f"{runs[0]} plays {agents[0].game} and {run} plays {agent.game}; a film shows agents of one "
                "game: give runs of the same game."
            )
    return agents


def default_path(
    run: Path, agents: Sequence[Agent], protocol: Protocol, greedy: bool, more: Sequence[str] = ()
) -> Path:
    """The default path: `video/<env_step>.mp4` of the first run, with words for options that differ."""
    words = [str(agents[0].step)]
    words += [f"{len(agents)}-agents"] if len(agents) > 1 else []
    words += ["paper"] if protocol == "paper" else []
    words += ["greedy"] if greedy else []
    words += more
    return run / "video" / f"{'-'.join(words)}.mp4"


def _check_numbers(steps: int, seed: int, fps: int) -> None:
    """Raise UserError for impossible options."""
    if steps < 1:
        raise UserError(f"--steps is {steps}; it must be at least 1.")
    if not 0 <= seed < 2**31:
        raise UserError(f"--seed is {seed}; it must lie between 0 and {2**31 - 1:,}.")
    if not 1 <= fps <= 240:
        raise UserError(f"--fps is {fps}; it must lie between 1 and 240.")
