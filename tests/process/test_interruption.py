"""Real signals to real processes: the first asks, a later one ends, also while no Python code runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from fls_jax.process.interruption import AS_ONE_SECONDS, StopFlag

LOOP = """
import time
from fls_jax.process.interruption import StopFlag
with StopFlag() as stop:
    print("ready", flush=True)
    while not stop:
        time.sleep(0.01)
    print("asked by", stop.signal.name, flush=True)
    time.sleep({sleep})
print("saved", flush=True)
time.sleep({sleep})
"""
# A minute inside one call into C, as a compilation is.
BUSY = """
import hashlib
from fls_jax.process.interruption import StopFlag
with StopFlag() as stop:
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 100_000_000)
"""


@pytest.fixture
def start():
    """start(code): a Python process that runs it, once it has said that it is ready."""
    processes = []

    def run(code, *before):
        process = subprocess.Popen(
            [*before, sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


STOPPING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2]
LATER = AS_ONE_SECONDS + 0.2


@pytest.mark.parametrize("number", STOPPING)
def test_the_first_signal_asks(start, number):
    process = start(LOOP.format(sleep=0))
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out == f"asked by {number.name}\nsaved\n"
    assert err.count("Stopping after this update") == 1


@pytest.mark.parametrize("code", [LOOP.format(sleep=0.9), LOOP.format(sleep=0)], ids=["within", "after"])
def test_signals_within_two_seconds_are_one(start, code):
    """As from `timeout`, which signals its child and then its group, and from Ctrl-C below make."""
    process = start(code)
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
        process.send_signal(number)
        time.sleep(0.02)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out == "asked by SIGTERM\nsaved\n"
    assert err.count("Stopping after this update") == 1
    assert "Stopped at once" not in err


@pytest.mark.parametrize("ignored", [signal.SIGHUP, signal.SIGUSR1], ids=lambda number: number.name)
def test_what_the_parent_ignores_stays_ignored(start, ignored):
    """As under nohup."""
    process = start(LOOP.format(sleep=0), "sh", "-c", f'trap "" {ignored.value}; exec "$@"', "sh")
    process.send_signal(ignored)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "asked by SIGTERM\nsaved\n"), err


def test_a_terminal_that_is_gone_does_not_keep_it_from_stopping(start):
    process = start("import os; os.close(2)" + LOOP.format(sleep=0))
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=60)[0] == "asked by SIGHUP\nsaved\n"
    assert process.returncode == 0


def test_a_job_says_what_it_finishes_and_what_it_keeps(start):
    process = start(LOOP.format(sleep=60).replace("StopFlag()", 'StopFlag("this game", "four games stand")'))
    process.send_signal(signal.SIGINT)
    while "Stopping after this game (" not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(LATER)
    process.send_signal(signal.SIGINT)
    assert "Stopped at once; four games stand." in process.communicate(timeout=20)[1]


@pytest.mark.parametrize("code", [LOOP.format(sleep=60), BUSY], ids=["in Python", "in C"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_later_signal_ends_at_once(start, code, number):
    process = start(code)
    process.send_signal(signal.SIGTERM)
    while "Stopping after this update" not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(LATER)
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM
    assert "Stopped at once" in err
    assert "Traceback" not in err


def test_after_the_block_signals_mean_what_they_meant(start):
    process = start(LOOP.format(sleep=60).replace("    time.sleep(60)\n", "", 1))
    process.send_signal(signal.SIGTERM)
    while process.stdout.readline() != "saved\n":
        assert process.poll() is None
    time.sleep(LATER)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == -signal.SIGTERM


def test_it_leaves_nothing_behind():
    handlers = [signal.getsignal(number) for number in STOPPING]
    files = os.listdir("/dev/fd")
    with StopFlag() as stop:
        assert not stop
        assert stop.signal is None
    assert [signal.getsignal(number) for number in STOPPING] == handlers
    assert signal.set_wakeup_fd(-1) == -1
    assert os.listdir("/dev/fd") == files
