"""The emulator itself, for what EnvPool does not tell. The only file that imports ale_py."""

from __future__ import annotations

from ale_py import ALEInterface, LoggerMode, roms


def action_names(rom: str) -> tuple[str, ...]:
    """ALE's names of a game's minimal action set, in the order of the action indices.

    rom: ALE's name of the game (`ms_pacman`); ValueError for one that it does not have. EnvPool numbers
    its actions in the same order.
    """
    ALEInterface.setLoggerMode(LoggerMode.Error)
    path = roms.get_rom_path(rom)
    if path is None:
        raise ValueError(f"ALE has no game {rom!r}.")
    emulator = ALEInterface()
    emulator.loadROM(path)
    return tuple(action.name for action in emulator.getMinimalActionSet())
