"""Float layers in single precision: near the exact run, by the single kernels, only if asked."""

from __future__ import annotations

import numpy as np
import pytest

from bnnsim import api
from bnnsim.engine.dispatch import available_isas
from bnnsim.errors import InputError
from bnnsim.execution import FAST_FLOAT, Engine
from bnnsim.graph.dtypes import FLOAT32
from bnnsim.graph.growing import GrowingGraph
from bnnsim.graph.ir import Graph, Tensor

FLOATS = "zoo:resnet20:random"


def images(graph: Graph, count: int = 2) -> np.ndarray:
    tensor = graph.tensor(graph.inputs[0])
    rng = np.random.default_rng(3)
    if tensor.dtype.is_float:
        return rng.standard_normal((count, *tensor.shape)).astype(tensor.dtype.numpy)
    return rng.integers(0, 128, (count, *tensor.shape)).astype(tensor.dtype.numpy)


def dense_net() -> Graph:
    weight = np.random.default_rng(5).standard_normal((17, 67)).astype(np.float32)
    grown = GrowingGraph((67,), FLOAT32)
    held = Tensor("fc.weight", weight.shape, FLOAT32, True, weight)
    grown.append("Dense", "fc", ("input",), [held], {})
    return grown.graph("dense", "fc.out", {})


@pytest.mark.parametrize("isa", available_isas())
@pytest.mark.parametrize("threads", [1, 2])
def test_single_kernels_run_near_the_exact_ones(isa, threads):
    graph = api.load(FLOATS)
    x = images(graph)
    exact = api.run(graph, x, isa=isa, threads=threads)
    fast = api.run(graph, x, isa=isa, threads=threads, fast_float=True)
    single = {k.op for k in fast.kernels if "_single" in k.kernel}
    assert not any("_single" in k.kernel for k in exact.kernels)
    assert single == (set() if isa == "ref" else {"Conv2d", "Dense"})
    assert fast.notes == (() if isa == "ref" else (FAST_FLOAT,))
    assert exact.notes == ()
    largest = np.abs(exact.outputs).max()
    assert np.abs(fast.outputs - exact.outputs).max() <= 1e-4 * largest
    again = Engine(graph, isa=isa, threads=threads, fast_float=True).run(x)
    assert (again == fast.outputs).all()


@pytest.mark.parametrize("isa", [isa for isa in available_isas() if isa != "ref"])
def test_a_dense_layer_sums_in_float32(isa):
    graph = dense_net()
    x = images(graph, 5)
    fast = api.run(graph, x, isa=isa, fast_float=True).outputs
    weight = graph.tensor("fc.weight").data
    exact = x.astype(np.float64) @ weight.T.astype(np.float64)
    bound = 67 * 2.0**-24 * (np.abs(x).astype(np.float64) @ np.abs(weight.T).astype(np.float64))
    assert (np.abs(fast - exact) <= bound).all()
    assert (fast != exact.astype(np.float32)).any()


@pytest.mark.parametrize("source", ["zoo:tfc:random", "zoo:mnist-convnet:random"])
def test_networks_without_float_layers_run_as_ever(source):
    graph = api.load(source)
    exact, fast = (api.run(graph, images(graph), fast_float=f) for f in (False, True))
    assert (exact.outputs == fast.outputs).all()
    assert exact.kernels == fast.kernels
    assert fast.notes == ()


def test_the_reference_has_no_single_precision():
    graph = api.load(FLOATS)
    with pytest.raises(InputError, match="Leave out fast_float"):
        api.run(graph, images(graph), engine="reference", fast_float=True)


def test_verify_shows_what_single_precision_changes():
    graph = api.load(FLOATS)
    x = images(graph)
    if available_isas() == ("ref",):
        pytest.skip("single precision needs a vector unit")
    plain = api.verify(graph, x, fast_float=True)
    assert not plain.ok
    assert plain.notes == (FAST_FLOAT,)
    near = api.verify(graph, x, fast_float=True, tolerance=1e-4)
    assert near.ok
    assert near.argmax_agreement == 1
    with pytest.raises(InputError, match="the engine equals the reference exactly"):
        api.verify(graph, x, tolerance=1e-4)


@pytest.mark.parametrize("threads", [1, 2])
def test_simulate_says_so(threads):
    graph = api.load(FLOATS)
    found = api.simulate(graph, "cmos45", images(graph), threads=threads, fast_float=True)
    is_single = any("_single" in k.kernel for k in found.run.kernels)
    assert (FAST_FLOAT in found.to_dict()["notes"]) == is_single
    assert found.counts_equal
