"""A run is a folder: its configuration, its lock, and the names of its files."""

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
    """runs/<Game>/<network>/seed<k> below the current folder; <network>-cost<L> if attention costs."""
    return Path("runs") / config.game / config.variant / f"seed{config.seed}"


def find_runs(root: Path) -> list[Path]:
    """The run folders at and below `root`, sorted, without repetitions. Links to folders are followed.

    Hidden folders and folders renamed by --fresh are left out. Raises UserError if `root` is not a folder.
    """
    if not os.path.isdir(root):  # Path.is_dir raises for a name that is too long
        raise UserError(f"{root} is not a folder: name a run folder or a folder that holds run folders.")
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()  # links may lead in a circle
    links = [root]  # followed last: a folder also found without a link keeps its own path
    while links:
        for folder, subfolders, files in os.walk(links.pop(0)):
            place = os.stat(folder)
            if (place.st_dev, place.st_ino) in seen or "config.json" in files:
                subfolders.clear()
            if "config.json" in files and (place.st_dev, place.st_ino) not in seen:
                found.append(Path(folder))
            seen.add((place.st_dev, place.st_ino))
            # An interrupted copy leaves a hidden folder.
            subfolders[:] = [name for name in subfolders if name[0] != "." and not _SET_ASIDE.search(name)]
            links += [Path(folder, name) for name in subfolders if os.path.islink(Path(folder, name))]
    return sorted(found)


def set_aside(path: Path, name: str | None = None) -> Path | None:
    """Rename a file or folder to `<name>.old-<n>` in the same folder. `name`: its own name by default.

    Returns the new path, or None if `path` does not exist. Raises OSError.
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
        """The run's configuration, code, libraries and machine, as JSON."""
        return self.path / "config.json"

    @property
    def record_file(self) -> Path:
        """One JSON line per update."""
        return self.path / "metrics.jsonl"

    @property
    def sessions_file(self) -> Path:
        """One JSON line per session: the env_step where it began, its code, libraries and machine.

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
        """The content of config.json. Raises UserError if it is missing or not a JSON object."""
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
        """Write config.json atomically."""
        text = json.dumps(config.to_json() | provenance, indent=2) + "\n"
        write_whole(self.config_file, text)

    def check_same(self, config: TrainConfig) -> None:
        """Raise UserError if the folder holds an imported or shipped model, or another configuration."""
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
                "same options, another --run-dir, or --fresh to rename the old folder."
            )


@contextlib.contextmanager
def open_run(path: Path, fresh: bool = False) -> Generator[RunFolder]:
    """The folder of a run, created if missing and locked for this process until the end of the block.

    fresh: an existing run folder is first renamed to `<name>.old-<n>`; nothing is deleted. A lock ends with
    its process. Raises UserError if another training holds it, the folder cannot be written, or `fresh` is
    given for a folder that is not a run.
    """
    path = Path(os.path.abspath(path))  # gives `.` a name, which means the new folder after a renaming
    if path.is_symlink():  # --fresh renames the folder, not the link
        target = path.resolve()
        if not target.exists():
            raise UserError(f"{path} links to {target}, which does not exist: create it, or remove the link.")
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
    """Whether a folder holds more than the files that a training creates before its first update."""
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
