"""The predictions of docs/scaling.md: the page is what the script writes, and the script is right by hand."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks import scaling
from benchmarks.arithmetic import training_flops
from fls_jax.networks.specs import network_spec

H100 = scaling.MACHINES[0]


def test_the_page_is_what_the_script_writes():
    page = scaling.PAGE.read_text()
    assert scaling.written(page) == page, "run `python -m benchmarks.scaling`"
    assert scaling.NOT_RUN in page


def test_the_paper_on_one_card_by_hand():
    """Eight environments in two groups: a group of four waits 250 us and then plays one step on 16 cores."""
    (paper, five, fast) = scaling.workloads(H100)
    found = scaling.limits("cnn", paper, H100, core_speed=2_500.0)
    assert found.emulators == 40_000
    assert found.collection == pytest.approx(8 / (250e-6 + 400e-6), rel=0.01)
    arithmetic = 4 * 1024 * training_flops(network_spec("cnn")) / (0.3 * 66.9e12)
    assert found.update == pytest.approx(1024 / (16 * 300e-6 + arithmetic))
    both = 1024 / found.collection + 1024 / found.update
    assert found.together == pytest.approx(1024 / both)
    assert found.binds == "round trip, then emulators"
    # More games bring the emulators to their limit, and what overlaps is as slow as the slower part.
    fast_found = scaling.limits("cnn", fast, H100, core_speed=2_500.0)
    assert fast_found.collection == pytest.approx(40_000)
    assert fast_found.together == min(fast_found.collection, fast_found.update)
    assert fast_found.binds == "emulators"
    assert found.collection < scaling.limits("cnn", five, H100, 2_500.0).collection < 40_000


def test_faster_arithmetic_helps_where_arithmetic_binds():
    paper = scaling.workloads(H100)[0]
    slow = scaling.limits("cnn_dense_fls", paper, H100, 2_500.0)
    assert slow.binds == "update's arithmetic"
    tf32 = dataclasses.replace(paper, config=dataclasses.replace(paper.config, matmul_precision="default"))
    assert scaling.limits("cnn_dense_fls", tf32, H100, 2_500.0).update > 5 * slow.update
