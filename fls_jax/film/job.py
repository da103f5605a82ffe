"""The film of an agent at play: game and input side by side, saliency over both, numbers below.

The film takes two passes, because every frame is scaled by the maximum over the whole clip: first the agents
play, then the frames are drawn. Between the passes screens are kept compressed (1 to 4 kB of 100), so that a
long clip takes little memory; playing again would cost a second emulation.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from fls_jax.agent import Agent, load_agent
from fls_jax.atari.pool import AtariPool
from fls_jax.errors import UserError
from fls_jax.film.clip import Clip
from fls_jax.film.drawing import AgentTile, colours, mosaic, overlay
from fls_jax.film.methods import ATTENTION, check_methods, with_method
from fls_jax.film.movie import Movie
from fls_jax.film.relative import SCALE_NAMES, Relative, relative_attention
from fls_jax.networks.replacement import TRAINED, check_name, needs_reference
from fls_jax.process.display import ProgressDisplay
from fls_jax.saliency.projection import DEAD, Protocol, project, share_of, to_screen

MAX_AGENTS = 16  # 4 x 4 tiles just fit what decoders of H.264 must take (level 5.1)
_BLOCK = 64
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
    names = ", ".join(f"{agent.network} at step {agent.step:,}" for agent in agents)
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


def play(
    agent: Agent,
    steps: int,
    seed: int,
    greedy: bool = False,
    report: Callable[[int], None] = lambda done: None,
) -> Clip:
    """Let an agent play `steps` agent steps under its training's rules: lives, sticky actions, time limit.

    report: called after each step with the number of steps done. Raises UserError if the agent's game has
    another number of actions or its network's output is not finite.
    """
    config = agent.config
    pool = AtariPool(
        agent.game,
        1,
        seed,
        max_episode_steps=config.max_episode_steps,
        clip_rewards=False,
        sticky_actions=config.sticky_actions,
        threads=1,
        screens=True,
    )
    if pool.num_actions != len(agent.actions):
        raise UserError(f"{agent} has {len(agent.actions)} actions and the game has {pool.num_actions}.")
    random = np.random.default_rng(seed)
    screens, inputs, rows = [], [], []
    attention: np.ndarray | None = None
    observations, game_return, game = pool.reset(), 0.0, 1
    for t in range(steps):
        output = agent(np.moveaxis(observations, 1, -1))
        logits, value = output.logits[0].astype(np.float64), float(output.value[0])
        if not (np.isfinite(logits).all() and np.isfinite(output.attention).all() and np.isfinite(value)):
            raise UserError(
                f"The output of {agent} is not finite at step {t} of the clip; choose another --step."
            )
        if attention is None:
            attention = np.empty((steps, *output.attention.shape[1:]), np.float32)
        attention[t] = output.attention[0]
        screens.append(zlib.compress(pool.screens[0].tobytes(), 1))
        inputs.append(zlib.compress(observations[0].tobytes(), 1))
        noise = (
            0.0 if greedy else random.gumbel(size=len(logits))
        )  # the index of the largest sum is a sample of the softmax
        action = int(np.argmax(logits + noise))
        memory = pool.ram[0]
        played = pool.step(np.array([action], np.int32))
        reward = float(played.rewards[0])
        ended = bool(played.terminated[0] or played.truncated[0])
        rows.append((logits, value, entropy(logits), action, game_return, game, reward, ended, memory))
        observations = played.observations
        over = len(played.finished_returns) > 0
        game_return, game = (0.0, game + 1) if over else (game_return + reward, game)
        report(t + 1)
    pool.close()
    assert attention is not None
    logits, values, entropies, actions, returns, games, rewards, ends, ram = map(
        np.array, zip(*rows, strict=True)
    )
    return Clip(
        screens, inputs, attention, logits, values, entropies, actions, returns, games, rewards, ends, ram
    )


def entropy(logits: np.ndarray) -> float:
    """Entropy in nats of softmax(logits), float64 [A]."""
    shifted = logits - logits.max()
    log_sum = np.log(np.exp(shifted).sum())
    return float(log_sum - (np.exp(shifted - log_sum) * shifted).sum())


def draw(
    agent: Agent,
    clip: Clip,
    protocol: Protocol = "aligned",
    relative: Relative = "none",
    map_only: bool = False,
) -> Iterator[np.ndarray]:
    """The agent's tile at every step: uint8 [H, W, 3], saliency as a share of its maximum in the clip."""
    if relative != "none":
        less = relative_attention(clip.attention, clip.observations(), agent.spec, relative)
        clip = dataclasses.replace(clip, attention=less)
    maximum, signed = largest_saliency(agent, clip, protocol), relative != "none"
    if maximum is not None and maximum < DEAD and not signed and clip.maps is None:
        print(f"Note: the attention of {agent} has died; its saliency is below {DEAD:g} and is not drawn.")
    facts = (agent.game, f"seed {agent.config.seed}", f"{agent.step:,} steps")
    facts += () if agent.attention == TRAINED else (f"attention {agent.attention}",)
    facts += () if clip.method == ATTENTION else (clip.method,)
    tile = AgentTile(agent.config.variant, facts, maximum, SCALE_NAMES[relative], signed)
    for t, view in enumerate(views(agent, clip, protocol, maximum)):
        numbers = (
            f"{value:z.2f}" if abs(value := clip.values[t]) < 100 else f"{value:,.0f}",
            f"{clip.entropies[t]:z.2f}",
            agent.actions[clip.actions[t]],
            f"{clip.returns[t]:,.0f}",
            f"{clip.games[t]:,}",
            f"{t:,}",
        )
        if map_only:
            pictures = view.screen, colours(view.saliency, signed)
        else:
            screen = overlay(view.screen, view.screen_saliency, signed)
            pictures = screen, overlay(view.seen, view.saliency, signed)
        yield tile.draw(*pictures, numbers)


class View(NamedTuple):
    """One step of a clip.

    screen: uint8 [210, 160, 3], RGB. seen: uint8 [84, 84], the newest of the agent's four frames.
    saliency: float32 [84, 84], on the input; screen_saliency: float32 [210, 160]; shares of a maximum.
    """

    screen: np.ndarray
    seen: np.ndarray
    saliency: np.ndarray
    screen_saliency: np.ndarray


def views(
    agent: Agent, clip: Clip, protocol: Protocol = "aligned", maximum: float | None = None
) -> Iterator[View]:
    """The pictures of a clip, step by step. maximum: the saliency drawn as 1 (None or 0: not scaled)."""
    steps = len(clip.screens)
    blocks = _maps(agent, clip, protocol)
    for start in range(0, steps, _BLOCK):
        maps = share_of(next(blocks), maximum)
        on_screen = np.asarray(_to_screen(maps))
        for t in range(start, min(start + _BLOCK, steps)):
            seen = clip.observation(t)[-1]
            yield View(clip.screen(t), seen, maps[t - start], on_screen[t - start])


def largest_saliency(agent: Agent, clip: Clip, protocol: Protocol = "aligned") -> float | None:
    """The largest absolute value of a pixel in a clip; None for a network without attention."""
    if clip.maps is None and agent.spec.attention is None:
        return None
    return max(float(np.abs(maps).max()) for maps in _maps(agent, clip, protocol))


def _maps(agent: Agent, clip: Clip, protocol: Protocol) -> Iterator[np.ndarray]:
    """Saliency on the input in blocks float32 [64, 84, 84]; after the clip's end it is 0."""
    source = clip.attention if clip.maps is None else clip.maps
    for start in range(0, len(source), _BLOCK):
        block = source[start : start + _BLOCK]
        block = np.pad(block, ((0, _BLOCK - len(block)), (0, 0), (0, 0)))  # one shape, one compilation
        yield block if clip.maps is not None else np.asarray(_project(block, agent.spec, protocol))


_project = jax.jit(project, static_argnums=(1, 2))
_to_screen = jax.jit(to_screen)


def _check_numbers(steps: int, seed: int, fps: int) -> None:
    """Raise UserError for impossible options."""
    if steps < 1:
        raise UserError(f"--steps is {steps}; it must be at least 1.")
    if not 0 <= seed < 2**31:
        raise UserError(f"--seed is {seed}; it must lie between 0 and {2**31 - 1:,}.")
    if not 1 <= fps <= 240:
        raise UserError(f"--fps is {fps}; it must lie between 1 and 240.")
