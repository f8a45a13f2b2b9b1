"""Every operator of the ONNX front end, against onnx's own evaluator, equal to the bit.

Inputs and constants are small multiples of 1/8, so that every float operation is exact and ties
are met; the cases that round are held to a stated difference.
"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")

from onnx_nets import BREVITAS, FINN, QONNX, executed, expected, node, write

F = np.float32


def eighths(rng, *shape, top=24):
    return (rng.integers(-top, top + 1, shape) / 8).astype(F)


def bits(rng, *shape):
    return rng.choice(np.array([-1, 1], F), shape)


def bn(rng, channels, prefix="bn"):
    """Return constants of a batch norm whose every step is exact: variances 4^k, eps 0."""
    return {
        f"{prefix}.g": rng.choice(np.array([-2, -1, 0.5, 1, 0], F), channels),
        f"{prefix}.b": eighths(rng, channels),
        f"{prefix}.m": rng.integers(-3, 4, channels).astype(F),
        f"{prefix}.v": rng.choice(np.array([0.25, 1, 4], F), channels),
    }


def bn_node(x, y, prefix="bn"):
    names = [x, *(f"{prefix}.{part}" for part in "gbmv")]
    return node("BatchNormalization", names, y, epsilon=0.0)


def check(tmp_path, nodes, x, constants=None, *, ops=None, within=0.0, **options):
    path = write(
        tmp_path / "net.onnx", nodes, (1, *x.shape[1:]), constants, dtype=x.dtype, **options
    )
    got, found = executed(path, x)
    want = expected(path, x)
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= within
    assert len(np.unique(want)) > 1, "the case shows nothing"
    if ops is not None:
        assert found == ops
    return path


SIGNS = {
    "bipolar": [node("BipolarQuant", ["c", "one"], "s", BREVITAS)],
    "one bit": [node("Quant", ["c", "one", "zero", "one"], "s", QONNX, signed=1, narrow=1)],
    "where": [
        node("GreaterOrEqual", ["c", "zero"], "t"),
        node("Where", ["t", "one", "minus"], "s"),
    ],
    "less": [node("Less", ["c", "zero"], "t"), node("Where", ["t", "minus", "one"], "s")],
    "mirrored": [
        node("LessOrEqual", ["zero", "c"], "t"),
        node("Where", ["t", "one", "minus"], "s"),
    ],
    "cast": [
        node("GreaterOrEqual", ["c", "zero"], "t"),
        node("Cast", ["t"], "u", to=1),
        node("Mul", ["u", "two"], "v"),
        node("Sub", ["v", "one"], "s"),
    ],
    "not": [
        node("Less", ["c", "zero"], "t"),
        node("Not", ["t"], "u"),
        node("Where", ["u", "one", "minus"], "s"),
    ],
    "threshold": [
        node("MultiThreshold", ["c", "table"], "s", FINN, out_scale=2.0, out_bias=-1.0,
             out_dtype="BIPOLAR"),
    ],
}  # fmt: skip
SCALARS = {"zero": F(0), "one": F(1), "minus": F(-1), "two": F(2), "table": np.zeros((1, 1), F)}


@pytest.mark.parametrize("form", SIGNS)
@pytest.mark.parametrize("features", [1, 63, 65])
def test_forms_of_sign_are_bits(form, features, tmp_path, rng) -> None:
    weights = {"w1": bits(rng, 5, features), "w2": bits(rng, 3, 5), **bn(rng, 5), **SCALARS}
    nodes = [
        node("BipolarQuant", ["x", "one"], "a", BREVITAS),
        node("Gemm", ["a", "w1"], "b", transB=1),
        bn_node("b", "c"),
        *SIGNS[form],
        node("Transpose", ["w2"], "w2t", perm=[1, 0]),
        node("MatMul", ["s", "w2t"], "y"),
    ]
    ops = ["Quantize", "Dense", "BatchNorm", "Quantize", "Dense"]
    if form == "threshold":
        ops[3] = "Threshold"
    check(tmp_path, nodes, eighths(rng, 40, features), weights, ops=ops, opset=16)


def test_sign_is_noted_or_refused_and_differs_at_ties_only(tmp_path, rng) -> None:
    from bnnsim.errors import SourceError
    from bnnsim.frontends.onnx_import import from_onnx

    nodes = [node("Mul", ["x", "two"], "a"), node("Sign", ["a"], "y")]
    x = eighths(rng, 30, 7, top=3)
    path = write(tmp_path / "net.onnx", nodes, (1, 7), SCALARS)
    got, _ = executed(path, x)
    want = expected(path, x)
    assert (want == 0).any()
    assert (got[want == 0] == 1).all()
    assert (got == want)[want != 0].all()
    (note,) = from_onnx(path).meta["notes"]
    assert note == "node 'Sign_y' (Sign): a sign that is not +1 at 0; lowered to sign(0) = +1."
    with pytest.raises(
        SourceError, match=r"node 'Sign_y' \(Sign\): got .*expected sign\(0\) = \+1"
    ):
        from_onnx(path, sign_zero="error")


MODES = ["ROUND", "HALF_EVEN", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("zero", [0, 3])
@pytest.mark.parametrize(
    ("width", "signed", "narrow"), [(2, 1, 1), (2, 1, 0), (4, 1, 1), (3, 0, 0), (1, 0, 0)]
)
def test_quant_in_all_modes(mode, zero, width, signed, narrow, tmp_path, rng) -> None:
    """Half of the inputs of the quantizer are ties, on both sides of zero and of the limits."""
    constants = {
        "w": bits(rng, 6, 9), "w2": bits(rng, 4, 6), "scale": F(0.5), "z": F(zero),
        "n": F(width), **bn(rng, 6), "one": F(1), "quarter": F(0.25),
    }  # fmt: skip
    nodes = [
        node("BipolarQuant", ["x", "one"], "a", BREVITAS),
        node("Gemm", ["a", "w"], "b", transB=1),
        node("Mul", ["b", "quarter"], "c"),
        node("Quant", ["c", "scale", "z", "n"], "q", QONNX, signed=signed, narrow=narrow,
             rounding_mode=mode),
        node("Gemm", ["q", "w2"], "y", transB=1),
    ]  # fmt: skip
    check(tmp_path, nodes, eighths(rng, 60, 9), constants)


def test_quant_scale_that_is_no_power_of_two_divides_exactly(tmp_path, rng) -> None:
    """x / 0.1 is rounded once: a product with float32(1 / 0.1) crosses other halves."""
    x = (np.arange(-400, 400, dtype=F) * F(0.05)).reshape(-1, 8)
    x = np.concatenate([x, np.nextafter(x, F(9)), np.nextafter(x, F(-9))])
    constants = {"s": F(0.1), "z": F(0), "n": F(8)}
    nodes = [node("Quant", ["x", "s", "z", "n"], "y", QONNX, signed=1, narrow=0)]
    check(tmp_path, nodes, x, constants, ops=["Requantize", "Scale"])
    nodes = [node("Div", ["x", "s"], "y")]
    check(tmp_path, nodes, x, constants, ops=["Scale"])


@pytest.mark.parametrize("domain", [BREVITAS, QONNX, FINN])
def test_weights_of_quantizers_are_recognised_by_value(domain, tmp_path, rng) -> None:
    constants = {
        "w": eighths(rng, 8, 3, 3, 3), "s": rng.choice(np.array([0.25, 0.5], F), (8, 1, 1, 1)),
        "z": F(0), "n": F(2), "one": F(1), **bn(rng, 8),
    }  # fmt: skip
    nodes = [
        node("BipolarQuant", ["x", "one"], "a", domain),
        node("Quant", ["w", "s", "z", "n"], "wq", domain, signed=1, narrow=1),
        node("Conv", ["a", "wq"], "b"),
        bn_node("b", "c"),
        node("BipolarQuant", ["c", "one"], "y", domain),
    ]
    ops = ["Quantize", "Conv2d", "Scale", "BatchNorm", "Quantize"]
    check(tmp_path, nodes, eighths(rng, 6, 3, 7, 5), constants, ops=ops)


@pytest.mark.parametrize("clipped", [False, True])
@pytest.mark.parametrize("zero", [np.int8(0), np.uint8(0), np.int8(-3), np.uint8(128)])
def test_qcdq(clipped, zero, tmp_path, rng) -> None:
    constants = {
        "s": F(0.25), "z": np.array(zero), "w": rng.integers(-7, 8, (5, 11)).astype(np.int8),
        "ws": F(0.5), "wz": np.int8(0), "low": np.array(zero),
        "top": np.array(zero + type(zero)(7)),
        "q": F(0.125),
    }  # fmt: skip
    nodes = [node("QuantizeLinear", ["x", "s", "z"], "a")]
    if clipped:
        nodes.append(node("Clip", ["a", "low", "top"], "b"))
    nodes += [
        node("DequantizeLinear", ["b" if clipped else "a", "s", "z"], "c"),
        node("DequantizeLinear", ["w", "ws", "wz"], "wf"),
        node("Gemm", ["c", "wf"], "y", transB=1),
    ]
    ops = ["Requantize", "Dense", "Scale", "Scale"]
    check(tmp_path, nodes, eighths(rng, 30, 11, top=300), constants, ops=ops)


CONVS = {
    "plain": {},
    "pads": {"pads": [1, 2, 0, 1]},
    "same upper": {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    "same lower": {"auto_pad": "SAME_LOWER", "strides": [2, 1]},
    "valid": {"auto_pad": "VALID", "strides": [1, 2]},
    "dilations": {"dilations": [2, 1], "pads": [1, 0, 1, 0]},
    "groups": {"group": 3},
}


@pytest.mark.parametrize("form", CONVS)
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("scaled", [F(1), F(0.5)])
def test_convolutions_of_bits(form, biased, scaled, tmp_path, rng) -> None:
    groups = CONVS[form].get("group", 1)
    constants = {"w": bits(rng, 6, 6 // groups, 3, 3), "b": eighths(rng, 6), "s": scaled}
    nodes = [
        node("BipolarQuant", ["x", "s"], "a", QONNX),
        node("Conv", ["a", "w", "b"][: 2 + biased], "c", **CONVS[form]),
        node("Flatten", ["c"], "y"),
    ]
    x = eighths(rng, 4, 6, 8, 7)
    head = {"w2": bits(rng, 2, 1)}
    path = write(tmp_path / "probe.onnx", nodes, (1, *x.shape[1:]), constants)
    head["w2"] = bits(rng, 3, expected(path, x).shape[1])  # NHWC order inside, the file's outside
    nodes[-1] = node("Flatten", ["c"], "f")
    nodes.append(node("Gemm", ["f", "w2"], "y", transB=1))
    check(tmp_path, nodes, x, constants | head)


POOLS = {
    "max": ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "max uneven pads": ("MaxPool", {"kernel_shape": [3, 2], "pads": [1, 0, 0, 1]}),
    "max ceil": ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    "max same": ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "average": ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "average pads": ("AveragePool", {"kernel_shape": [2, 2], "pads": [1, 1, 0, 0],
                                     "count_include_pad": 1}),
    "average of taps": ("AveragePool", {"kernel_shape": [2, 2], "pads": [1, 0, 0, 1]}),
    "global": ("GlobalAveragePool", {}),
}  # fmt: skip


@pytest.mark.parametrize("form", POOLS)
@pytest.mark.parametrize("levels", [False, True])
def test_pools(form, levels, tmp_path, rng) -> None:
    op, attrs = POOLS[form]
    constants = {"s": F(0.5), "z": F(0), "n": F(4)}
    nodes = [node("Quant", ["x", "s", "z", "n"], "a", QONNX, signed=1)] if levels else []
    nodes.append(node(op, ["a" if levels else "x"], "y", **attrs))
    x = eighths(rng, 3, 5, 8, 7)
    within = 0.0 if op == "MaxPool" else 2e-7 * 3
    check(tmp_path, nodes, x, constants, within=within, opset=19)


def test_steps_of_integers_and_floats_through_multithreshold(tmp_path, rng) -> None:
    for table, attrs in (
        (np.sort(eighths(rng, 5, 3), axis=1), {"out_bias": -1.0}),  # ternary and one step more
        (np.sort(eighths(rng, 1, 7), axis=1), {"out_scale": 0.5}),
        (eighths(rng, 5, 3), {"out_scale": 2.0, "out_bias": -3.0}),  # unsorted; odd levels
        (np.sort(eighths(rng, 5, 2), axis=1), {"out_scale": 0.5, "out_bias": 0.25}),
        (np.sort(eighths(rng, 5, 2), axis=1), {"out_scale": -1.0}),
    ):
        for first in (["x"], ["x", "one"]):
            constants = {"t": table, "one": F(1), "w": bits(rng, 5, 5), "h": F(0.5)}
            nodes = (
                [node("Mul", ["x", "h"], "c")]  # floats
                if len(first) == 1
                else [
                    node("BipolarQuant", first, "a", QONNX),
                    node("Gemm", ["a", "w"], "c", transB=1),
                ]
            )
            nodes.append(node("MultiThreshold", ["c", "t"], "y", FINN, out_dtype="INT4", **attrs))
            check(tmp_path, nodes, eighths(rng, 80, 5), constants)


@pytest.mark.parametrize("mode", ["FLOOR", "ROUND", "CEIL"])
@pytest.mark.parametrize("version", [1, 2])
def test_trunc(mode, version, tmp_path, rng) -> None:
    constants = {
        "s": F(0.25), "z": F(0), "n": F(8), "m": F(5), "os": F(2.0), "four": F(4),
        "w": bits(rng, 3, 6),
    }  # fmt: skip
    last = ["m"] if version == 1 else ["os", "four"]
    nodes = [
        node("Quant", ["x", "s", "z", "n"], "a", QONNX, signed=1),
        node("Trunc", ["a", "s", "z", "n", *last], "b", QONNX, rounding_mode=mode),
        node("Gemm", ["b", "w"], "y", transB=1),
    ]
    ops = ["Requantize", "Requantize", "Dense", "Scale"]
    check(tmp_path, nodes, eighths(rng, 40, 6, top=300), constants, ops=ops)


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 18, 21, 23])
def test_opsets_write_clip_pad_squeeze_and_reduce_in_their_own_way(opset, tmp_path, rng) -> None:
    constants = {"low": F(-1), "high": F(1), "pads": np.array([0, 0, 1, 1, 0, 0, 0, 1]),
                 "axes": np.array([2, 3]), "w": bits(rng, 4, 3, 2, 2), "one": F(1)}  # fmt: skip
    nodes = [
        node("Clip", ["x"], "a", min=-1.0, max=1.0)
        if opset < 11
        else node("Clip", ["x", "low", "high"], "a"),
        node("BipolarQuant", ["a", "one"], "s", QONNX),
        node("Pad", ["s"], "p", pads=[0, 0, 1, 1, 0, 0, 0, 1])
        if opset < 11
        else node("Pad", ["s", "pads"], "p"),
        node("Conv", ["p", "w"], "c"),
        node("ReduceMean", ["c"], "m", axes=[2, 3])
        if opset < 18
        else node("ReduceMean", ["c", "axes"], "m"),
        node("Squeeze", ["m"], "y", axes=[2, 3])
        if opset < 13
        else node("Squeeze", ["m", "axes"], "y"),
    ]
    check(tmp_path, nodes, eighths(rng, 5, 3, 5, 4), constants, opset=opset, within=3e-7 * 12)


def test_pixels_become_a_table_and_integers(tmp_path, rng) -> None:
    constants = {"top": F(255), "two": F(2), "one": F(1), "s": F(1 / 128), "z": F(0), "n": F(8),
                 "w": bits(rng, 7, 12), "half": F(127.5)}  # fmt: skip
    x = rng.integers(0, 256, (30, 12)).astype(np.uint8)
    nodes = [
        node("Cast", ["x"], "f", to=1),
        node("Div", ["f", "top"], "a"),
        node("Mul", ["a", "two"], "b"),
        node("Sub", ["b", "one"], "c"),
        node("Quant", ["c", "s", "z", "n"], "q", QONNX, signed=1),
        node("Gemm", ["q", "w"], "y", transB=1),
    ]
    check(tmp_path, nodes, x, constants, ops=["Encode", "Dense", "Scale"])
    nodes = [
        node("Cast", ["x"], "f", to=1),
        node("Greater", ["f", "half"], "t"),
        node("Where", ["t", "one", "z"], "a"),
        node("Gemm", ["a", "w"], "y", transB=1),
    ]
    check(tmp_path, nodes, x, constants, ops=["Encode", "Dense"])


def test_residual_sums_of_levels_and_of_floats(tmp_path, rng) -> None:
    constants = {"s": F(0.25), "z": F(0), "n": F(4), "w": bits(rng, 6, 6, 1, 1), "one": F(1)}
    quant = ["s", "z", "n"]
    nodes = [
        node("Quant", ["x", *quant], "a", QONNX, signed=1),
        node("Conv", ["a", "w"], "b"),
        node("Quant", ["b", *quant], "c", QONNX, signed=1),
        node("Add", ["a", "c"], "d"),
        node("Relu", ["d"], "e"),
        node("Mul", ["e", "x"], "f"),
        node("Sub", ["f", "d"], "y"),
    ]
    check(tmp_path, nodes, eighths(rng, 4, 6, 3, 5), constants)


def test_channels_last_networks_and_flattening_in_that_order(tmp_path, rng) -> None:
    constants = {"one": F(1), "k": eighths(rng, 5), "w": bits(rng, 6, 5, 2, 2),
                 "w2": bits(rng, 3, 6 * 3 * 4), "t": eighths(rng, 6, 1)}  # fmt: skip
    nodes = [
        node("Add", ["x", "k"], "a"),
        node("Transpose", ["a"], "b", perm=[0, 3, 1, 2]),
        node("BipolarQuant", ["b", "one"], "c", QONNX),
        node("Conv", ["c", "w"], "d"),
        node("Transpose", ["d"], "e", perm=[0, 2, 3, 1]),
        node("MultiThreshold", ["e", "t"], "f", FINN, out_scale=2.0, out_bias=-1.0,
             out_dtype="BIPOLAR", data_layout="NHWC"),
        node("Flatten", ["f"], "g"),
        node("Gemm", ["g", "w2"], "y", transB=1),
    ]  # fmt: skip
    x = eighths(rng, 5, 4, 5, 5)
    path = write(tmp_path / "net.onnx", nodes, (1, *x.shape[1:]), constants)
    got, found = executed(path, x)
    assert found == ["Bias", "Quantize", "Conv2d", "Threshold", "Flatten", "Dense"]
    assert (got == expected(path, x)).all()


def test_shapes_computed_in_the_file_and_dead_ends(tmp_path, rng) -> None:
    constants = {"i": np.array(0), "rest": np.array([-1]), "axes": np.array([0]),
                 "w": bits(rng, 2, 12), "one": F(1), "unused": eighths(rng, 3)}  # fmt: skip
    nodes = [
        node("Shape", ["x"], "a"),
        node("Gather", ["a", "i"], "b"),
        node("Unsqueeze", ["b", "axes"], "c"),
        node("Concat", ["c", "rest"], "d", axis=0),
        node("Reshape", ["x", "d"], "e"),
        node("Erf", ["unused"], "dead"),
        node("BipolarQuant", ["e", "one"], "f", QONNX),
        node("Dropout", ["f"], "g"),
        node("Identity", ["g"], "h"),
        node("Gemm", ["h", "w"], "y", transB=1, alpha=0.5),
    ]
    x = eighths(rng, 5, 3, 2, 2)
    check(tmp_path, nodes, x, constants)
    path = write(tmp_path / "open.onnx", nodes, ("N", 3, 2, 2), constants)
    assert (executed(path, x)[0] == expected(path, x)).all()


@pytest.mark.parametrize("op", ["ArgMax", "Softmax", "TopK"])
def test_what_decides_at_the_end_is_left_out_with_a_note(op, tmp_path, rng) -> None:
    from bnnsim.frontends.onnx_import import from_onnx

    constants = {"w": bits(rng, 4, 9), "one": F(1), "k": np.array([1])}
    nodes = [
        node("BipolarQuant", ["x", "one"], "a", QONNX),
        node("Gemm", ["a", "w"], "l", transB=1),
        node(op, ["l", "k"] if op == "TopK" else ["l"], "y"),
    ]
    if op == "TopK":
        nodes[-1].output.append("index")
    graph = from_onnx(write(tmp_path / "net.onnx", nodes, (1, 9), constants))
    assert [n.op for n in graph.nodes] == ["Quantize", "Dense"]
    assert f"node '{op}_y' ({op}): left out at the end" in graph.meta["notes"][0]


def test_k_of_xnor_net_is_one_node(tmp_path, rng) -> None:
    constants = {"box": np.full((1, 1, 3, 3), 1 / 9, F), "w": bits(rng, 4, 6, 3, 3), "one": F(1)}
    nodes = [
        node("Abs", ["x"], "a"),
        node("ReduceMean", ["a"], "m", axes=[1]),
        node("Conv", ["m", "box"], "k"),
        node("BipolarQuant", ["x", "one"], "s", QONNX),
        node("Conv", ["s", "w"], "c"),
        node("Mul", ["c", "k"], "y"),
    ]
    ops = ["InputScale", "Quantize", "Conv2d", "Mul"]
    check(tmp_path, nodes, eighths(rng, 3, 6, 6, 5), constants, ops=ops, within=2e-5)
