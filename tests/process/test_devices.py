"""What a job says of the devices it computes on."""

from __future__ import annotations

from unittest.mock import Mock

import jax
import pytest

from fls_jax.process.devices import describe_devices, unused_accelerators

MACHINE = {"cpu": "Abacus 1", "cores": 2}
GPU = Mock(spec=jax.Device, platform="gpu", device_kind="Sieve 9000")


def gpus(count):
    return [GPU] * count


def test_what_is_computed_on():
    cpu = jax.local_devices(backend="cpu")[:1]
    assert describe_devices(cpu, MACHINE) == "Computing on the CPU (Abacus 1, 2 cores)."
    assert describe_devices(gpus(1), MACHINE) == "Computing on the GPU (Sieve 9000)."
    assert describe_devices(gpus(4), MACHINE) == "Computing on 4 GPU (Sieve 9000)."


@pytest.mark.parametrize(
    ("sign", "name"),
    [("proc/driver/nvidia/gpus/0000:01", "NVIDIA GPU"), ("dev/kfd", "AMD GPU"), ("dev/accel0", "TPU")],
)
def test_an_accelerator_that_this_jax_does_not_see(tmp_path, monkeypatch, sign, name):
    cpu = jax.local_devices(backend="cpu")[:1]
    monkeypatch.setattr(jax, "local_devices", lambda: cpu)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    assert unused_accelerators(cpu, tmp_path) is None
    (tmp_path / sign).mkdir(parents=True)
    told = unused_accelerators(cpu, tmp_path)
    assert told is not None
    assert name in told
    assert "make setup ACCEL=" in told
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert "JAX_PLATFORMS is 'cpu': unset it" in str(unused_accelerators(cpu, tmp_path))


def test_accelerators_that_are_left(monkeypatch, tmp_path):
    monkeypatch.setattr(jax, "local_devices", lambda: gpus(4))
    assert unused_accelerators(gpus(4), tmp_path) is None
    told = unused_accelerators(gpus(1), tmp_path)
    assert told == "3 more of this machine's 4 are not used: --devices 0 takes all."
