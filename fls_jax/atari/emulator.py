"""The emulator itself, for information that EnvPool does not give. No other module imports ale_py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ale_py import Action, ALEInterface, LoggerMode, roms

ALEInterface.setLoggerMode(LoggerMode.Error)


def action_names(rom: str) -> tuple[str, ...]:
    """ALE's names of a game's minimal action set, in the order of the action indices.

    rom: ALE's name of the game (`ms_pacman`). EnvPool numbers its actions in the same order.
    Raises ValueError for an unknown game.
    """
    emulator = ALEInterface()
    emulator.loadROM(_rom_path(rom))
    return tuple(action.name for action in emulator.getMinimalActionSet())


def _rom_path(rom: str) -> Path:
    path = roms.get_rom_path(rom)
    if path is None:
        raise ValueError(f"ALE has no game {rom!r}.")
    return path


class EmulatedGame:
    """One game on the emulator, with the preprocessing of EnvPool: seed and actions give the same frames.

    That is 'NoFrameskip-v4' behaviour with lives as episodes: 0 to 29 no-ops and FIRE before every life
    (1 to 30 no-ops where a game has no FIRE), 4 frames an action of which the last two are maximised in
    grey, 84x84 by area, a stack of 4.

    Args:
        rom: ALE's name of the game.
        seed: of the emulator and of the numbers of no-ops.
        max_steps: a whole game is cut after this many actions.
        sticky_actions: probability that the emulator repeats the last action at a frame.
    """

    def __init__(self, rom: str, seed: int, max_steps: int = 27_000, sticky_actions: float = 0.0) -> None:
        self._ale = ALEInterface()
        self._ale.setFloat("repeat_action_probability", sticky_actions)
        self._ale.setInt("random_seed", seed)
        self._ale.loadROM(_rom_path(rom))
        self._actions = self._ale.getMinimalActionSet()
        self._random = np.random.RandomState(seed)  # the Mersenne twister of C++'s std::mt19937
        self._max_steps = max_steps
        self._steps = max_steps
        self._stack = np.zeros((4, 84, 84), np.uint8)

    @property
    def num_actions(self) -> int:
        """Size of the minimal action set."""
        return len(self._actions)

    def start(self) -> bool:
        """Begin the next life, or a new game after a game over. Returns whether the game ended in the no-ops.

        Rewards during the no-ops are dropped, as in EnvPool.
        """
        new_game = self._ale.game_over() or self._steps >= self._max_steps
        if new_game:
            self._ale.reset_game()
        fires = Action.FIRE in self._actions
        died = False
        for _ in range(self._draw(30) + (not fires)):
            self._frame(Action.NOOP)
            if self._ale.game_over():
                self._ale.reset_game()
                died = True
        if fires:
            self._frame(Action.FIRE)
        if new_game or died:
            self._steps = 0
        self._see(self._ale.getScreenGrayscale(), everywhere=new_game or died)
        return died and not new_game

    def act(self, action: int) -> tuple[float, bool, bool]:
        """One agent step: (raw reward, whether the life ended, whether the game ended or was cut)."""
        lives, reward, screens = self._ale.lives(), 0.0, []
        for number in range(4):
            reward += self._frame(self._actions[action])
            if number >= 2:
                screens.append(self._ale.getScreenGrayscale())
            if self._ale.game_over():
                break
        self._steps += 1
        ended = self._ale.game_over() or self._steps >= self._max_steps
        if not ended:
            self._see(np.maximum(*screens))
        return reward, ended or 0 < self._ale.lives() < lives, ended

    @property
    def is_over(self) -> bool:
        """Whether the game is over, not only cut at its limit."""
        return self._ale.game_over()

    def observation(self) -> np.ndarray:
        """The stack: uint8 [4, 84, 84], oldest frame first."""
        return self._stack

    def _frame(self, action: Action) -> float:
        return self._ale.act(action)

    def _see(self, screen: np.ndarray, everywhere: bool = False) -> None:
        import cv2  # training needs this module's lists, and may be without OpenCV

        small = cv2.resize(screen, (84, 84), interpolation=cv2.INTER_AREA)
        self._stack = np.concatenate([self._stack[1:], small[None]])
        if everywhere:
            self._stack[:] = small

    def _draw(self, count: int) -> int:
        """A number below `count` from the next 32 bits, as libstdc++'s uniform_int_distribution maps them."""
        return int(self._random.randint(2**32, dtype=np.uint32)) * count >> 32


class InfiniteBreakout(EmulatedGame):
    """Breakout whose wall is always rebuilt (Nikulin et al. 2019, BreakoutInfinite).

    The game builds its second wall at a score of 432, and no other after 864. When the score reaches 864, it
    is overwritten with 432; the game continues, and the return keeps growing.
    """

    _SCORE = (76, 77)  # in binary-coded decimals: hundreds, then tens and units

    def __init__(self, seed: int, max_steps: int = 27_000, sticky_actions: float = 0.0) -> None:
        super().__init__("breakout", seed, max_steps, sticky_actions)
        self._owed = 0.0

    def _frame(self, action: Action) -> float:
        # The reward is the difference of two scores, so overwriting costs 432 at the next frame.
        reward = super()._frame(action) + self._owed
        self._owed = 0.0
        if [self._ale.getRAM()[place] for place in self._SCORE] == [0x08, 0x64]:
            for place, value in zip(self._SCORE, (0x04, 0x32), strict=True):
                self._ale.setRAM(place, value)
            self._owed = 432.0
        return reward


class InfiniteBreakoutPool:
    """N games of BreakoutInfinite, stepped by environment number.

    Args:
        num_envs: N.
        seed: environment i is seeded with seed + i.
        max_episode_steps: a game is cut after this many agent steps.
        sticky_actions: probability that the emulator repeats the last action at a frame.
    """

    def __init__(self, num_envs: int, seed: int, max_episode_steps: int, sticky_actions: float = 0.0) -> None:
        self._games = [InfiniteBreakout(seed + i, max_episode_steps, sticky_actions) for i in range(num_envs)]
        self.num_actions = self._games[0].num_actions

    def reset(self) -> np.ndarray:
        """Start every game: observations uint8 [N, 4, 84, 84], oldest frame first."""
        for game in self._games:
            game.start()
        return np.stack([game.observation() for game in self._games])

    def advance(
        self, actions: np.ndarray, ids: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Act in environments `ids`, int [k] and int [k]; the others idle.

        Returns the next observations uint8 [k, 4, 84, 84], raw rewards float64 [k], and two arrays bool [k]:
        games that ended or were cut, and games that were only cut by the limit.
        """
        rewards = np.zeros(len(ids))
        ended, cut = np.zeros(len(ids), bool), np.zeros(len(ids), bool)
        for place, (action, number) in enumerate(zip(actions.tolist(), ids.tolist(), strict=True)):
            game = self._games[number]
            rewards[place], life_ended, ended[place] = game.act(action)
            cut[place] = ended[place] and not game.is_over
            if life_ended:
                ended[place] |= game.start()
        return np.stack([self._games[number].observation() for number in ids]), rewards, ended, cut

    def close(self) -> None:
        """Release the emulators."""
        self._games = []
