"""The pieces of experiments/bench_nets: the twin's layers, and the tables. Nothing is timed."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the twin is torch's")

import bnnsim  # noqa: E402
from bnnsim.engine import reference  # noqa: E402
from bnnsim.graph.dtypes import BIT, FLOAT32  # noqa: E402
from experiments.bench_nets import __main__ as bench  # noqa: E402
from experiments.bench_nets.twin import Twin  # noqa: E402


def as_float(graph, x):
    """Return what the reference makes of the twin: a ReLU per sign, weights as floats."""
    values = {graph.inputs[0]: x}
    for node in graph.nodes:
        tensors = [graph.tensor(name) for name in node.inputs]
        operands = [values[t.name] if not t.constant else t.data for t in tensors]
        if node.op == "Quantize":
            assert graph.result(node).dtype == BIT
            values[node.output] = np.maximum(operands[0], np.float32(0))
            continue
        values[node.output] = reference.apply(node, operands, FLOAT32)
    return values[graph.outputs[0]]


def test_the_twin_does_the_networks_layers_on_floats():
    graph = bnnsim.load("zoo:bireal18:random")
    x = np.random.default_rng(3).standard_normal((1, 224, 224, 3)).astype(np.float32)
    with torch.inference_mode():
        got = Twin(graph).eval()(torch.from_numpy(np.moveaxis(x, -1, 1).copy())).numpy()
    wanted = as_float(graph, x)
    assert np.abs(got - wanted).max() < 1e-3 * np.abs(wanted).max()


@pytest.mark.parametrize("name", ["quicknet", "reactnet-a"])
def test_every_layer_of_the_others_has_a_twin(name):
    graph = bnnsim.load(f"zoo:{name}:random")
    with torch.inference_mode():
        assert Twin(graph).eval()(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)


def quartiles(median):
    return {"median": median, "low": median / 2, "high": median * 2}


def test_tables_and_picture_show_what_was_timed(tmp_path):
    seconds = {bench.OURS: 0.01, bench.FAST: 0.005, bench.TORCH: 0.05, bench.TORCH_NHWC: 0.06}
    contenders = {
        name: {"seconds": quartiles(s), "ours_over": quartiles(s / 0.01)}
        for name, s in seconds.items()
    }
    shares = {"exact": {"Add: a": 0.75, "Conv2d: c": 0.25}, "fast": {"Add: a": 1.0}}
    row = {"work": "net", "contenders": contenders, "shares": shares}
    told = {"rows": [row]}
    assert "| net | 10.0 | 5.0 | 50.0 | 5.0 (2.5 to 10.0) | 10.0 |" in bench.ratio_table(told)
    assert "| Conv2d: c | 25.0 % |  |" in bench.share_table(row)
    bench.draw(told, tmp_path / "ratios.svg")
    assert (tmp_path / "ratios.svg").read_text().count("net") >= 1
