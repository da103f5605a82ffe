"""Real signals to real processes: the first asks, the second ends, also while no Python code runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from fls_jax.process.interruption import StopFlag

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

    def run(code):
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks(start, number):
    process = start(LOOP.format(sleep=0))
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out == f"asked by {number.name}\nsaved\n"
    assert err.count("Stopping after this update") == 1


def test_a_job_says_what_it_finishes_and_what_it_keeps(start):
    process = start(LOOP.format(sleep=60).replace("StopFlag()", 'StopFlag("this game", "four games stand")'))
    process.send_signal(signal.SIGINT)
    while "Stopping after this game (" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert "Stopped at once; four games stand." in process.communicate(timeout=20)[1]


@pytest.mark.parametrize("code", [LOOP.format(sleep=60), BUSY], ids=["in Python", "in C"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_at_once(start, code, number):
    process = start(code)
    process.send_signal(signal.SIGTERM)
    while "Stopping after this update" not in process.stderr.readline():
        assert process.poll() is None
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
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == -signal.SIGTERM


def test_it_leaves_nothing_behind():
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    files = os.listdir("/dev/fd")
    with StopFlag() as stop:
        assert not stop
        assert stop.signal is None
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert signal.set_wakeup_fd(-1) == -1
    assert os.listdir("/dev/fd") == files
