"""Graph rules: each breach is named with its node, value and rule, all at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from nets import Builder, convnet, mlp

from bnnsim.errors import GraphError
from bnnsim.graph.dtypes import BIT, FLOAT32, INT16, UINT8
from bnnsim.graph.ir import Graph, Node, Tensor
from bnnsim.graph.verify import verify


def with_tensor(graph: Graph, tensor: Tensor) -> Graph:
    return replace(graph, tensors={**graph.tensors, tensor.name: tensor})


def with_node(graph: Graph, index: int, **changes: object) -> Graph:
    nodes = list(graph.nodes)
    nodes[index] = replace(nodes[index], **changes)
    return replace(graph, nodes=tuple(nodes))


def test_good_graphs_pass() -> None:
    for graph in (mlp(), convnet()):
        assert verify(graph) is graph


def test_nan_weight_is_named_with_its_place() -> None:
    graph = mlp()
    gamma = graph.tensor("batchnorm2.gamma")
    data = gamma.data.copy()
    data[3] = np.nan
    with pytest.raises(GraphError, match=r"constant 'batchnorm2.gamma'\[3\]: got nan, expected"):
        verify(with_tensor(graph, replace(gamma, data=data)))


def test_weight_outside_its_dtype_is_named() -> None:
    graph = mlp()
    weight = graph.tensor("dense1.weight")
    data = weight.data.copy()
    data[4, 5] = 0
    with pytest.raises(
        GraphError, match=r"'dense1.weight'\[4, 5\]: got 0, expected values that bit"
    ):
        verify(with_tensor(graph, replace(weight, data=data)))


def test_all_problems_are_reported_at_once() -> None:
    graph = with_node(mlp(), 2, name="dense1")
    graph = with_node(graph, 3, id=0)
    with pytest.raises(GraphError) as caught:
        verify(graph)
    assert "node name 'dense1' occurs 2 times" in str(caught.value)
    assert "node id 0 occurs 2 times" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"op": "Dens"}, "Did you mean 'Dense'"),
        ({"attrs": {"stride": (1, 1)}}, "got 'stride', expected attributes among"),
        ({"inputs": ("encode0.out",)}, r"got '1 inputs', expected inputs \(x, weight\)"),
    ],
)
def test_broken_nodes_are_named(change: dict, text: str) -> None:
    with pytest.raises(GraphError, match=text):
        verify(with_node(mlp(), 1, **change))


def test_reading_ahead_is_refused() -> None:
    graph = mlp()
    nodes = (graph.nodes[1], graph.nodes[0], *graph.nodes[2:])
    with pytest.raises(GraphError, match=r"reads 'encode0\.out' before any node computes it"):
        verify(replace(graph, nodes=nodes))


def test_wrong_channels_name_both_sides() -> None:
    net = Builder((5, 5, 4)).encode(dtype=INT16)
    weight = np.ones((2, 3, 3, 3), np.int8)
    with pytest.raises(GraphError, match=r"weight has C=3 in 1 group\(s\), activation has C=4"):
        net.add("Conv2d", {"weight": (weight, BIT)})


@pytest.mark.parametrize(
    ("attrs", "text"),
    [
        ({"stride": (0, 1)}, "attribute 'stride': got"),
        ({"pads": (1, 1, -1, 1)}, "attribute 'pads': got"),
        ({"dilation": (1, 0)}, "attribute 'dilation': got"),
        ({"pad_value": 2}, "bits are padded by -1, 0 or 1"),
        ({"pad_value": True}, "attribute 'pad_value': got True"),
    ],
)
def test_bad_convolution_attributes_are_refused(attrs: dict, text: str) -> None:
    net = Builder((5, 5, 4)).encode_bits()
    with pytest.raises(GraphError, match=text):
        net.conv(2, **attrs)


def test_kernel_larger_than_image_is_refused() -> None:
    with pytest.raises(GraphError, match="a window of 7 does not fit a padded input of 5"):
        Builder((5, 5, 1)).encode().conv(2, (7, 7))


def test_accumulators_beyond_int32_are_refused() -> None:
    net = Builder((70_000,), dtype=UINT8).encode(np.full(256, 32_000), INT16)
    with pytest.raises(GraphError, match="expected values inside int32"):
        net.dense(1).graph()


def test_weight_must_be_constant() -> None:
    tensors = {
        "input": Tensor("input", (4,), FLOAT32),
        "y": Tensor("y", (4,), FLOAT32),
    }
    node = Node(0, "d", "Bias", ("input", "input"), ("y",))
    with pytest.raises(GraphError, match=r"input 'bias' .* is no constant"):
        verify(Graph("g", (node,), tensors, ("input",), ("y",)))


def test_hostile_sizes_are_refused_before_anything_is_allocated() -> None:
    with pytest.raises(GraphError, match=r"pads .* give more than 67108864 elements of an image"):
        Builder((5, 5, 1)).encode().conv(1, pads=(10**9, 0, 0, 0), stride=(10**9, 1))
    with pytest.raises(GraphError, match="expected at most 67108864 output elements"):
        Builder((60_000, 60_000, 1)).encode().graph()


@pytest.mark.parametrize(
    ("op", "attrs", "text"),
    [
        ("Cast", {"dtype": "bit"}, "casts uint8 to bit, which does not hold all its values"),
        ("Cast", {"dtype": "int8"}, "casts uint8 to int8, which does not hold all its values"),
        ("Clip", {"low": 5, "high": 2}, r"clips to \[5.0, 2.0\], which is empty"),
        ("Clip", {"low": -1, "high": 1}, "integers that it holds are needed"),
        ("Clip", {"low": 0, "high": float("inf")}, "integers that it holds are needed"),
    ],
)
def test_casts_and_clips_keep_to_their_dtypes(op: str, attrs: dict, text: str) -> None:
    with pytest.raises(GraphError, match=text):
        Builder((4,)).add(op, **attrs)


def test_graphs_without_nodes_or_dimensions_are_refused() -> None:
    tensors = {"input": Tensor("input", (), FLOAT32)}
    with pytest.raises(GraphError, match=r"no nodes.*\n.*got \(\), expected one to three"):
        verify(Graph("g", (), tensors, ("input",), ("input",)))
