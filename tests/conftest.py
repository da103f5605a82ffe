"""Before anything of ours is imported: shapes and types in annotations are checked at run time."""

from __future__ import annotations

import gc
import os
import signal
import sys
import zlib
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

# Compilation is most of the time of the tests, and many compile the same programs in several processes.
_cache = Path(__file__).resolve().parents[1] / ".pytest_cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_cache))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")

# Python's own compiled files too, in the tests' processes and those that they start.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# As in the command (fls_jax/__main__.py). JAX calls SciPy's OpenBLAS, which is not loaded yet.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# The tests run a program a few times, so it had better compile quickly than run quickly. With `XLA_FLAGS=` in
# the environment, as in `make core`, and on accelerators they compile as for users.
if "XLA_FLAGS" not in os.environ and not (find_spec("jax_plugins") or find_spec("libtpu")):
    os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
    if tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11):  # later ones do not know it
        os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"

# Under `nohup`, and in a script's background, the tests would pass ignored signals on to the programs whose
# handling of them they check.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import jax  # noqa: E402 (after the cache is set)
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

import tests.typechecking  # noqa: E402, F401 (the hook finds it by name)

# On an accelerator float32 would be multiplied in fewer bits than the oracles have.
jax.config.update("jax_default_matmul_precision", "highest")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

_hook = install_import_hook(["fls_jax"], "tests.typechecking.check")
_hook.__enter__()


# They take a minute and more, or wait: first, so that at the end no process is alone with one of them.
FIRST = (
    "tests/experiments/launch/test_slurm.py",
    "tests/experiments/launch/test_local.py",
    "tests/ppo/test_mesh.py",
    "tests/train/test_hosts.py",
    "tests/test_docs.py",
    "tests/benchmarks/test_accelerator.py",
    "tests/wandb/test_sending_again.py",
    "tests/wandb/test_sync.py",
    "tests/wandb/test_tracking.py",
    "tests/experiments/test_dashboard.py",
)


def pytest_xdist_auto_num_workers():
    """One more than there are cores: tests wait for other processes, for Slurm and for disks."""
    from fls_jax.process.cores import available_cores  # after the hook, as all of ours

    return available_cores() + 1


def pytest_collection_modifyitems(items):
    place = {file: number for number, file in enumerate(FIRST)}
    items.sort(key=lambda item: place.get(item.nodeid.split("::")[0], len(place)))


def pytest_collection_finish():
    """What was imported stays, and is not searched for garbage again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def rng(request):
    """A NumPy generator that is the same for a test in every run."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))
