"""Small synthetic Atari-HEAD trees, in both releases' layouts, from real EnvPool frames.

`play` gives native frames one by one beside EnvPool's own observations of the same game, so a test can
compare what the package makes of the frames with what EnvPool made of them.
"""

from __future__ import annotations

import bz2
import functools
import io
import re
import tarfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import envpool
import numpy as np

HEADER = "frame_id,episode_id,score,duration(ms),unclipped_reward,action,gaze_positions"
V1_METADATA = "TrialNumber,Game,SubjectID,NumberOfFrames,Remarks"
V4_METADATA = (
    "GameName,trial_id,subject_id,load_trial,highest_score,total_frame,max_error,avg_error,low_sample_rate,"
    "frame_averaging,fps"
)
Samples = Sequence[tuple[float, float]]


@functools.cache
def play(game: str = "MsPacman", steps: int = 20, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Native frames uint8 [4*steps+1, 210, 160, 3] and EnvPool's planes uint8 [steps+1, 84, 84] of a game."""
    common = {
        "env_type": "gymnasium",
        "num_envs": 1,
        "seed": seed,
        "repeat_action_probability": 0.0,
        "noop_max": 30,
    }
    screen = envpool.make(
        f"{game}-v5", gray_scale=False, img_height=210, img_width=160, stack_num=1, frame_skip=1, **common
    )
    agent = envpool.make(
        f"{game}-v5", gray_scale=True, img_height=84, img_width=84, stack_num=4, frame_skip=4, **common
    )
    frames, planes = [screen.reset()[0][0]], [agent.reset()[0][0, -1]]
    actions = np.random.default_rng(seed).integers(screen.action_space.n, size=steps)
    for action in actions:
        frames += [screen.step(np.array([action]))[0][0] for _ in range(4)]
        planes.append(agent.step(np.array([action]))[0][0, -1])
    screen.close()
    agent.close()
    return np.stack(frames).transpose(0, 2, 3, 1), np.stack(planes)


def encode_png(frame: np.ndarray) -> bytes:
    """PNG of an RGB frame uint8 [H, W, 3]."""
    done, png = cv2.imencode(".png", frame[..., ::-1])
    assert done
    return png.tobytes()


def random_gaze(frames: int, seed: int = 0) -> list[Samples | None]:
    """0 to 5 samples a frame, some off the screen and some half-way between pixels; None for ``null``."""
    rng = np.random.default_rng(seed)
    gaze: list[Samples | None] = []
    for _ in range(frames - 1):
        xy = rng.uniform((-8, -8), (168, 218), size=(rng.integers(1, 6), 2))
        xy = np.where(rng.random(xy.shape) < 0.3, np.floor(xy) + 0.5, np.round(xy, 2))
        gaze.append(None if rng.random() < 0.15 else [(float(x), float(y)) for x, y in xy])
    return [*gaze, []]  # the last frame's gaze is empty by design


@dataclass
class SyntheticTrial:
    """One recording; `pngs` are its encoded frames, numbered from one."""

    id: int
    pngs: list[bytes]
    gaze: list[Samples | None]
    game: str = "MsPacman"
    highscore: bool = False
    subject: str = "RZ"
    averaged: bool = False
    load_trial: int = 0
    avg_error: float = 0.34
    extra: dict[str, bytes] = field(default_factory=dict)  # further members of the archive, by whole name

    @property
    def run(self) -> str:
        return f"{self.subject}_{4300000 + self.id}"

    @property
    def stem(self) -> str:
        return f"{self.id}_{self.run}_Aug-29-10-53-33"

    def members(self, folder: str | None = None) -> dict[str, bytes]:
        """Archive members, in text order as ``tar`` has them: 1, 10, 11, ..., 2, ..."""
        folder = self.stem if folder is None else folder
        names = {f"{folder}/{self.run}_{number}.png": png for number, png in enumerate(self.pngs, 1)}
        return dict(sorted(names.items())) | self.extra

    def text(self) -> str:
        rows = []
        for number, samples in enumerate(self.gaze, 1):
            where = "null" if samples is None else ",".join(f"{x!r},{y!r}" for x, y in samples)
            rows.append(f"{self.run}_{number},{'null' if number % 3 else 0},null,50,0,{number % 9},{where}")
        return "\n".join([HEADER, *rows]) + "\n"


def make_trial(id: int = 7, frames: int = 45, **options) -> SyntheticTrial:
    """A trial of real frames with random gaze."""
    pictures, _ = play(options.get("game", "MsPacman"), steps=20)
    return SyntheticTrial(
        id, [encode_png(frame) for frame in pictures[:frames]], random_gaze(frames, id), **options
    )


def tar_bz2(members: dict[str, bytes], headers: Iterable[tarfile.TarInfo] = ()) -> bytes:
    """A ``.tar.bz2`` of regular files, after members of other kinds that `headers` describe."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for header in headers:
            archive.addfile(header)
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return bz2.compress(buffer.getvalue())


def v4_name(game: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", game).lower()


def metadata(trials: Iterable[SyntheticTrial], release: str) -> str:
    """``meta_data.csv`` with a release's columns, spaces in fields, and (v1) blank rows."""
    if release == "v1":
        rows = [f"{t.id}, {t.game.capitalize()} ,{t.subject},{len(t.pngs)},\n,,,," for t in trials]
        return "\r\n".join([V1_METADATA, *rows, ",,,,", ""])
    rows = [
        f"{v4_name(t.game)}{'_highscore' * t.highscore},{t.id}, {t.subject},{t.load_trial},21070,"
        f"{len(t.pngs)},0.73,{t.avg_error},1.20%,{str(t.averaged).upper()},20"
        for t in trials
    ]
    return "\r\n".join([V4_METADATA, *rows, ""])


def write_pair(folder: Path, trial: SyntheticTrial, *, unpacked: bool = False) -> None:
    """An archive, or the folder it unpacks to, beside its gaze file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{trial.stem}.txt").write_text(trial.text())
    if unpacked:
        for name, data in trial.members().items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    else:
        (folder / f"{trial.stem}.tar.bz2").write_bytes(tar_bz2(trial.members()))


def write_v1(
    root: Path, trials: Sequence[SyntheticTrial], *, meta: str | None = "v1", unpacked: bool = False
) -> Path:
    """v1's flat folder, with v1's metadata, v4's (as in the wild) or none."""
    for trial in trials:
        write_pair(root, trial, unpacked=unpacked)
    if meta:
        (root / "meta_data.csv").write_text(metadata(trials, meta))
    return root


def write_v4(
    root: Path,
    trials: Sequence[SyntheticTrial],
    *,
    meta: str | None = "v4",
    zipped: bool = True,
    unpacked: bool = False,
) -> Path:
    """v4's ``<game>.zip`` files or the folders they unpack to, highscore trials in a folder of their own."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "action_enums.txt").write_text("PLAYER_A_NOOP = 0\n")
    for trial in trials:
        write_pair(root / v4_name(trial.game) / ("highscore" * trial.highscore), trial, unpacked=unpacked)
    if zipped:
        for game in {v4_name(trial.game) for trial in trials}:
            files = sorted(path for path in (root / game).rglob("*") if path.is_file())
            with zipfile.ZipFile(root / f"{game}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                for path in files:
                    archive.write(path, path.relative_to(root))
                    path.unlink()
            for path in sorted((root / game).rglob("*"), reverse=True):
                path.rmdir()
            (root / game).rmdir()
    if meta:
        (root / "meta_data.csv").write_text(metadata(trials, meta))
    return root
