"""Keras and larq files: every layer, quantizer and padding against their written meaning."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("h5py")

import h5py
from frontends.keras_writer import Net, numbered_bytes, quantizer, write_named

import bnnsim
from bnnsim.engine.reference import execute
from bnnsim.frontends.keras import from_keras

SIGN = {"input_quantizer": quantizer("SteSign"), "kernel_quantizer": quantizer("SteSign")}
CLOSE = 2e-6  # of the largest output: float32 rounding, in another order


def images(seed=0, shape=(9, 8, 3), n=4):
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1.5, (n, *shape)).astype(np.float32)
    x[0] = np.rint(x[0])  # whole numbers: zeros, and sums at a threshold
    return x


def check(net: Net, path, **how):
    """Load, run reference and engine, compare every layer with its meaning."""
    graph = from_keras(net.save(path, **how))
    values = execute(graph, net.x)
    compared = 0
    for layer, node in graph.meta["layers"].items():
        ours, theirs = values[f"{node}.out"], net.outputs[layer]
        if net.layers[-1]["config"]["name"] == layer and "softmax" in str(net.layers[-1]):
            continue  # left out; the caller compares what it was taken of
        assert ours.shape == theirs.shape, layer
        if ours.dtype.kind in "iu":
            assert (ours == theirs).all(), layer
        else:
            assert np.abs(ours - theirs).max() <= CLOSE * max(np.abs(theirs).max(), 1), layer
        compared += 1
    assert compared
    result = bnnsim.Engine(graph).run(net.x)
    np.testing.assert_array_equal(result, values[graph.outputs[0]])
    assert bnnsim.verify(graph, net.x).ok
    return graph, values
