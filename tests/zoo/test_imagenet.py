"""The ImageNet networks of the zoo against what was published of them, to the last digit given."""

from __future__ import annotations

from collections import Counter
from math import prod

import numpy as np
import pytest

import bnnsim
from bnnsim import zoo
from bnnsim.graph.ir import Graph

# What is published: parameters, multiply-accumulates (of bits or other low precision, of floats),
# MiB. torchvision counts two numbers per channel of a batch norm (its weights), larq two or, before
# version 0.9, four. torchvision: `num_params` and `_ops` (10^9, three decimals) of its weights.
# larq: docstrings of larq/zoo at 77c5853, tests/snapshots/model_summaries at 8ac2494, docs/zoo.
PUBLISHED = {
    "alexnet": {"parameters": 61_100_840, "norm": 2, "giga": 0.714},
    "googlenet": {"parameters": 6_624_904, "norm": 2, "giga": 1.498},
    "resnet18": {"parameters": 11_689_512, "norm": 2, "giga": 1.814},
    "twn-resnet18": {"parameters": 11_689_512, "norm": 2, "giga": 1.814},
    "xnor-resnet18": {"giga": 1.814},
    "xnor-alexnet": {
        "parameters": 58_236_928 + 4_150_176, "norm": 2, "low": 1_025_744_896,
        "float": 113_379_328, "mib": 22.77,
    },
    "dorefa-alexnet": {
        "parameters": 58_236_928 + 4_157_512, "norm": 2, "low": 2_924_609_536,
        "float": 125_028_352, "mib": 22.80,
    },
    "bireal18": {
        "parameters": 11_699_112, "norm": 4, "low": 1_676_279_808, "float": 137_793_536,
        "mib": 4.00,
    },
    # Bi-Real Net, ECCV 2018: 1.93e8 operations, 64 bit products being one (recalled, not re-read).
    "bireal34": {"operations": "1.93e+08"},
    # ReActNet, ECCV 2020: 0.87e8 operations (re-read), of 4.82e9 bit products and 0.12e8 of floats
    # (recalled).
    "reactnet-a": {"low_giga": 4.82, "float_giga": 0.012, "operations": "8.7e+07"},
    "quicknet-small": {"parameters": 12_655_688, "norm": 2, "mib": 4.00},
    "quicknet": {"parameters": 13_234_088, "norm": 2, "mib": 4.17},
    "quicknet-large": {"parameters": 23_342_248, "norm": 2, "mib": 5.40},
    "densenet28": {
        "parameters": 5_150_504, "norm": 4, "low": 3_587_383_296, "float": 202_484_224,
        "mib": 4.04,
    },
    "meliusnet22": {
        "parameters": 6_119_424 + 825_160, "norm": 2, "low": 4_624_220_160, "float": 136_388_608,
        "mib": 3.88,
    },
    "real2binary": {
        "parameters": 11_995_624, "norm": 4, "low": 1_676_279_808, "float": 138_087_936,
        "mib": 5.13,
    },
}  # fmt: skip


def counted(graph: Graph) -> Counter[str]:
    """Return weights and products by kind, other constants, and channels of batch norms."""
    found: Counter[str] = Counter()
    for node in graph.nodes:
        if node.op in ("Dense", "Conv2d"):
            weight = graph.tensor(node.inputs[1])
            kind = "low" if weight.dtype.is_integer else "float"
            found[f"{kind} weights"] += weight.size
            found[f"{kind} bits"] += weight.bits
            found[f"{kind} macs"] += weight.size * prod(graph.result(node).shape[:-1])
        elif node.op == "BatchNorm":
            found["normed"] += graph.result(node).shape[-1]
        else:
            found["others"] += sum(graph.tensor(n).size for n in node.inputs
                                   if graph.tensor(n).constant)  # fmt: skip
    return found


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_are_the_published_ones(name: str) -> None:
    graph, known = zoo.build(name), PUBLISHED[name]
    found = counted(graph)
    floats = found["float weights"] + found["others"]
    if "parameters" in known:
        whole = found["low weights"] + floats + known["norm"] * found["normed"]
        assert whole == known["parameters"]
    if "low" in known:
        assert (found["low macs"], found["float macs"]) == (known["low"], known["float"])
    if "mib" in known:  # with a batch norm as one scale and one bias per channel
        bits = found["low weights"] + 32 * (floats + 2 * found["normed"])
        assert round(bits / 8 / 2**20, 2) == known["mib"]
    if "giga" in known:
        assert round((found["low macs"] + found["float macs"]) / 1e9, 3) == known["giga"]
    if "low_giga" in known:
        assert round(found["low macs"] / 1e9, 2) == known["low_giga"]
        assert round(found["float macs"] / 1e9, 3) == known["float_giga"]
    if "operations" in known:
        operations = found["low macs"] / 64 + found["float macs"]
        digits = len(known["operations"].partition("e")[0]) - 2
        assert f"{operations:.{digits}e}" == known["operations"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_net_is_priced(name: str) -> None:
    graph = bnnsim.load(f"zoo:{name}")
    report = bnnsim.estimate(graph, "cmos45")
    assert report.unpriced == ()
    assert np.isfinite(report.energy.value)
    found = counted(graph)
    assert sum(report.macs.values()) == found["low macs"] + found["float macs"]


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        *(("reactnet-a", mode) for mode in ("float32", "int8", "weight-only", "binary", "xnor-k")),
        *(("dorefa-alexnet", mode) for mode in ("float32", "int8", "weight-only", "w2a2")),
        *(("googlenet", mode) for mode in ("int8", "binary", "ternary")),
    ],
)
def test_nets_are_priced_in_other_modes(name: str, mode: str) -> None:
    assert bnnsim.estimate(bnnsim.load(f"zoo:{name}"), "cmos45", mode=mode).unpriced == ()


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_engine_equals_the_reference_on_one_image(name: str, seed: int) -> None:
    graph = bnnsim.load(f"zoo:{name}:random,3")
    x = np.random.default_rng(seed).normal(size=(1, 224, 224, 3)).astype(np.float32)
    result = bnnsim.verify(graph, x)
    assert result.ok
    assert result.layers
