"""`fls sync`: sends run folders to Weights & Biases.

The history is rebuilt from metrics.jsonl with one row per env_step, however often the run was stopped, killed
and resumed. Evaluations, gaze and videos become runs with their own job type, in the training run's group and
with its id in their configuration.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shlex
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fls_jax.errors import UserError
from fls_jax.runs.contents import (
    attention_tables,
    checkpoint_steps,
    evaluation_files,
    gaze_summaries,
    last_step,
    read_evaluation,
    videos,
)
from fls_jax.runs.files import write_whole
from fls_jax.runs.folder import RunFolder, find_runs
from fls_jax.runs.record import Row, read_record
from fls_jax.wandb.contents import (
    attention_content,
    before_the_end,
    evaluation_content,
    gaze_content,
    video_key,
)
from fls_jax.wandb.sending import Content, check_online, digest_of, send_content, send_history
from fls_jax.wandb.service import Identity, JobType, keep_run_id, run_id


@dataclass(frozen=True)
class Parcel:
    """The content of one W&B run: a training's rows, or the result of another job."""

    identity: Identity
    config: Row
    what: list[Row] | Content
    note: str = ""
    """Rows that are left out, and why."""

    def describe(self) -> str:
        """The amount of content in words."""
        if isinstance(self.what, list):
            text = f"{len(self.what):,} row{'s' * (len(self.what) != 1)}"
        else:
            parts = [f"{len(self.what.row) - 1} numbers"] * (len(self.what.row) > 1)
            for name, columns in self.what.tables.items():
                parts.append(f"table {name} of {len(next(iter(columns.values()))):,} rows")
            text = ", ".join(parts + [f"video {file.name}" for file in self.what.videos.values()])
        kind = self.identity.title or self.identity.job_type
        return f"{kind}: {text}{self.note and f' ({self.note})'}"

    def send(self, folder: Path, online: bool) -> str | None:
        """Send it, or write it as an offline run; see `send_history`."""
        if isinstance(self.what, list):
            return send_history(self.what, self.identity, self.config, folder, online)
        return send_content(self.what, self.identity, self.config, folder, online)


def sync(root: Path, project: str = "fls-jax", offline: Path | None = None, dry_run: bool = False) -> None:
    """Send every run at and below `root` to W&B; the same call again sends only what is new.

    offline: write W&B offline runs into this folder instead; `wandb sync` sends those from another machine.
    dry_run: only list the content. Raises UserError if there is no run, no key or no network, or (after
    sending all others) if a run cannot be read or sent.
    """
    folders = find_runs(root)
    if not folders:
        raise UserError(f"There is no run below {root}: a run is a folder with a config.json.")
    if not dry_run and offline is None:
        check_online("or write offline runs with --offline DIR")
    failed, parcels = [], 0
    for path in folders:
        try:
            for parcel in pack(RunFolder(path), project):
                parcels += 1
                where = "not sent" if dry_run else _send(parcel, path, offline)
                print(f"{path}  {parcel.describe()}  -> {where}", flush=True)
        except UserError as error:
            print(f"{path}  {error}", flush=True)
            failed.append(str(path))
    if failed:
        raise UserError(
            f"{len(failed)} of {len(folders)} runs were not sent completely: {', '.join(failed)}."
        )
    if not parcels:
        print(
            f"The runs below {root} contain nothing to send yet: no record, evaluation, gaze result or film."
        )
    elif offline is not None and not dry_run:
        files = shlex.quote(str(offline / "wandb")) + "/offline-run-*"
        print(f"`wandb sync {files}` sends them from a machine with a key.")


def _send(parcel: Parcel, path: Path, offline: Path | None) -> str:
    """Send a parcel of the run in `path`; returns its address or folder."""
    with contextlib.ExitStack() as stack:
        try:
            files = offline or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fls-sync-")))
            files.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{offline} cannot be written ({error.strerror}): choose another folder."
            ) from error
        written = None if offline is None else _Written(offline)
        left = parcel if written is None else written.rest(parcel)
        if left is None:
            return f"in {offline} already"
        address = left.send(files, online=offline is None)
        if written is not None:
            written.add(parcel)
    if parcel.identity.job_type == "train":
        with contextlib.suppress(OSError):  # without it the id is derived from the run, the same every time
            keep_run_id(path / "wandb", "train", parcel.identity.id)
    return address or f"offline run {parcel.identity.id} in {offline}"


class _Written:
    """The content of a folder's offline runs, so that writing them again adds only new content.

    FOLDER/wandb/written.json: for each run's id the last env_step of a training, the digest of a content.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "wandb" / "written.json"
        try:
            self._known: dict[str, Any] = json.loads(self._file.read_text())
        except (OSError, ValueError):
            self._known = {}

    def rest(self, parcel: Parcel) -> Parcel | None:
        """The new part of a parcel, None if there is none."""
        known = self._known.get(parcel.identity.id)
        if not isinstance(parcel.what, list):
            return None if known == digest_of(parcel.what) else parcel
        rows = [row for row in parcel.what if not isinstance(known, int) or row["env_step"] > known]
        return replace(parcel, what=rows) if rows else None

    def add(self, parcel: Parcel) -> None:
        """Record that a parcel is completely written."""
        what = parcel.what
        self._known[parcel.identity.id] = what[-1]["env_step"] if isinstance(what, list) else digest_of(what)
        write_whole(self._file, json.dumps(self._known, indent=1) + "\n")


def pack(folder: RunFolder, project: str) -> list[Parcel]:
    """The W&B runs of a run folder: its training, then each evaluation, gaze pass and video.

    Raises UserError for a damaged file, naming it.
    """
    config = folder.read_config()
    missing = [name for name in ("game", "network", "seed") if name not in config]
    if missing:
        raise UserError(
            f"{folder.config_file} lacks {', '.join(missing)}: it is not the configuration of a run."
        )
    rows = read_record(folder.record_file)
    # Without a stored id, derive one from the run: the first row contains its time in seconds.
    training = run_id(folder.path / "wandb", "train") or _short_hash(config, rows[:1])
    linked = config | {"training_run": training}
    # Imported models are at step 0 and never change.
    end = 0 if "imported" in config else last_step(config, str(folder.config_file))

    def parcel(job_type: JobType, title: str, content: Content) -> Parcel:
        identity = Identity(_short_hash(training, title), job_type, project, title)
        final = content.row["env_step"] >= end
        return Parcel(identity, linked, content if final else before_the_end(content))

    parcels = []
    if rows and not _sends_itself(folder):
        kept, note = settled_rows(folder, config, rows)
        parcels.append(Parcel(Identity(training, "train", project), config, kept, note))
    for evaluation in map(read_evaluation, evaluation_files(folder)):
        title = f"evaluate-{evaluation.path.stem}"
        parcels.append(parcel("evaluate", title, evaluation_content(evaluation)))
    for content in attention_tables(folder):
        title = f"attention-{content['env_step']}"
        parcels.append(parcel("evaluate", title, attention_content(content)))
    summaries, damaged = gaze_summaries(folder)
    for reason in damaged.values():
        raise UserError(reason)
    for summary in summaries:
        title = f"gaze-{summary['env_step']}-{summary['protocol']}-{summary['space']}"
        parcels.append(parcel("gaze", title, gaze_content(config["game"], summary)))
    for video in videos(folder):
        key = video_key(config["game"], video.variant)
        content = Content({"env_step": video.env_step}, videos={key: video.path})
        parcels.append(parcel("video", f"video-{video.path.stem}", content))
    return parcels


def settled_rows(folder: RunFolder, config: Row, rows: list[Row]) -> tuple[list[Row], str]:
    """The rows that resuming will not drop, one per env_step, and a note on the others.

    A run that resumes from its latest checkpoint drops later rows from its record, but W&B keeps rows
    forever.
    """
    steps = checkpoint_steps(folder.checkpoints)
    finished = rows[-1]["env_step"] >= last_step(config, str(folder.config_file))
    until = rows[-1]["env_step"] if finished or not steps else steps[-1]
    kept = {row["env_step"]: row for row in rows if row["env_step"] <= until}
    later = sum(row["env_step"] > until for row in rows)
    note = f"{later:,} more after the latest checkpoint, which resuming would replace"
    return [kept[step] for step in sorted(kept)], note if later else ""


def _sends_itself(folder: RunFolder) -> bool:
    """Whether a running training in the folder sends its own rows; two senders would mix its history."""
    sessions = [p.name.removeprefix("offline-") for p in folder.path.glob("wandb/*run-*-*") if p.is_dir()]
    online = bool(sessions) and (folder.path / "wandb" / max(sessions)).is_dir()
    return online and folder.is_locked()


def _short_hash(*values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
