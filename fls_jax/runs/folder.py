"""A run is a folder: its configuration, its lock, and the names of what lies in it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
from collections.abc import Generator
from itertools import count
from pathlib import Path
from typing import Any

from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.runs.files import InUseError, is_locked, open_locked, write_whole

_SET_ASIDE = re.compile(r"\.old-\d+$")


def default_run_dir(config: TrainConfig) -> Path:
    """runs/<Game>/<network>/seed<k>, below the current folder; <network>-cost<L> where attention costs."""
    return Path("runs") / config.game / config.variant / f"seed{config.seed}"


def find_runs(root: Path) -> list[Path]:
    """The run folders at and below `root`, sorted, each once; links to folders are followed.

    Hidden folders and those that --fresh has set aside are left out. Raises UserError where `root` is no
    folder.
    """
    if not os.path.isdir(root):  # Path.is_dir raises for a name that is too long
        raise UserError(f"{root} is not a folder: name a run folder or one that holds run folders.")
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()  # links may lead in a circle
    links = [root]  # followed last, so that a folder has its own name where it is reached by both
    while links:
        for folder, subfolders, files in os.walk(links.pop(0)):
            place = os.stat(folder)
            if (place.st_dev, place.st_ino) in seen or "config.json" in files:
                subfolders.clear()
            if "config.json" in files and (place.st_dev, place.st_ino) not in seen:
                found.append(Path(folder))
            seen.add((place.st_dev, place.st_ino))
            # A copy that was cut short leaves a hidden folder behind.
            subfolders[:] = [name for name in subfolders if name[0] != "." and not _SET_ASIDE.search(name)]
            links += [Path(folder, name) for name in subfolders if os.path.islink(Path(folder, name))]
    return sorted(found)


def set_aside(path: Path, name: str | None = None) -> Path | None:
    """Rename a file or folder to `<name>.old-<n>` beside it, its own name unless given; nothing is deleted.

    Returns the new path, None where there is nothing. Raises OSError.
    """
    if not path.exists():
        return None
    stem = name or path.name
    return path.rename(next(p for n in count(1) if not (p := path.with_name(f"{stem}.old-{n}")).exists()))


class RunFolder:
    """Paths and configuration of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def config_file(self) -> Path:
        """The run's configuration and where it came from, as JSON."""
        return self.path / "config.json"

    @property
    def record_file(self) -> Path:
        """One JSON line an update."""
        return self.path / "metrics.jsonl"

    @property
    def sessions_file(self) -> Path:
        """One JSON line a session: the env_step where it began, and its code, libraries and machine.

        Older versions called the file `sittings.jsonl`; a run that has it continues in it.
        """
        file, former = self.path / "sessions.jsonl", self.path / "sittings.jsonl"
        return former if former.exists() and not file.exists() else file

    @property
    def checkpoints(self) -> Path:
        """Orbax checkpoints by env_step."""
        return self.path / "checkpoints"

    def is_locked(self) -> bool:
        """Whether a living process trains in this folder."""
        return is_locked(self.path / ".lock")

    def read_config(self) -> dict[str, Any]:
        """The content of config.json; UserError where it is missing or no JSON object."""
        try:
            values = json.loads(self.config_file.read_text())
        except FileNotFoundError as error:
            raise UserError(f"{self.path} is not a run folder: it has no config.json.") from error
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self.config_file} cannot be read ({error}): correct it or start anew with --fresh."
            ) from error
        if not isinstance(values, dict):
            raise UserError(
                f"{self.config_file} is not a JSON object: correct it or start anew with --fresh."
            )
        return values

    def write_config(self, config: TrainConfig, provenance: dict[str, Any]) -> None:
        """Write config.json whole or not at all."""
        text = json.dumps(config.to_json() | provenance, indent=2) + "\n"
        write_whole(self.config_file, text)

    def check_same(self, config: TrainConfig) -> None:
        """UserError where the folder holds a model to be used only, or a run of another configuration."""
        values = self.read_config()
        kind = next((name for name in ("an imported", "a pretrained") if name.split()[1] in values), None)
        if kind:
            raise UserError(
                f"{self.path} holds {kind} model, which cannot be trained on: give another --run-dir."
            )
        stored = TrainConfig.from_json(values, str(self.config_file))
        differences = stored.differences(config)
        if differences:
            raise UserError(
                f"{self.path} holds a run with another configuration ({'; '.join(differences)}): give the "
                "same options, another --run-dir, or --fresh to set the old folder aside."
            )


@contextlib.contextmanager
def open_run(path: Path, fresh: bool = False) -> Generator[RunFolder]:
    """The folder of a run, made if missing and locked for this process until the end of the block.

    fresh: an existing run folder is first renamed to `<name>.old-<n>`; nothing is deleted. A dead process
    holds no lock. Raises UserError where another training holds it, the folder cannot be written, or `fresh`
    is asked for a folder that is no run.
    """
    path = Path(os.path.abspath(path))  # so that `.` has a name and means the new folder after a renaming
    if path.is_symlink():  # the folder that it stands for is set aside, not the link
        target = path.resolve()
        if not target.exists():
            raise UserError(f"{path} is a link to {target}, which is not there: make it, or remove the link.")
        path = target
    try:
        path.mkdir(parents=True, exist_ok=True)
        old = fresh and _holds_something(path)
        if old and not (path / "config.json").exists():
            raise UserError(
                f"{path} is not a run folder (it has no config.json), so that --fresh does not rename it: "
                "choose another --run-dir."
            )
        lock = _lock(path)
        if old:
            set_aside(path)
            path.mkdir()
            lock.close()
            lock = _lock(path)
    except OSError as error:
        raise UserError(
            f"The run folder {path} cannot be written ({error.strerror}): choose another with --run-dir."
        ) from error
    with lock:
        yield RunFolder(path)


def _holds_something(path: Path) -> bool:
    """Whether there is more in a folder than a training leaves that ended before it began."""
    names = {entry.name for entry in path.iterdir()} - {".lock", ".lock.holder"}
    return bool(names - {"checkpoints"}) or ("checkpoints" in names and any((path / "checkpoints").iterdir()))


def _lock(path: Path) -> Any:
    try:
        file = open_locked(path / ".lock")
    except InUseError as error:
        raise UserError(
            f"Another training is running in {path} ({error.holder or 'unknown'}): wait for it, stop it, or "
            "choose another --run-dir."
        ) from error
    file.seek(0)
    file.truncate()
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    return file
