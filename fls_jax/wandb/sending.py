"""Sends finished runs and results to Weights & Biases."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fls_jax.errors import UserError
from fls_jax.runs.record import Row
from fls_jax.wandb.service import START_SECONDS, Identity, briefly, import_wandb, init_run, log_row, present

Columns = Mapping[str, Sequence[Any]]
# How long sending the rest may take at the end of a run.
SEND_SECONDS = 1800.0


STORED_SECONDS = 10.0
"""How long an uploaded file may take to be listed."""


@dataclass(frozen=True)
class Content:
    """Data that is sent together: a row with `env_step`, tables by name, MP4 files by name."""

    row: Row
    tables: Mapping[str, Columns] = field(default_factory=dict)
    videos: Mapping[str, Path] = field(default_factory=dict)


def check_online(otherwise: str) -> None:
    """Raise UserError if W&B is switched off, has no key, or refuses it.

    otherwise: an alternative without a key, for the end of the message: `or ...`.
    """
    try:
        wandb = import_wandb()
        mode = wandb.setup().settings.mode
        if mode != "online":
            raise UserError(
                f"W&B is switched to {mode!r} (by WANDB_MODE, `wandb offline` or `wandb disabled`): set "
                f"WANDB_MODE=online or run `wandb online`, {otherwise}."
            )
        found = wandb.login(prompt=False, verify=True)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"W&B refuses the key that is set, or cannot be reached ({briefly(error)}): check "
            f"WANDB_API_KEY or run `wandb login --relogin`, {otherwise}."
        ) from error
    if not found:
        raise UserError(
            f"There is no W&B key on this machine: set WANDB_API_KEY or run `wandb login`, {otherwise}."
        )


def send_history(
    rows: Iterable[Row], identity: Identity, config: Row, folder: Path, online: bool
) -> str | None:
    """Send a training's rows, ascending in env_step, or write them as an offline run.

    Rows up to the env_step that W&B already has are not sent again. folder: for W&B's working files, in
    its wandb/. Returns the run's address, None offline. Raises UserError if sending fails.
    """
    with _sending(identity, config, folder, online) as run:
        for row in rows:
            log_row(run, row, config["game"])
        return run.url if online else None


def send_content(content: Content, identity: Identity, config: Row, folder: Path, online: bool) -> str | None:
    """Send the result of a job, or write it as an offline run. What W&B already has is not sent again.

    Arguments, result and errors are those of `send_history`. Content counts as sent if W&B has all its tables
    and films completely. If an upload failed or was interrupted, it is sent again.
    """
    wandb = import_wandb()
    has_files = bool(content.tables or content.videos)
    with _sending(identity, config, folder, online) as run:
        digest = digest_of(content)
        sent = run.summary.get("digest") == digest
        tables = {table_digest(wandb, name, columns): name for name, columns in content.tables.items()}
        if sent and online and has_files:
            before = sent_files(run)
            sent = bool(before) and not missing_parts(wandb, run, before, tables)
        if not sent:
            row: Row = {**content.row, "digest": digest}
            for name, columns in content.tables.items():
                row[name] = table_of(wandb, columns)
            for name, file in content.videos.items():
                row[name] = wandb.Video(str(file), format="mp4")
            run.log(present(row))
        address = run.url if online else None
    if online and not sent and has_files:
        missing = missing_parts(wandb, run, sent_files(run), tables, STORED_SECONDS)
        if missing:
            raise UserError(
                f"W&B has not taken {', '.join(missing)} of the {identity.job_type} run {identity.id}: the "
                "same command again sends what is missing."
            )
    return address


def table_of(wandb: Any, columns: Columns) -> Any:
    """A table of W&B's."""
    return wandb.Table(columns=list(columns), data=[list(row) for row in zip(*columns.values(), strict=True)])


def table_digest(wandb: Any, name: str, columns: Columns) -> str:
    """The digest of the artifact that a run makes of a table logged under `name`: its pages read that."""
    artifact = wandb.Artifact("table", "run_table")
    artifact.add(table_of(wandb, columns), name)
    return artifact.digest


def sent_files(run: Any) -> dict[str, int]:
    """The tables and films of a run with their sizes, as sent by this process or listed by W&B."""
    home = Path(run.dir)
    ours = {path.relative_to(home).as_posix(): path.stat().st_size for path in home.glob("media/**/*.*")}
    theirs = (dict(value) for value in dict(run.summary).values() if hasattr(value, "keys"))
    return ours or {value["path"]: value["size"] for value in theirs if {"path", "size"} <= value.keys()}


def missing_parts(
    wandb: Any, run: Any, files: Mapping[str, int], tables: Mapping[str, str], patience: float = 0.0
) -> list[str]:
    """The files and tables that W&B does not have completely after waiting for `patience` seconds.

    files: sizes by name. tables: names by the digest of their artifacts; one whose upload failed is not
    committed. Raises UserError where W&B does not list them.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            stored = wandb.Api(timeout=int(START_SECONDS)).run(f"{run.entity}/{run.project}/{run.id}")
            sizes = {file.name: file.size for file in stored.files(list(files))}
            artifacts = stored.logged_artifacts() if tables else []
            whole = {artifact.digest for artifact in artifacts if artifact.state == "COMMITTED"}
        except Exception as error:
            raise UserError(f"W&B does not list what it has of run {run.id} ({briefly(error)}).") from error
        missing = [name for name, size in files.items() if sizes.get(name) != size]
        missing += [f"table {name}" for digest, name in tables.items() if digest not in whole]
        if not missing or time.monotonic() > deadline:
            return missing
        time.sleep(1.0)


@contextlib.contextmanager
def _sending(identity: Identity, config: Row, folder: Path, online: bool) -> Generator[Any]:
    """A W&B run for a block. Raises UserError if sending fails in the block."""
    run = None
    try:
        wandb = import_wandb()
        run = init_run(
            wandb,
            "online" if online else "offline",
            identity.arguments(config) | {"dir": str(folder)},
            # The run was made by another process, maybe elsewhere: config.json describes its machine and
            # checkout.
            disable_git=True,
            x_disable_machine_info=True,
            x_disable_stats=True,
            x_save_requirements=False,
            finish_timeout=SEND_SECONDS,
        )
        yield run
        run.finish()
    except Exception as error:
        with contextlib.suppress(Exception):
            if run is not None:
                run.finish(exit_code=1)
        raise UserError(
            f"W&B has not taken the {identity.job_type} run {identity.id} ({briefly(error)}): the same "
            "command again sends what is missing."
        ) from error


def digest_of(content: Content) -> str:
    """A digest that is the same for the same content."""
    digest = hashlib.sha256(json.dumps([content.row, content.tables], sort_keys=True).encode())
    for name, file in sorted(content.videos.items()):
        digest.update(name.encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]
