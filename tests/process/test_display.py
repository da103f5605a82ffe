"""What a training shows: plain lines in a pipe, one live line in a terminal."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys

import pytest

from fls_jax.process.display import ProgressDisplay, TrainingDisplay, describe, format_seconds, format_steps

ROW = {"env_step": 40_000_000, "eprewmean": 5421.25, "episodes": 9, "sps": 1234.5, "sps_overall": 1200.0}
LONGEST = {"env_step": 49_000_000, "eprewmean": -12345.67, "sps": 12345.0, "sps_overall": 8.0}


def test_a_row_in_words():
    assert (
        describe(ROW, 50_000_000) == " 80%  40.00M/50.00M steps  return 5,421.25  1,234 steps/s  2:18:53 left"
    )
    early = ROW | {"env_step": 5_120, "eprewmean": None, "sps_overall": 512.0}
    assert (
        describe(early, 10_240)
        == " 50%  5,120/10,240 steps  no game finished yet  1,234 steps/s  0:00:10 left"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00:00"), (59.6, "0:01:00"), (3_599, "0:59:59"), (86_399, "23:59:59"), (200_000, "2 d 7 h")],
)
def test_format_seconds(seconds, text):
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(("steps", "text"), [(0, "0"), (99_328, "99,328"), (20_480_000, "20.48M")])
def test_format_steps(steps, text):
    assert format_steps(steps) == text


def test_plain_lines_come_first_last_and_every_ten_seconds(capsys, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with TrainingDisplay("Pong cnn seed 1", 10_240) as display:
        for step in range(1_024, 10_241, 1_024):
            display.update(ROW | {"env_step": step})
            clock[0] += 4
        display.message("[bold]as it is[/bold]")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Pong cnn seed 1: compiling ..."
    assert [line.split()[0] for line in lines[1:-1]] == ["10%", "40%", "70%", "100%"]
    assert lines[-1] == "[bold]as it is[/bold]"
    assert not any("\x1b" in line or "\r" in line for line in lines)


SCRIPT = f"""
import time
from fls_jax.process.display import TrainingDisplay

with TrainingDisplay("MsPacman cnn_sparse_fls_norelu_pool seed 33", 50_000_000) as display:
    display.update({LONGEST!r})
    display.message("Warning: " + "a long message " * 12)
    time.sleep(0.15)
    display.update({LONGEST | {"env_step": 50_000_000}!r})
print("Finished")
"""


def in_terminal(columns: int) -> str:
    """What SCRIPT writes into a terminal of so many columns."""
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    unset = {"COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"}
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], env=environment | {"TERM": "xterm"}, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            part = os.read(ours, 65_536)
        except OSError:  # Linux says so when the other side is closed
            part = b""
        if not part:
            break
        written += part
    os.close(ours)
    assert process.wait() == 0
    return written.decode()


@pytest.mark.parametrize("columns", [80, 100])
def test_the_live_line_fits_the_terminal(columns):
    written = in_terminal(columns)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
    lines = [line for line in re.split(r"[\r\n]+", plain) if line.strip()]
    assert lines[0] == "MsPacman cnn_sparse_fls_norelu_pool seed 33"
    assert lines[-1] == "Finished"
    assert "compiling ..." in lines[1]
    live = [line for line in lines if "steps/s" in line]
    assert all(len(line) <= columns for line in live)
    assert describe(LONGEST, 50_000_000).strip() in live[0]
    assert "100%  50.00M/50.00M steps  return -12,345.67  12,345 steps/s  0:00:00 left" in live[-1]
    assert "\u2501" in live[0]
    assert any(line.startswith("Warning: a long message") for line in lines)
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1  # the cursor comes back


def test_a_narrow_terminal_cuts_the_line_and_wraps_nothing():
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", in_terminal(40))
    lines = [line for line in re.split(r"[\r\n]+", plain) if line.strip()]
    assert max(len(line) for line in lines if "Warning" not in line and not line.startswith("MsPac")) <= 40
    assert any(line.lstrip("\u2501 ").startswith("100%  50.00M") for line in lines)


def test_a_counted_job_in_plain_lines(capsys, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with ProgressDisplay("Pong, 2,000 frames", 2_000, "drawing ...") as display:
        for done in range(500, 2_001, 500):
            clock[0] += 5
            display.count(done, "frames")
    assert capsys.readouterr().out.splitlines() == [
        "Pong, 2,000 frames: drawing ...",
        " 25%  500/2,000 frames  100 frames/s  0:00:15 left",
        " 75%  1,500/2,000 frames  100 frames/s  0:00:05 left",
        "100%  2,000/2,000 frames  100 frames/s  0:00:00 left",
    ]
