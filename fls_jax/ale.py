"""The emulator itself, for what EnvPool does not tell. The only file that imports ale_py."""

from __future__ import annotations

from ale_py import ALEInterface, LoggerMode, roms


def action_names(rom: str) -> tuple[str, ...]:
    """ALE's names of a game's minimal action set, in the order of the action indices.

    rom: ALE's name of the game (`ms_pacman`). EnvPool numbers its actions in the same order.
    """
    ALEInterface.setLoggerMode(LoggerMode.Error)
    emulator = ALEInterface()
    emulator.loadROM(roms.get_rom_path(rom))
    return tuple(action.name for action in emulator.getMinimalActionSet())
