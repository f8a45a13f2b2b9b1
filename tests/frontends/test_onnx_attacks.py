"""Odd ONNX files: what they become computes what they do, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")

from onnx_nets import QONNX, node, write
from test_onnx_models import F, bits, bn, bn_node, check, eighths

from bnnsim.frontends.onnx_import import from_onnx

IMAGE = (7, 6, 8, 8)


def quant(x, y, scale="one"):
    return node("BipolarQuant", [x, scale], y, QONNX)


CASES = {
    "one weight in two convolutions": [
        quant("x", "a"), node("Conv", ["a", "w"], "c", pads=[1] * 4), bn_node("c", "d"),
        quant("d", "e"), node("Conv", ["e", "w"], "y"),
    ],
    "a sign of a sum of branches": [
        quant("x", "a"), node("Conv", ["a", "w"], "c", pads=[1] * 4),
        node("Add", ["a", "c"], "s"), quant("s", "y"),
    ],
    "groups, dilations and uneven pads": [
        quant("x", "a"),
        node("Conv", ["a", "wg"], "y", group=3, dilations=[2, 2], pads=[0, 1, 3, 2],
             strides=[2, 1]),
    ],
    "a pad before a convolution with its own": [
        quant("x", "a"), node("Pad", ["a", "pads"], "p"),
        node("Conv", ["p", "w"], "y", pads=[0, 1, 1, 0]),
    ],
    "an average before a sign": [
        node("AveragePool", ["x"], "p", kernel_shape=[2, 2], strides=[2, 2]), quant("p", "y"),
    ],
    "a comparison with a number": [
        node("Add", ["x", "half"], "a"), node("GreaterOrEqual", ["a", "half"], "t"),
        node("Where", ["t", "one", "minus"], "y"),
    ],
    "a comparison with one number per channel": [
        node("GreaterOrEqual", ["x", "k"], "t"), node("Where", ["t", "one", "minus"], "y"),
    ],
    "a sign that falls": [
        node("LessOrEqual", ["x", "k"], "t"), node("Where", ["t", "one", "minus"], "y"),
    ],
    "levels and their convolution in one sum": [
        quant("x", "a", "half"), node("Conv", ["a", "w"], "c", pads=[1] * 4),
        node("Add", ["a", "c"], "y"),
    ],
    "a kernel larger than the image": [
        quant("x", "a"), node("Conv", ["a", "huge"], "y", pads=[7] * 4, strides=[4, 4]),
    ],
    "a shuffle whose sizes are left open": [
        node("Reshape", ["x", "view"], "a"), node("Transpose", ["a"], "b", perm=[0, 2, 1, 3, 4]),
        node("Reshape", ["b", "back"], "y"),
    ],
    "a clipping between transposes": [
        node("Transpose", ["x"], "t", perm=[0, 2, 3, 1]), node("Clip", ["t", "minus", "one"], "c"),
        node("Transpose", ["c"], "u", perm=[0, 3, 1, 2]), node("Relu", ["u"], "y"),
    ],
    "a difference of activations": [node("Relu", ["x"], "r"), node("Sub", ["x", "r"], "y")],
    "an activation times itself": [node("Mul", ["x", "x"], "y")],
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_odd_files_equal_the_evaluator_to_the_bit(name, tmp_path, rng) -> None:
    constants = {
        "one": F(1), "half": F(0.5), "minus": F(-1), "w": bits(rng, 6, 6, 3, 3),
        "wg": bits(rng, 6, 2, 3, 3), "huge": bits(rng, 4, 6, 15, 15), "k": eighths(rng, 6, 1, 1),
        "pads": np.array([0, 0, 1, 0, 0, 0, 2, 1]), "view": np.array([0, 2, -1, 8, 8]),
        "back": np.array([0, -1, 8, 8]), **bn(rng, 6),
    }  # fmt: skip
    check(tmp_path, CASES[name], eighths(rng, *IMAGE), constants)


def test_a_cast_at_the_end_that_rounds_is_left_out_with_a_note(tmp_path) -> None:
    nodes = [node("Relu", ["x"], "a"), node("Cast", ["a"], "y", to=10)]
    graph = from_onnx(write(tmp_path / "net.onnx", nodes, (1, 4)))
    assert "node 'Cast_y' (Cast): left out at the end" in graph.meta["notes"][0]
    nodes[1] = node("Cast", ["a"], "y", to=1)
    assert from_onnx(write(tmp_path / "net.onnx", nodes, (1, 4))).meta["notes"] == []
