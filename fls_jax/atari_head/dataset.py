"""Finds the trials of Atari-HEAD in a folder, of either release, packed or unpacked.

Layout and metadata are recognised separately: v1's flat folder may hold v4's ``meta_data.csv``. Known
layouts: ``<trial>_<run id>_<date>.tar.bz2`` beside ``<same>.txt`` in the folder itself (v1); the same pairs
in ``<game>.zip`` or in a folder ``<game>``, with a folder ``highscore`` inside (v4); and in place of any
archive the folder of PNGs that it unpacks to.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from fls_jax.atari_head.archives import Source
from fls_jax.atari_head.metadata import (
    GAMES,
    NOTHING_KNOWN,
    Metadata,
    Recording,
    Release,
    TrialFilter,
    canonical_game,
    parse_metadata,
)
from fls_jax.atari_head.scan import STEM, Found, scan_folder, scan_zip
from fls_jax.atari_head.text import encoding_of
from fls_jax.errors import UserError

_DEPTH = 4  # root / game / highscore / trial / the archive's own folder
_MAX_METADATA_BYTES = 1 << 24


@dataclass(frozen=True)
class Trial:
    """One recording: the locations of its pictures and gaze, which are not read yet.

    Attributes:
        id: the trial's number in the data set.
        name: ``<trial>_<run id>_<date>``.
        game: EnvPool's spelling; None if neither the folder nor the metadata names one.
        highscore: whether it belongs to the highscore part.
        layout: the release whose layout it was found in.
        frames: its archive or folder of PNGs, None if there is none.
        gaze: its text file, None if there is none.
        frames_in_metadata: its number of frames in ``meta_data.csv``, None if it is not given.
        recording: details of the recording in ``meta_data.csv``.
    """

    id: int
    name: str
    game: str | None
    highscore: bool
    layout: Release
    frames: Source | None
    gaze: Source | None
    frames_in_metadata: int | None
    recording: Recording = NOTHING_KNOWN


@dataclass(frozen=True)
class Dataset:
    """The trials found in a folder, by trial number.

    Attributes:
        root: the folder (or the zip) that was searched.
        layout: the release whose layout was found; ``mixed`` if there are trials in both layouts.
        metadata_release: the release whose ``meta_data.csv`` was found, None without one.
        trials: all trials, of all games.
        problems: sentences for the user on files that cannot be used.
    """

    root: Path
    layout: Release | Literal["mixed"]
    metadata_release: Release | None
    trials: tuple[Trial, ...]
    problems: tuple[str, ...]

    def games(self) -> dict[str, int]:
        """Games found, as EnvPool spells them, with their numbers of trials, in alphabetical order."""
        return dict(sorted(Counter(trial.game for trial in self.trials if trial.game).items()))

    def filtered(self, rule: TrialFilter) -> Dataset:
        """The trials that pass a filter. `problems` names the trials that are left out.

        Raises:
            UserError: no trial is left.
        """
        reasons = {trial.id: rule.reason(trial.recording) for trial in self.trials}
        kept = tuple(trial for trial in self.trials if reasons[trial.id] is None)
        left_out = [f"{number} ({reason})" for number, reason in reasons.items() if reason]
        if not left_out:
            return self
        if not kept:
            raise UserError(f"The filters leave no trial of {self.root}: {'; '.join(left_out[:5])} ...")
        return replace(self, trials=kept, problems=(f"left out: {', '.join(left_out)}", *self.problems))

    def select(self, game: str, ids: Iterable[int] | None = None) -> tuple[Trial, ...]:
        """Trials of `game` (any spelling), by number; with `ids`, only these.

        Raises:
            UserError: no trial of the game (the message lists the games found), or an id of another game.
        """
        name = canonical_game(game) or game
        trials = {trial.id: trial for trial in self.trials if trial.game == name}
        if not trials:
            found = ", ".join(f"{game} ({count})" for game, count in self.games().items()) or "no game"
            why = "" if name in GAMES else f" (Atari-HEAD has no {name})"
            raise UserError(
                f"{self.root} has no Atari-HEAD trials of {name}{why}; games and trials found: {found}"
            )
        if ids is None:
            return tuple(trials.values())
        ids = list(dict.fromkeys(ids))
        if missing := [str(number) for number in ids if number not in trials]:
            known = ", ".join(map(str, trials))
            raise UserError(f"{self.root} has no trial {', '.join(missing)} of {name}; it has {known}")
        return tuple(trials[number] for number in sorted(ids))


def open_dataset(path: str | os.PathLike[str]) -> Dataset:
    """Find the trials in `path`: the folder of a release, one game's folder, or one game's zip.

    Only names are read. Unreadable files become problems, or trials that fail later without affecting others.

    Raises:
        UserError: no such folder, no trial in it, or a ``meta_data.csv`` of neither release.
    """
    root = Path(path)
    if not os.path.exists(root):  # Path.exists raises for a name that is too long
        raise UserError(f"no such folder: {root}; give the folder that Atari-HEAD was downloaded to")
    inside_game = root.is_file() or (canonical_game(root.name) and not (root / "meta_data.csv").exists())
    metadata = _read_metadata(root.parent if inside_game else root)
    problems = list(metadata.problems if metadata else ())
    if root.is_file():
        found = list(scan_zip(root, (root.stem,), problems))
    else:
        found = list(scan_folder(root, (root.name,) if inside_game else (), problems, _DEPTH))
    trials = _unique(
        (_with_metadata(trial, metadata, problems) for trial in _pair(found, problems)), problems
    )
    if not trials:
        hint = f" ({'; '.join(problems[:3])})" if problems else ""
        raise UserError(
            f"no Atari-HEAD trials in {root}{hint}: expected <trial>_<run id>_<date>.tar.bz2 with its .txt, "
            "in the folder itself, in <game>.zip or in a folder <game>"
        )
    layouts = {trial.layout for trial in trials}
    unplaced = [str(trial.id) for trial in trials if trial.game is None]
    if unplaced:
        problems.append(
            f"no folder and no row of meta_data.csv says which game these trials are: {', '.join(unplaced)}"
        )
    layout = layouts.pop() if len(layouts) == 1 else "mixed"
    return Dataset(root, layout, metadata.release if metadata else None, trials, tuple(problems))


def _read_metadata(folder: Path) -> Metadata | None:
    path = folder / "meta_data.csv"
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_METADATA_BYTES)
            return parse_metadata(content.decode(encoding_of(content), errors="replace"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be used: {error}") from error


def _pair(found: list[Found], problems: list[str]) -> Iterator[Trial]:
    """Match pictures and gaze files: archives by name, folders of PNGs by run id."""
    texts = {(item.folders, item.stem): item for item in found if item.source.kind == "text"}
    used = set()
    for item in found:
        if item.source.kind == "tar":
            text = texts.get((item.folders, item.stem))
            used.add((item.folders, item.stem))
            yield _trial(item.stem, item.folders, item.source, text.source if text else None)
    for item in found:
        if item.source.kind == "folder":
            owner = next((text for text in texts.values() if _is_gaze_of(text, item)), None)
            stem = owner.stem if owner else next(filter(STEM.fullmatch, reversed(item.folders)), None)
            if stem is None:
                problems.append(f"{item.source} holds pictures of run {item.stem}, which no gaze file names")
            else:
                folders = owner.folders if owner else item.folders[:-1]
                used.add((folders, stem))
                yield _trial(stem, folders, item.source, owner.source if owner else None)
    for key, text in texts.items():
        if key not in used:
            yield _trial(text.stem, text.folders, None, text.source)


def _is_gaze_of(text: Found, pictures: Found) -> bool:
    above = pictures.folders[: len(text.folders)] == text.folders
    return above and f"{text.stem.partition('_')[2]}_".startswith(f"{pictures.stem}_")


def _trial(stem: str, folders: tuple[str, ...], frames: Source | None, gaze: Source | None) -> Trial:
    game = next(filter(None, map(canonical_game, reversed(folders))), None)
    highscore = any(folder.lower().endswith("highscore") for folder in folders)
    layout: Release = "v4" if folders else "v1"
    return Trial(int(stem.partition("_")[0]), stem, game, highscore, layout, frames, gaze, None)


def _with_metadata(trial: Trial, metadata: Metadata | None, problems: list[str]) -> Trial:
    """Complete a trial from the metadata. A folder that names the game has priority over the metadata."""
    row = metadata.rows.get(trial.id) if metadata else None
    if row is None:
        return trial
    if trial.game not in (None, row.game):
        problems.append(
            f"trial {trial.id} lies with {trial.game}, but meta_data.csv says {row.game}; left there"
        )
        return trial
    highscore = trial.highscore or row.highscore
    return replace(
        trial,
        game=row.game,
        highscore=highscore,
        frames_in_metadata=row.frames,
        recording=row.recording,
    )


def _unique(trials: Iterable[Trial], problems: list[str]) -> tuple[Trial, ...]:
    """One trial per number, preferring complete to incomplete ones, archives to folders, disk to zip."""

    def rank(trial: Trial) -> tuple[bool, bool, bool]:
        source = trial.frames
        return (
            source is None or trial.gaze is None,
            source is None or source.kind != "tar",
            bool(source and source.member),
        )

    kept: dict[int, Trial] = {}
    for trial in sorted(trials, key=lambda trial: (trial.id, *rank(trial))):
        if trial.id in kept:
            first = kept[trial.id]
            problems.append(
                f"trial {trial.id} is there twice: {first.frames or first.gaze} is used, "
                f"{trial.frames or trial.gaze} is not"
            )
        else:
            kept[trial.id] = trial
    return tuple(kept.values())
