"""Batched Atari without dead transitions. No other module imports envpool.

'NoFrameskip-v4' behaviour: no sticky actions, minimal action set, up to 30 no-ops and FIRE at reset,
frame skip 4 with the pixel-wise maximum of the last two, grey 84x84 by area interpolation, 4 frames
stacked, lives as episodes. How EnvPool differs from Baselines is listed in docs/deviations.md.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from fls_jax.errors import UserError
from fls_jax.process.cores import available_cores
from fls_jax.types import EnvStep


def _atari_alone() -> tuple[Callable[..., Any], list[str]]:
    """EnvPool's `make`, and ALE's names of its Atari games.

    EnvPool's other environments stay out, since they load e.g. Matplotlib and take a second. Who wants them
    in the same process imports `envpool` first, or `envpool.entry` later.
    """
    name = "envpool.entry"  # imports every environment, and nothing else
    nothing = ModuleType(name)
    sys.modules.setdefault(name, nothing)
    try:
        import envpool
        from envpool.atari.registration import atari_game_list
    finally:
        if sys.modules[name] is nothing:
            del sys.modules[name]
    return envpool.make, atari_game_list


_make, _atari_game_list = _atari_alone()


@cache
def games() -> dict[str, str]:
    """All games: EnvPool's spelling (`MsPacman`) -> ALE's (`ms_pacman`)."""
    return {"".join(word.capitalize() for word in rom.split("_")): rom for rom in _atari_game_list}


def resolve_game(name: str) -> str:
    """EnvPool's spelling of a game named in any case, with or without a Gym-style prefix or suffix.

    `pong`, `PongNoFrameskip-v4`, `ALE/Pong-v5` -> `Pong`; `ms_pacman` -> `MsPacman`.
    Raises UserError with the nearest matches for an unknown game.
    """
    bare = re.sub(r"^ale/", "", name.strip().lower())
    bare = re.sub(r"(-ram)?(noframeskip|deterministic)?(-v\d+)?$", "", bare)
    key = re.sub(r"[^a-z0-9]", "", bare)
    known = {game.lower(): game for game in games()}
    if key in known:
        return known[key]
    near = [known[match] for match in difflib.get_close_matches(key, known, n=4, cutoff=0.6)]
    hint = f"did you mean {' or '.join(near)}?" if near else "`fls games` lists all games."
    raise UserError(f"There is no game {name!r}; {hint}")


GAME_BYTES = 1_200_000
"""Memory of one game, emulator and frames; measured on Pong."""


def note_on_name(name: str, sticky_actions: float = 0.0) -> str | None:
    """How an environment of this name differs in other libraries, as a sentence; None if it does not."""
    lower = name.strip().lower()
    notes = []
    if "-ram" in lower:
        notes.append("its observations are the emulator's memory; here they are screens")
    if not sticky_actions and (lower.startswith("ale/") or lower.endswith("-v0")):
        notes.append("its actions repeat with probability 0.25; here that takes --sticky-actions 0.25")
    return f"Note: in other libraries {name} is another environment: {'; '.join(notes)}." if notes else None


# Returns, lengths and environments when no game has ended.
_NOTHING_FINISHED = np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64)
_COLOUR_SCREEN = {"gray_scale": False, "img_height": 210, "img_width": 160, "stack_num": 1}


class _Emulators:
    """EnvPool, stepped without its Python layer, which takes 3 % of a step of 8 games."""

    def __init__(self, pool: Any) -> None:
        self.envpool = pool
        self.action_space = pool.action_space
        keys = pool._state_keys
        self._parts = [keys.index(key) for key in ("obs", "reward", "done", "trunc")]
        self._info = {key.removeprefix("info:"): i for i, key in enumerate(keys) if key.startswith("info:")}

    def reset(self, ids: np.ndarray | None = None) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Observations [k, ...] of new games, and EnvPool's info by name."""
        return self.envpool.reset(ids)

    def step(self, actions: np.ndarray, ids: np.ndarray | None = None) -> tuple[Any, ...]:
        """Send, then receive."""
        self.send(actions, ids)
        return self.receive()

    def send(self, actions: np.ndarray, ids: np.ndarray | None = None) -> None:
        """Send actions int32 [k]; EnvPool's threads play while the caller does other work."""
        ids = self.envpool.all_env_ids if ids is None else ids
        self.envpool._send([ids, ids, np.array(actions, np.int32)])  # JAX's are read-only: copy

    def receive(self) -> tuple[Any, ...]:
        """Wait for observations [k, ...], rewards, terminated, truncated, and EnvPool's info by name."""
        state = self.envpool._recv()
        observations, rewards, done, truncated = (state[part] for part in self._parts)
        info = {name: state[part] for name, part in self._info.items()}
        return observations, rewards, done & ~truncated, truncated, info


def _emulators(game: str, **options: Any) -> _Emulators:
    return _Emulators(_make(f"{game}-v5", env_type="gymnasium", **options))


class _ScreenTwin:
    """Two pools used as one: the agent's, and one that plays the same games with screens in colour.

    Seeds and calls are the same, so the games are, too. The emulators' memories are compared after each call.
    """

    def __init__(self, pool: Any, twin: Any, num_envs: int) -> None:
        self._pool, self._twin = pool, twin
        self.action_space = pool.action_space
        self.screens = np.zeros((num_envs, 210, 160, 3), np.uint8)

    def reset(self, *arguments: Any) -> tuple[Any, ...]:
        return self._see(self._pool.reset(*arguments), self._twin.reset(*arguments))

    def step(self, *arguments: Any) -> tuple[Any, ...]:
        return self._see(self._pool.step(*arguments), self._twin.step(*arguments))

    def send(self, *arguments: Any) -> None:
        self._pool.send(*arguments)
        self._twin.send(*arguments)

    def receive(self) -> tuple[Any, ...]:
        return self._see(self._pool.receive(), self._twin.receive())

    def _see(self, ours: tuple[Any, ...], twins: tuple[Any, ...]) -> tuple[Any, ...]:
        """Store the twin's screens and return the pool's own result."""
        info = twins[-1]
        if not np.array_equal(info["ram"], ours[-1]["ram"]):
            raise RuntimeError("The colour screens show another game: the two emulators differ.")
        self.screens[info["env_id"]] = np.moveaxis(twins[0], 1, -1)
        return ours


class AtariPool:
    """N games of one Atari title, stepped together, without dead transitions.

    EnvPool resets a finished environment one step late: the next step would ignore its action. Here only the
    finished environments are stepped once more within the same call. This keeps the remaining lives after a
    life loss and starts a new game after a game over. The extra steps are not counted.

    Args:
        game: its name, as resolve_game takes it.
        num_envs: N.
        seed: environment i is seeded with seed + i, or with the i-th of several.
        max_episode_steps: a whole game is cut after this many agent steps (4 frames each).
        clip_rewards: training rewards are the sign of the raw ones.
        sticky_actions: probability that the emulator repeats the last action at a frame.
        threads: EnvPool's worker threads; 0: one for each core that the process may use, at most one per
            environment.
        screens: also store the screens in colour, at the cost of a second emulator per game.

    Raises UserError for an unknown game.
    """

    def __init__(
        self,
        game: str,
        num_envs: int,
        seed: int | list[int],
        max_episode_steps: int = 27_000,
        clip_rewards: bool = True,
        sticky_actions: float = 0.0,
        threads: int = 0,
        screens: bool = False,
    ) -> None:
        game = resolve_game(game)
        self.num_envs = num_envs
        options: dict[str, Any] = {
            "num_envs": num_envs,
            "seed": seed,
            "num_threads": threads or min(num_envs, available_cores()),
            "max_episode_steps": max_episode_steps,
            "episodic_life": True,
            "reward_clip": clip_rewards,
            "repeat_action_probability": sticky_actions,
            "full_action_space": False,
            "noop_max": 30,
            "use_fire_reset": True,
            "frame_skip": 4,
        }
        self._pool: Any = _emulators(game, stack_num=4, **options)
        if screens:
            self._pool = _ScreenTwin(self._pool, _emulators(game, **options, **_COLOUR_SCREEN), num_envs)
        self.num_actions = int(self._pool.action_space.n)
        self._lives = np.zeros(num_envs, np.int32)
        self._returns = np.zeros(num_envs)
        self._lengths = np.zeros(num_envs, np.int64)
        self._ram = np.zeros((num_envs, 128), np.uint8)

    def reset(self) -> np.ndarray:
        """Restart every game: observations uint8 [N, 4, 84, 84], oldest frame first."""
        observations, info = self._pool.reset()
        self._lives, self._ram = info["lives"].copy(), info["ram"].copy()
        self._returns[:] = 0.0
        self._lengths[:] = 0
        return observations

    @property
    def screens(self) -> np.ndarray:
        """The native screens of the newest frames of the observations: uint8 [N, 210, 160, 3], RGB.

        Each is the pixel-wise maximum of the same two frames, in colour. Screens of another height (a few
        games) are resized. Raises ValueError for a pool made without `screens`.
        """
        if not isinstance(self._pool, _ScreenTwin):
            raise ValueError("This pool has no colour screens: make it with screens=True.")
        return self._pool.screens.copy()

    @property
    def ram(self) -> np.ndarray:
        """The emulators' memories at the newest frames of the observations: uint8 [N, 128]."""
        return self._ram.copy()

    @property
    def new_games(self) -> np.ndarray:
        """Games that have just begun and had no step: bool [N]."""
        return self._lengths == 0

    def step(self, actions: np.ndarray) -> EnvStep:
        """Act in every environment: int [N] -> EnvStep, all of whose observations await an action.

        A life loss or game over terminates; reaching the limit alone truncates.
        """
        self.send(actions)
        return self.receive()

    def send(self, actions: np.ndarray) -> None:
        """The first half of a step: send the actions; the games run while the caller does other work."""
        self._pool.send(actions)

    def receive(self) -> EnvStep:
        """The second half of a step: wait for the results of the actions sent."""
        # 1. Count the step. In most steps no environment has finished.
        observations, rewards, terminated, truncated, info = self._pool.receive()
        self._returns += info["reward"]
        self._lengths += 1
        self._ram = info["ram"]
        if not (terminated.any() or truncated.any()):
            self._lives = info["lives"]
            return EnvStep(observations, rewards, terminated, truncated, None, *_NOTHING_FINISHED)
        # 2. Why environments have finished: a life lost, a game over, or only the time limit.
        game_over = info["terminated"].astype(bool)
        life_lost = info["lives"] < self._lives
        self._lives = info["lives"]
        done = terminated | truncated
        game_ended = game_over | truncated
        truncated = truncated & ~game_over & ~life_lost
        # 3. Keep the last real observations for the values after a truncation, then reset what has finished.
        final = observations.copy() if truncated.any() else None
        ids = np.flatnonzero(done).astype(np.int32)
        game_ended[ids] |= self._revive(ids, observations, game_ended[ids])
        # 4. Report the whole games that ended, and start counting new ones.
        returns, lengths = self._returns[game_ended].copy(), self._lengths[game_ended].copy()
        self._returns[game_ended] = 0.0
        self._lengths[game_ended] = 0
        ended = np.flatnonzero(game_ended)
        return EnvStep(observations, rewards, done & ~truncated, truncated, final, returns, lengths, ended)

    def _revive(self, ids: np.ndarray, observations: np.ndarray, game_ended: np.ndarray) -> np.ndarray:
        """Start the next life or game of the finished `ids`, in place. Returns bool [k]: ended games.

        In rare cases the no-ops that EnvPool plays after a life loss end the game without a signal. The
        number of lives then rises, and that environment is started again.
        """
        first, _, _, _, info = self._pool.step(np.zeros(len(ids), np.int32), ids)
        restarted = ~game_ended & (info["lives"] > self._lives[ids])
        observations[ids] = first
        self._lives[ids] = info["lives"]
        self._ram = self._ram.copy()  # EnvPool owns this array
        self._ram[ids] = info["ram"]
        if restarted.any():
            anew = ids[restarted]
            observations[anew], info = self._pool.reset(anew)
            self._lives[anew], self._ram[anew] = info["lives"], info["ram"]
        return restarted

    def close(self) -> None:
        """Stop EnvPool's threads, which end with the pool itself."""
        self._pool = None
