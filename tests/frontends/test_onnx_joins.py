"""ONNX operators that join, reorder and gate channels, against onnx's own evaluator."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")

from onnx import helper
from onnx_nets import QONNX, executed, expected, node, write
from test_onnx_models import F, bits, check, eighths

from bnnsim.errors import SourceError
from bnnsim.frontends.onnx_import import from_onnx

IMAGE, VECTOR = (5, 6, 3, 4), (20, 6)


@pytest.mark.parametrize("shape", [IMAGE, VECTOR])
@pytest.mark.parametrize("slopes", ["one", "channels"])
def test_prelu_and_leaky_relu(shape, slopes, tmp_path, rng) -> None:
    count = 1 if slopes == "one" else 6
    slope = eighths(rng, count, top=16).reshape((count, *[1] * (len(shape) - 2)))
    slope[0] = -0.5  # slopes may be negative
    nodes = [node("PRelu", ["x", "s"], "p"), node("LeakyRelu", ["p"], "y", alpha=0.25)]
    check(tmp_path, nodes, eighths(rng, *shape), {"s": slope}, ops=["PRelu", "PRelu"])


def test_a_leaky_relu_has_the_slope_of_the_standard(tmp_path, rng) -> None:
    check(tmp_path, [node("LeakyRelu", ["x"], "y")], eighths(rng, 40, 3), ops=["PRelu"])
    path = write(tmp_path / "z.onnx", [node("LeakyRelu", ["x"], "y", alpha=0.0)], (1, 3))
    assert executed(path, eighths(rng, 2, 3))[1] == ["Relu"]


@pytest.mark.parametrize(("axis", "sizes"), [(1, [1, 3, 2]), (-2, [2, 1]), (3, [1, 1, 2])])
def test_parts_are_slices(axis, sizes, tmp_path, rng) -> None:
    names = [f"p{i}" for i in range(len(sizes))]
    split = helper.make_node("Split", ["x", "sizes"], names, axis=axis)
    nodes = [split, node("Neg", [names[0]], "n"), node("Concat", [*names[1:], "n"], "y", axis=1)]
    if axis != 1:
        nodes = [split, node("Neg", [names[-1]], "y")]
    ops = ["Slice", "Scale"] if axis != 1 else ["Slice", "Scale", "Slice", "Slice", "Concat"]
    constants = {"sizes": np.array(sizes, np.int64)}
    check(tmp_path, nodes, eighths(rng, *IMAGE), constants, ops=ops)


def test_parts_that_do_not_make_the_whole_are_refused(tmp_path) -> None:
    split = helper.make_node("Split", ["x", "sizes"], ["p", "q"], name="cut", axis=1)
    constants = {"sizes": np.array([2, 9], np.int64)}
    path = write(tmp_path / "no.onnx", [split, node("Neg", ["q"], "y")], (1, *IMAGE[1:]), constants)
    with pytest.raises(SourceError, match=r"of 6 elements into .2, 9. for 2 outputs"):
        from_onnx(path)


GATES = {
    "tanh": ([node("Tanh", ["x"], "y")], ["Scale", "Sigmoid", "Affine"], 2e-7),
    "sigmoid": ([node("Sigmoid", ["x"], "y")], ["Sigmoid"], 6e-8),
    "hard sigmoid": (
        [node("HardSigmoid", ["x"], "y", alpha=0.25, beta=0.375)], ["Affine", "Clip"], 0.0
    ),
    "hard sigmoid's own line": ([node("HardSigmoid", ["x"], "y")], ["Affine", "Clip"], 0.0),
    "hard swish": ([node("HardSwish", ["x"], "y")], ["Affine", "Clip", "Mul"], 6e-7),
}  # fmt: skip


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("shape", [IMAGE, VECTOR])
def test_gates(name, shape, tmp_path, rng) -> None:
    nodes, ops, within = GATES[name]
    check(tmp_path, nodes, eighths(rng, *shape, top=40), ops=ops, within=within)


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [1, -1])
def test_a_softmax_inside_the_network(op, axis, tmp_path, rng) -> None:
    nodes = [node(op, ["x"], "s", axis=axis), node("Neg", ["s"], "y")]
    check(tmp_path, nodes, eighths(rng, 20, 7), ops=["Softmax", "Scale"], within=5e-7)


def test_a_softmax_over_channels_of_an_image(tmp_path, rng) -> None:
    nodes = [node("Softmax", ["x"], "s", axis=-3), node("Neg", ["s"], "y")]
    check(tmp_path, nodes, eighths(rng, *IMAGE), ops=["Softmax", "Scale"], within=5e-7)
    for axis, opset in ((3, 19), (1, 11)):
        nodes = [node("Softmax", ["x"], "s", axis=axis), node("Neg", ["s"], "y")]
        path = write(tmp_path / "no.onnx", nodes, (1, *IMAGE[1:]), opset=opset)
        with pytest.raises(SourceError, match=r"node 'Softmax_s'.*other than over channels"):
            from_onnx(path)


@pytest.mark.parametrize("shape", [IMAGE, VECTOR])
@pytest.mark.parametrize("axis", [1, 1 - 4])
def test_channels_side_by_side(shape, axis, tmp_path, rng) -> None:
    axis = axis if axis > 0 else 1 - len(shape)
    nodes = [
        node("BipolarQuant", ["x", "one"], "s", QONNX),
        node("Relu", ["x"], "r"),
        node("Concat", ["s", "r", "x"], "y", axis=axis),
    ]
    ops = ["Quantize", "Relu", "Cast", "Concat"]
    check(tmp_path, nodes, eighths(rng, *shape), {"one": F(1)}, ops=ops)


@pytest.mark.parametrize("factors", [(0.5, 0.5), (0.5, 0.25)])
def test_levels_of_one_factor_stay_integers_side_by_side(factors, tmp_path, rng) -> None:
    constants = {"a": F(factors[0]), "b": F(factors[1]), "w": bits(rng, 4, 12, 1, 1)}
    nodes = [
        node("Neg", ["x"], "n"),
        node("BipolarQuant", ["x", "a"], "s", QONNX),
        node("BipolarQuant", ["n", "b"], "t", QONNX),
        node("Concat", ["s", "t"], "c", axis=1),
        node("Conv", ["c", "w"], "y"),
    ]
    path = check(tmp_path, nodes, eighths(rng, *IMAGE), constants)
    graph = from_onnx(path)
    kinds = {n.op: n for n in graph.nodes}
    joined = graph.tensor(kinds["Concat"].output).dtype
    assert str(joined) == ("bit" if factors[0] == factors[1] else "float32")


def test_flattened_images_side_by_side_keep_their_orders(tmp_path, rng) -> None:
    constants = {"one": F(1), "w": bits(rng, 4, 2 * 72)}
    nodes = [
        node("BipolarQuant", ["x", "one"], "s", QONNX),
        node("Neg", ["s"], "n"),
        node("Flatten", ["s"], "f"),
        node("Flatten", ["n"], "g"),
        node("Concat", ["f", "g"], "c", axis=1),
        node("Gemm", ["c", "w"], "y", transB=1),
    ]
    check(tmp_path, nodes, eighths(rng, *IMAGE), constants)


def shuffle(x, y, shape, groups):
    channels, *size = shape[1:]
    views = {"g": (1, groups, channels // groups, *size), "b": (1, channels, *size)}
    perm = [0, 2, 1, *range(3, 3 + len(size))]
    nodes = [
        node("Reshape", [x, "g"], f"{y}.g"),
        node("Transpose", [f"{y}.g"], f"{y}.t", perm=perm),
        node("Reshape", [f"{y}.t", "b"], y),
    ]
    return nodes, {name: np.array(view) for name, view in views.items()}


@pytest.mark.parametrize("groups", [2, 3, 6])
@pytest.mark.parametrize("first", ["float", "levels"])
def test_a_channel_shuffle_is_one_node(groups, first, tmp_path, rng) -> None:
    nodes, constants = shuffle("q", "y", IMAGE, groups)
    begin = node("BipolarQuant", ["x", "half"], "q", QONNX)
    if first == "float":
        begin = node("Relu", ["x"], "q")
    path = check(tmp_path, [begin, *nodes], eighths(rng, *IMAGE), {**constants, "half": F(0.5)})
    graph = from_onnx(path)
    (shuffled,) = [n for n in graph.nodes if n.op == "ChannelShuffle"]
    assert str(graph.result(shuffled).dtype) == ("bit" if first == "levels" else "float32")


def test_groups_that_are_not_put_back_are_refused(tmp_path) -> None:
    nodes, constants = shuffle("x", "y", IMAGE, 2)
    nodes[1].attribute[0].ints[:] = [0, 1, 2, 4, 3]
    path = write(tmp_path / "net.onnx", nodes, (1, *IMAGE[1:]), constants)
    with pytest.raises(SourceError, match=r"node 'Transpose_y.t'.*other than of groups of"):
        from_onnx(path)
    nodes, constants = shuffle("x", "y", IMAGE, 2)
    nodes[2] = node("Relu", ["y.t"], "y")
    path = write(tmp_path / "net.onnx", nodes, (1, *IMAGE[1:]), constants)
    with pytest.raises(SourceError, match=r"node 'Relu_y' \(Relu\): got 'channels viewed as"):
        from_onnx(path)


def test_elementwise_operators_between_transposes(tmp_path, rng) -> None:
    constants = {"half": F(0.5), "one": F(1), "w": bits(rng, 4, 12, 1, 1)}
    nodes = [
        node("Transpose", ["x"], "a", perm=[0, 3, 1, 2]),
        node("Relu", ["a"], "b"),
        node("Transpose", ["b"], "c", perm=[0, 2, 3, 1]),
        node("LeakyRelu", ["c"], "d", alpha=0.5),
        node("Sub", ["d", "one"], "e"),
        node("Concat", ["e", "c"], "f", axis=3),
        node("Transpose", ["f"], "g", perm=[0, 3, 1, 2]),
        node("BipolarQuant", ["g", "one"], "h", QONNX),
        node("Conv", ["h", "w"], "y"),
    ]
    x = eighths(rng, 5, 3, 4, 6)
    path = write(tmp_path / "net.onnx", nodes, (1, *x.shape[1:]), constants)
    got, found = executed(path, x)
    assert found == ["Relu", "PRelu", "Bias", "Concat", "Quantize", "Conv2d"]
    assert (got == expected(path, x)).all()


@pytest.mark.parametrize(
    ("nodes", "constants", "text"),
    [
        ([node("Concat", ["x", "k"], "y", axis=1)], {"k": np.zeros((1, 2, 3, 4), F)},
         "with a constant beside activations"),
        ([node("Concat", ["x", "x"], "y", axis=2)], {}, "other than of the channels"),
        ([node("Concat", ["x", "x"], "y", axis=4)], {}, "equal but along axis 4"),
        ([node("PRelu", ["x", "k"], "y")], {"k": np.arange(4, dtype=F)}, "slope: got .4,., exp"),
        ([node("PRelu", ["x", "x"], "y")], {}, "slope: got 'a computed tensor'"),
        ([node("Transpose", ["x"], "t", perm=[0, 2, 3, 1]), node("PRelu", ["t", "k"], "y")],
         {"k": np.zeros(1, F)}, "got 'axes in another order'"),
    ],
)  # fmt: skip
def test_what_has_no_meaning_is_refused_by_node(nodes, constants, text, tmp_path) -> None:
    path = write(tmp_path / "net.onnx", nodes, (1, *IMAGE[1:]), constants)
    with pytest.raises(SourceError, match=rf"node '{nodes[-1].op_type}_y'.*{text}"):
        from_onnx(path)
