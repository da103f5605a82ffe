"""A small picture that moves: an agent's game, and beside it the same game under its saliency, over and over.

    python -m experiments.commands.picture experiments/pretrained/Pong/cnn_sparse_fls --out pong.webp

Of several agents of a game the first plays; each map is that of its agent on the first one's frames.

The same agent and options give the same bytes on the same machine with the same versions.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import cv2
import numpy as np
import tyro

from experiments.commands.command_line import run_command
from fls_jax.agent import Agent, load_agent
from fls_jax.errors import UserError
from fls_jax.film.clip import Clip
from fls_jax.film.drawing import BACKGROUND, BRIGHT, magnify, overlay, write
from fls_jax.film.playing import play
from fls_jax.film.relative import Relative, relative_attention
from fls_jax.film.views import View, largest_saliency, views
from fls_jax.process.display import ProgressDisplay, format_steps
from fls_jax.runs.files import part_of
from fls_jax.saliency.projection import SCREEN

FORMATS = (".webp", ".png")
_FACTOR, _MARGIN, _TOP = 2, 12, 34
_MOST_BYTES = 3_000_000  # what a page may be asked to load; a WebP that would be larger loses a little
_LOSSLESS, _LOSSY = 101, 75  # of cv2.IMWRITE_WEBP_QUALITY


@dataclass(frozen=True)
class Settings:
    """Write a looping picture of an agent at play: the game, and beside it the game with its saliency."""

    runs: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="RUN [RUN ...]"), tyro.conf.Positional]
    """Folders of runs or shipped agents with attention; the first plays, all look."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    """The picture: .webp (the smaller) or .png (animated PNG); an existing one is replaced."""
    step: Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="(default: the latest)")] = None
    """Checkpoint, in agent steps."""
    start: int = 0
    """Agent steps that are played before the picture begins."""
    steps: int = 150
    """Agent steps that are shown, one frame each."""
    seed: int = 1000
    """Seed of the game and of the sampled actions."""
    fps: int = 15
    """Frames a second; 15 is the speed of the game."""
    relative: Relative = "none"
    """Beside each map, also the map less its `mean` over what is shown, or less its `background`."""


def make_picture(settings: Settings) -> Path:
    """Play, draw and write the file; returns it. Raises UserError for errors that the user can correct."""
    _check(settings)
    agents = [load_agent(run, settings.step) for run in settings.runs]
    agent = agents[0]
    for each in agents:
        if each.spec.attention is None:
            raise UserError(f"{each.network} has no attention to show: name a run of another network.")
        if each.game != agent.game:
            raise UserError(f"The first agent plays {agent.game} and another {each.game}: name one game's.")
    total = settings.start + settings.steps
    try:
        settings.out.parent.mkdir(parents=True, exist_ok=True)
        with part_of(settings.out) as part:
            with ProgressDisplay(f"{agent.game}, {agent.network}", total, "playing ...") as display:
                clip = play(agent, total, settings.seed, report=lambda done: display.count(done, "steps"))
            frames = list(draw(agents, _from(clip, settings.start), settings.relative))
            part.write_bytes(_animation(settings.out.suffix.lower(), frames, settings.fps))
    except OSError as error:
        raise UserError(
            f"{settings.out} cannot be written ({error.strerror}): choose another --out."
        ) from error
    return settings.out


def draw(agents: Sequence[Agent], clip: Clip, relative: Relative = "none") -> Iterator[np.ndarray]:
    """The picture at every step, uint8 [H, W, 3] RGB: plain game to the left, then each agent's saliency."""
    clips = [clip, *(_seen_by(agent, clip) for agent in agents[1:])]
    maps = [each for pair in zip(agents, clips, strict=True) for each in _maps_of(*pair, relative)]
    if len(agents) == 1:
        maps[0] = maps[0]._replace(title=f"attention after {format_steps(agents[0].step)} steps")
    height, width = (side * _FACTOR for side in SCREEN)
    lefts = [_MARGIN + number * (width + _MARGIN) for number in range(1 + len(maps))]
    empty = np.empty((_TOP + height + _MARGIN, lefts[-1] + width + _MARGIN, 3), np.uint8)
    empty[:] = BACKGROUND
    for left, title in zip(lefts, [agents[0].game, *(each.title for each in maps)], strict=True):
        write(empty, title, (left, 23), 15, BRIGHT, bold=True)
    for now in zip(*(each.views for each in maps), strict=True):
        frame = empty.copy()
        under = [
            overlay(view.screen, view.screen_saliency, each.signed)
            for view, each in zip(now, maps, strict=True)
        ]
        for left, screen in zip(lefts, [now[0].screen, *under], strict=True):
            frame[_TOP : _TOP + height, left : left + width] = magnify(screen, _FACTOR)
        yield frame


class _Map(NamedTuple):
    title: str
    views: Iterator[View]
    signed: bool


def _maps_of(agent: Agent, clip: Clip, relative: Relative) -> list[_Map]:
    """An agent's map, and the relative one where it is asked for."""
    title = f"{agent.config.variant} after {format_steps(agent.step)} steps"
    maps = [_Map(title, views(agent, clip, maximum=largest_saliency(agent, clip)), False)]
    if relative != "none":
        less = relative_attention(clip.attention, clip.observations(), agent.spec, relative)
        clip = dataclasses.replace(clip, attention=less)
        below = {"mean": "less its mean here", "background": "less its background"}[relative]
        maps.append(_Map(below, views(agent, clip, maximum=largest_saliency(agent, clip)), True))
    return maps


def _seen_by(agent: Agent, clip: Clip) -> Clip:
    """A clip with another agent's attention on its frames."""
    return dataclasses.replace(clip, attention=agent(np.moveaxis(clip.observations(), 1, -1)).attention)


def _from(clip: Clip, start: int) -> Clip:
    """A clip without its first steps."""
    values = {each.name: getattr(clip, each.name) for each in dataclasses.fields(clip)}
    one_each = ("method", "maps") if clip.maps is None else ("method",)
    return Clip(**{name: value if name in one_each else value[start:] for name, value in values.items()})


def _animation(suffix: str, frames: Sequence[np.ndarray], fps: int) -> bytes:
    """The frames as an endless loop, lossless where that is small enough."""
    content = _encode(suffix, frames, fps, _LOSSLESS)
    if len(content) > _MOST_BYTES:
        content = _encode(suffix, frames, fps, _LOSSY)
    return content


def _encode(suffix: str, frames: Sequence[np.ndarray], fps: int, quality: int) -> bytes:
    """An animation that never ends; quality: of WebP, PNG is always lossless."""
    animation = cv2.Animation(0)
    animation.frames = [np.ascontiguousarray(frame[..., ::-1]) for frame in frames]
    animation.durations = [round(1000 / fps)] * len(frames)
    options = [cv2.IMWRITE_WEBP_QUALITY, quality] if suffix == ".webp" else []
    done, content = cv2.imencodeanimation(suffix, animation, options)
    assert done, suffix
    return content.tobytes()


def _check(settings: Settings) -> None:
    """UserError for options that cannot work."""
    if settings.out.suffix.lower() not in FORMATS:
        raise UserError(f"--out is {settings.out}; let its name end in {' or '.join(FORMATS)}.")
    for name, low, high in (
        ("start", 0, 100_000),
        ("steps", 2, 1_000),
        ("fps", 1, 50),
        ("seed", 0, 2**31 - 1),
    ):
        value = getattr(settings, name)
        if not low <= value <= high:
            raise UserError(f"--{name} is {value}; it must lie between {low:,} and {high:,}.")


def _print_picture(settings: Settings) -> None:
    path = make_picture(settings)
    size = path.stat().st_size / 1e6
    print(f"{path}: {settings.steps:,} frames, {settings.steps / settings.fps:,.0f} s, {size:.2f} MB")


def main() -> int:
    """The command line."""
    return run_command("picture", Settings, _print_picture)


if __name__ == "__main__":
    sys.exit(main())
