"""A declared grid: first layers sum integers, equal to today's integer path, zero and pads exact.

The oracle is the same network fed ``n - zero`` as int16 with a Scale after its first layer; where
the scale is a power of two, the float network itself as well.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from nets import Builder, float_residual

import bnnsim
from bnnsim.cost.actions import count_actions
from bnnsim.engine.dispatch import available_isas
from bnnsim.engine.reference import execute
from bnnsim.errors import BnnsimError, GraphError, InputError
from bnnsim.graph.dtypes import BIT, FLOAT32, INT8, INT16, TERNARY, UINT8, DType
from bnnsim.graph.grids import Grid
from bnnsim.graph.verify import verify
from bnnsim.passes.input_grid import with_input_grid
from bnnsim.passes.modes import MODES
from bnnsim.passes.precision import to_mode

PIXELS, TENSOR, Q17 = Grid(1.0), Grid(1 / 255), Grid(1 / 128, 0, "int8")
GRIDS = [PIXELS, TENSOR, Q17, Grid(0.0173, 131), Grid(0.25, -77, "int8")]
WEIGHTS = [BIT, TERNARY, DType("bipolar", 2), INT8]
RAGGED = [
    {"pads": (1, 1, 1, 1)},
    {"pads": (2, 0, 1, 3), "stride": (2, 1)},
    {"pads": (0, 2, 2, 0), "dilation": (1, 2), "groups": 3},
    {},
]


def weights(net: Builder, dtype: DType, *shape: int) -> dict:
    values = {BIT: [-1, 1], TERNARY: [-1, 0, 1], INT8: range(-127, 128)}.get(dtype, [-3, -1, 1, 3])
    return {"weight": (net.rng.choice(np.array(values), shape), dtype)}


def network(shape, weight, attrs, seed, oracle: Grid | None = None):
    """Return layer, pool or none, batch norm, sign, Dense over float32 or, as oracle, n - zero."""
    net = Builder(shape, seed=seed, dtype=INT16 if oracle else FLOAT32)
    if len(shape) == 3:
        groups = attrs.get("groups", 1)
        held = weights(net, weight, 6, 3, 2, shape[2] // groups)
        net.add("Conv2d", held, **attrs)
    else:
        net.add("Dense", weights(net, weight, 65, shape[0]))
    if oracle:
        channels = net.shape[-1]
        net.add("Scale", {"scale": (np.full(channels, oracle.scale), FLOAT32)})
    if len(shape) == 3 and seed % 2:
        net.pool(2, 1)
    net.batch_norm(20.0).sign()
    if len(shape) == 3:
        net.add("Flatten")
    return net.dense(7).graph()


def inputs(grid: Grid, shape, n: int, rng) -> tuple[np.ndarray, np.ndarray]:
    low, high = grid.ends
    steps = rng.integers(low, high + 1, (n, *shape)) - grid.zero
    steps.flat[:2] = low - grid.zero, high - grid.zero
    return (steps * grid.scale).astype(np.float32), steps.astype(np.int16)


def outputs(graph, x):
    return execute(graph, x)[graph.outputs[0]]


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("weight", WEIGHTS, ids=str)
@pytest.mark.parametrize(
    ("shape", "attrs"),
    [*(((7, 6, 3), attrs) for attrs in RAGGED), *(((k,), {}) for k in (1, 63, 64, 65, 127, 131))],
)
def test_the_first_layer_is_the_integer_path(shape, attrs, weight, grid, rng):
    seed = len(attrs) + shape[0]
    graph = network(shape, weight, attrs, seed)
    x, steps = inputs(grid, shape, 9, rng)
    declared = with_input_grid(graph, grid)
    expected = outputs(network(shape, weight, attrs, seed, grid), steps)
    assert (outputs(declared, x) == expected).all()
    lowered = bnnsim.lower(declared)
    assert [n.op for n in lowered.nodes][:3] == ["FromGrid", lowered.nodes[1].op, "Threshold"]
    assert str(lowered.activation(lowered.nodes[1]).dtype) == grid.dtype
    assert not any(lowered.result(n).dtype.is_float for n in lowered.nodes)
    for isa in available_isas():
        assert bnnsim.verify(declared, x, isa=isa).ok
        assert (bnnsim.run(declared, x, isa=isa, threads=2).outputs == expected).all()
    if np.frexp(grid.scale)[0] == 0.5:
        assert (outputs(graph, x) == expected).all()


@pytest.mark.parametrize(
    ("grid", "pad", "level"),
    [(PIXELS, 1, 1), (TENSOR, 1, 255), (Q17, -1, -128), (Grid(0.25, -77, "int8"), -1, -81)],
)
def test_pads_are_the_integers_that_stand_for_them(grid, pad, level, rng):
    attrs = {"pads": (1, 2, 0, 1), "pad_value": pad}
    graph = network((5, 6, 2), BIT, attrs, 1)
    declared = with_input_grid(graph, grid)
    conv = next(n for n in declared.nodes if n.op == "Conv2d")
    assert conv.attrs["pad_value"] == level
    x, steps = inputs(grid, (5, 6, 2), 8, rng)
    oracle = network((5, 6, 2), BIT, {**attrs, "pad_value": level - grid.zero}, 1, grid)
    assert (bnnsim.run(declared, x).outputs == outputs(oracle, steps)).all()


@pytest.mark.parametrize(
    ("grid", "pad"), [(Q17, 1), (TENSOR, -1), (Grid(0.3, 0), 1), (Grid(0.5, -3), 0)]
)
def test_pads_off_the_grid_are_refused(grid, pad):
    graph = network((5, 6, 2), BIT, {"pads": (1, 0, 0, 0), "pad_value": pad}, 0)
    said = rf"net: input grid: node 'conv2d0' \(Conv2d\): got {pad}\.0, expected a padding value on"
    with pytest.raises(InputError, match=said):
        with_input_grid(graph, grid)
    unpadded = network((5, 6, 2), BIT, {"pad_value": pad}, 0)
    assert bnnsim.lower(with_input_grid(unpadded, grid)).nodes[2].op == "Threshold"


def test_a_zero_that_float32_cannot_take_off_exactly_is_refused():
    net = Builder((600,), dtype=FLOAT32)
    net.add("Dense", {"weight": (np.full((2, 600), 127), INT8)})
    graph = net.graph()
    with pytest.raises(InputError, match="got 'sums of up to 19431000', expected sums of at most"):
        with_input_grid(graph, Grid(1.0, 5))
    x = np.full((1, 600), 255, np.float32)
    assert bnnsim.run(with_input_grid(graph, PIXELS), x).outputs[0, 0] == 600 * 127 * 255


def many_readers(seed: int):
    """Return a net whose input two convolutions, a slice, a flatten and a batch norm read."""
    net = Builder((8, 8, 3), seed=seed, dtype=FLOAT32)
    net.batch_norm(0.5).go_to("input")  # reads values before any layer reads integers
    net.conv(5, pads=(1, 1, 1, 1), stride=(2, 2)).batch_norm(9.0)
    first = net.last
    net.go_to("input").add("Slice", stop=(8, 8, 3), step=(2, 2, 1)).conv(5, (1, 1))
    net.add("Add", also=(first,))
    second = net.last
    net.go_to("input").pool(2).batch_norm(0.5).sign().conv(5, (1, 1))
    net.add("Cast", dtype="float32").add("Add", also=(second,))
    third = net.last
    net.go_to("batchnorm0.out").pool(2).conv(5, (1, 1)).add("Add", also=(third,))
    net.add("Flatten").batch_norm(9.0).sign().dense(5)
    third = net.add("Cast", dtype="float32").last
    net.go_to("input").add("Flatten").dense(5).add("Add", also=(third,))
    return net.graph()


@pytest.mark.parametrize("seed", range(4))
def test_every_reader_of_the_input_takes_what_it_needs(seed, rng):
    graph = many_readers(seed)
    declared = with_input_grid(graph, Q17)
    x, _ = inputs(Q17, (8, 8, 3), 12, rng)
    assert (outputs(declared, x) == outputs(graph, x)).all()
    assert bnnsim.verify(declared, x).ok
    kinds = [n.act_dtype for n in bnnsim.inspect(declared).layers if n.macs]
    assert sorted(kinds) == ["bit", "bit", "float32", "int8", "int8", "int8"]
    sign = next(n for n in bnnsim.lower(declared).nodes if n.name == "quantize8")
    assert sign.op == "Threshold"
    assert bnnsim.lower(declared).activation(sign).dtype == INT8


def test_an_input_that_is_moved_out_comes_out_as_values():
    net = Builder((4, 3, 2), dtype=FLOAT32).pool(2, 1)
    x = np.arange(24, dtype=np.float32).reshape(1, 4, 3, 2) / 128
    found = bnnsim.run(with_input_grid(net.graph(), Q17), x).outputs
    assert (found == outputs(net.graph(), x)).all()
    assert found.dtype == np.float32


def test_float_weights_keep_the_values_and_inspect_says_so(rng):
    graph = float_residual()
    declared = with_input_grid(graph, Q17)
    x, _ = inputs(Q17, (7, 6, 3), 5, rng)
    assert (bnnsim.run(declared, x).outputs == bnnsim.run(graph, x).outputs).all()
    whys = {n.name: n.why for n in bnnsim.inspect(declared).layers}
    assert whys["input_grid"].endswith("n in -128..127; no layer reads the integers: floats again")
    assert whys["conv2d0"].startswith("weights are float32")
    bits = with_input_grid(network((5, 6, 2), BIT, {}, 0), TENSOR)
    whys = {n.name: n.why for n in bnnsim.inspect(bits).layers}
    assert whys["conv2d0"] == "weights are -1/+1, the input holds uint8 integers: exact sums"
    assert whys["input_grid"].endswith("n in 0..255; exact integers from here on")


@pytest.mark.parametrize("grid", [TENSOR, Grid(0.0173, 131)], ids=str)
def test_weights_that_a_mode_made_bits_read_the_integers(grid, rng):
    declared = with_input_grid(float_residual(), grid)
    x, _ = inputs(grid, (7, 6, 3), 5, rng)
    for mode in ("binary", "xnor-alpha", "xnor-k", "ternary", "w2a2"):
        twin = to_mode(declared, mode, layers=bnnsim.Layers(first="binary"))
        conv = next(n for n in twin.nodes if n.name == "conv2d0")
        pair = twin.activation(conv).dtype, twin.tensor(conv.inputs[1]).dtype
        assert pair == (UINT8, BIT), mode
        found = bnnsim.run(twin, x).outputs
        assert (found == bnnsim.run(twin, x, engine="reference").outputs).all()


@pytest.mark.parametrize("grid", [TENSOR, Grid(0.0173, 131), Q17], ids=str)
def test_every_mode_runs_a_declared_net_as_the_reference_does(grid, rng):
    declared = with_input_grid(network((7, 6, 3), BIT, {"pads": (1, 1, 1, 1)}, 1), grid)
    x, _ = inputs(grid, (7, 6, 3), 6, rng)
    for mode in {*MODES, "w2a2", "w8a8"} - {"binary-stochastic"}:
        assert bnnsim.verify(declared, x, mode=mode).ok, mode
    drawn = [
        bnnsim.run(declared, x, stochastic=True, seed=3, engine=engine).outputs
        for engine in ("compiled", "reference")
    ]
    assert (drawn[0] == drawn[1]).all()


@pytest.mark.parametrize("engine", ["compiled", "reference"])
@pytest.mark.parametrize("value", [0.1, -1 / 255, 256 / 255, np.nan, np.inf, -np.inf])
def test_values_off_the_grid_are_refused_wherever_they_lie(engine, value, rng):
    declared = with_input_grid(network((9,), BIT, {}, 0), TENSOR)
    x, _ = inputs(TENSOR, (9,), 1500, rng)
    bnnsim.run(declared, x, engine=engine)
    x[1313, 7] = value
    with pytest.raises(InputError, match=r"input of net\[1313, 7\]: got .*value = 0\.003921568"):
        bnnsim.run(declared, x, engine=engine, threads=2)


@pytest.mark.parametrize(
    ("attrs", "said"),
    [
        ({"scale": 0.0}, "grid: scale: got 0.0, expected a positive scale"),
        ({"scale": -1.0}, "grid: scale: got -1.0"),
        ({"scale": float("inf")}, "grid: scale: got inf"),
        ({"scale": float("nan")}, "attribute 'scale': got nan, expected a number"),
        ({"scale": 1e-40}, "grid: scale: got 1e-40"),
        ({"scale": 1e38}, r"grid: scale: got 1e\+38"),
        ({"scale": "1/255"}, "attribute 'scale': got '1/255', expected a number"),
        ({"scale": True}, "attribute 'scale': got True"),
        ({"scale": None}, "attribute 'scale': got None"),
        ({"zero": 1.5}, "attribute 'zero': got 1.5, expected an integer"),
        ({"zero": 2**20}, "grid: zero: got 1048576, expected -32768 to 32768"),
        ({"zero": -(2**40)}, "attribute 'zero': got -1099511627776"),
        ({"dtype": "int16"}, "grid: dtype: got 'int16', expected one of int8, uint8"),
        ({"dtype": "bit"}, "grid: dtype: got 'bit'"),
        ({"dtype": 8}, "attribute 'dtype': got 8"),
        ({"offset": 1}, "got 'offset', expected attributes among"),
        ({"dtype": "int8"}, "expected an output of dtype int8"),
    ],
)
def test_hostile_attributes_are_refused(attrs, said):
    declared = with_input_grid(network((9,), BIT, {}, 0), TENSOR)
    first, *rest = declared.nodes
    hostile = replace(first, attrs={**first.attrs, **attrs})
    with pytest.raises(GraphError, match=rf"node 'input_grid' \(FromGrid\).*{said}"):
        verify(replace(declared, nodes=(hostile, *rest)))


def test_a_grid_inside_a_network_checks_what_reaches_it():
    net = Builder((4,), dtype=FLOAT32).add("Relu").add("FromGrid", scale=0.5, dtype="int8")
    graph = net.graph()
    x = np.array([[1.0, -3.0, 0.5, 63.5]], np.float32)
    assert bnnsim.run(graph, x).outputs.tolist() == [[2, 0, 1, 127]]
    with pytest.raises(InputError, match=r"FromGrid: x\[0, 0\]: got 0\.25"):
        bnnsim.run(graph, x / 4)
    with pytest.raises(GraphError, match="the input is uint8, but float32 is needed"):
        Builder((4,)).add("FromGrid", scale=1.0)


def test_only_a_float32_input_without_a_grid_can_have_one():
    declared = with_input_grid(network((9,), BIT, {}, 0), "uint8")
    with pytest.raises(
        InputError, match=r"net: input grid: .* expected a network that declares no"
    ):
        with_input_grid(declared, "uint8")
    pixels = Builder((9,)).encode().dense(3).graph()
    with pytest.raises(InputError, match=r"net: input grid: got 'uint8', expected .* is float32"):
        with_input_grid(pixels, "uint8")


def test_a_declared_net_is_saved_and_read_as_it_is(tmp_path, rng):
    declared = with_input_grid(network((7, 6, 3), BIT, {"pads": (1, 1, 1, 1)}, 1), TENSOR)
    bnnsim.save(declared, tmp_path / "net.bnn")
    again = bnnsim.load(tmp_path / "net.bnn")
    assert again.nodes[0].attrs == declared.nodes[0].attrs
    x, _ = inputs(TENSOR, (7, 6, 3), 4, rng)
    assert (bnnsim.run(again, x).outputs == bnnsim.run(declared, x).outputs).all()
    with pytest.raises(BnnsimError, match="declares no grid yet"):
        bnnsim.load(tmp_path / "net.bnn", input_grid="q1.7")


@pytest.mark.parametrize(("grid", "adds"), [(PIXELS, 0), (Grid(0.5, 3, "int8"), 63)], ids=str)
def test_costs_are_those_of_the_integer_path_and_the_check(grid, adds):
    graph = bnnsim.lower(with_input_grid(network((63,), BIT, {}, 0), grid))
    made, layer, *_ = count_actions(graph)
    expected = {"mul.float32": 63, f"convert.{grid.dtype}": 63, "add.int8": adds}
    assert {str(a): n for a, n in made.actions.items()} == {k: n for k, n in expected.items() if n}
    bytes_in = network((63,), BIT, {}, 0, grid)
    tensors = {**bytes_in.tensors, "input": replace(bytes_in.tensor("input"),
               dtype=DType.parse(grid.dtype))}  # fmt: skip
    same = count_actions(bnnsim.lower(verify(replace(bytes_in, tensors=tensors))))[0]
    assert (layer.operands, layer.actions) == (same.operands, same.actions)
    for profile in ("cmos45", "asic-example", "cmos45-dram"):
        report = bnnsim.estimate(with_input_grid(network((63,), BIT, {}, 0), grid), profile)
        assert report.unpriced == ()
