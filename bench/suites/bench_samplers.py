"""Discrete Gaussian: ours against OpenDP's vetted sampler, and Skellam, per 20,000 draws, at several deviations."""

from __future__ import annotations

import numpy as np
import pytest

from secagg.discrete_gaussian import discrete_gaussian
from secagg.randomness import Keystream
from secagg.rounded_gaussian import rounded_gaussian
from secagg.skellam import skellam

DRAWS = 20_000


def opendp_discrete_gaussian(sigma, size):
    """`size` int64 draws from OpenDP's sampler (Canonne, Kamath, Steinke 2020), from its own secure randomness."""
    import opendp.prelude as dp

    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="f64")
    return np.array(dp.m.make_gaussian(*space, scale=float(sigma))([0] * size), dtype=np.int64)


@pytest.mark.parametrize("sigma", [4, 1024, 2**30])
def test_ours(benchmark, sigma):
    benchmark.group = f"discrete Gaussian, sigma {sigma}, {DRAWS} draws"
    benchmark(discrete_gaussian, sigma, DRAWS, Keystream.system())


@pytest.mark.parametrize("sigma", [4, 1024, 2**30])
def test_opendp(benchmark, sigma):
    benchmark.group = f"discrete Gaussian, sigma {sigma}, {DRAWS} draws"
    benchmark.pedantic(opendp_discrete_gaussian, (float(sigma), DRAWS), rounds=3, warmup_rounds=1)


def test_rounded_gaussian(benchmark):
    benchmark.group = f"rounded Gaussian, {DRAWS} draws"
    benchmark(rounded_gaussian, 1000.0, DRAWS, Keystream.system())


@pytest.mark.parametrize("sigma", [4, 256, 257, 1024, 2**20, 2**30])
def test_skellam(benchmark, sigma):
    benchmark.group = f"Skellam, sigma {sigma}, {DRAWS} draws"
    # The warm-up makes the table of this sigma, once for a process.
    benchmark.pedantic(skellam, (sigma, DRAWS, Keystream.system()), rounds=50, warmup_rounds=1)
