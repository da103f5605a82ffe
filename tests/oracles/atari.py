"""'NoFrameskip-v4' Atari with lives as episodes, straight on the emulator (ale-py), one game at a time.

EnvPool's own choices are followed where docs/deviations.md names them: single no-op frames and one frame
of FIRE at each reset, grey before the maximum, four copies of the first frame after a game's start. How
many no-ops were pressed only EnvPool knows; it is found from the RAM that the reset left behind.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from ale_py import Action, ALEInterface, LoggerMode, roms

NOOP, FIRE = 0, 1
FRAME_SKIP, STACK, MAX_NOOPS = 4, 4, 30
SCREEN = (210, 160)


class Outcome(NamedTuple):
    """reward: raw. stack: uint8 [4, 84, 84], its last frame of no meaning where the game is over.

    ended: the life or the game. game_over: the whole game.
    """

    reward: int
    stack: np.ndarray
    ended: bool
    game_over: bool


class ReferenceGame:
    """One game. action_names: ALE's names in the order of the action indices. seed: the emulator's."""

    def __init__(self, rom: str, action_names: tuple[str, ...], seed: int) -> None:
        ALEInterface.setLoggerMode(LoggerMode.Error)
        self._ale = ALEInterface()
        self._ale.setFloat("repeat_action_probability", 0.0)
        self._ale.setInt("random_seed", seed)
        self._ale.loadROM(str(roms.get_rom_path(rom)))
        self._actions = [getattr(Action, name) for name in action_names]
        self._stack = np.zeros((STACK, 84, 84), np.uint8)

    @property
    def ram(self) -> np.ndarray:
        """uint8 [128]."""
        return self._ale.getRAM()

    def start_game(self, ram: np.ndarray) -> np.ndarray:
        """A new game, up to the state that `ram` shows: the stack, four copies of one frame."""
        self._ale.reset_game()
        self._press_noops(ram)
        self._stack[:] = _small(self._ale.getScreenGrayscale())
        return self._stack.copy()

    def start_life(self, ram: np.ndarray) -> np.ndarray:
        """The next life of the same game, up to the state that `ram` shows: the stack, rolled on."""
        self._press_noops(ram)
        return self._push(self._ale.getScreenGrayscale())

    def act(self, action: int) -> Outcome:
        """Four frames of one action, or fewer where the game ends."""
        lives, reward, picture = self._ale.lives(), 0, np.zeros(SCREEN, np.uint8)
        for frame in range(FRAME_SKIP):
            reward += self._ale.act(self._actions[action])
            if frame >= FRAME_SKIP - 2:
                picture = np.maximum(picture, self._ale.getScreenGrayscale())
            if self._ale.game_over():
                break
        over = self._ale.game_over()
        return Outcome(int(reward), self._push(picture), over or 0 < self._ale.lives() < lives, over)

    def _press_noops(self, ram: np.ndarray) -> None:
        fires = Action.FIRE in self._actions
        for _ in range(MAX_NOOPS + 1):
            before = self._ale.cloneState()
            if fires:
                self._ale.act(FIRE)
            if np.array_equal(self._ale.getRAM(), ram):
                return
            self._ale.restoreState(before)
            self._ale.act(NOOP)
        raise AssertionError("No number of no-ops leads from this game to that RAM.")

    def _push(self, picture: np.ndarray) -> np.ndarray:
        self._stack = np.concatenate([self._stack[1:], _small(picture)[None]])
        return self._stack.copy()


def _small(picture: np.ndarray) -> np.ndarray:
    return cv2.resize(picture, (84, 84), interpolation=cv2.INTER_AREA)
