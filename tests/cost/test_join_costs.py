"""Costs of PRelu, gates, softmax, concat and shuffles: counts, prices, stages and rows."""

from __future__ import annotations

import numpy as np
import pytest
from cost_nets import FLOATS, Builder
from counting_executor import execute
from nets import joined

from bnnsim import api
from bnnsim.cost.actions import Action, count_actions
from bnnsim.cost.datapath import action_prices
from bnnsim.cost.estimate import estimate
from bnnsim.cost.profile import load_profile
from bnnsim.cost.stages import build_stages, lay_out
from bnnsim.cost.streaming import arrivals
from bnnsim.graph.dtypes import BIT, INT32
from bnnsim.passes.modes import MODES
from bnnsim.passes.precision import to_mode

F32 = FLOATS["float32"]


def by_text(counts):
    return {str(action): number for action, number in counts.actions.items()}


def ops(graph):
    return [[node.op for node in stage.nodes] for stage in build_stages(graph)]


@pytest.mark.parametrize("shape", [(4, 3, 6), (7,), (1,)])
def test_counts_equal_those_of_the_counting_executor(shape, rng):
    net = Builder("ops", shape, F32).add("PRelu", [(shape[-1:], F32)]).add("Sigmoid")
    net.add("Softmax").add("Softmax", log=True).add("Concat", also=("x", "t0"))
    net.add("ChannelShuffle", groups=3).add("Reshape", shape=(3 * int(np.prod(shape)),))
    graph = net.graph()
    ways = {0: ["compare.float32", "mul.float32"],
            1: ["exp.float32", "add.float32", "divide.float32"]}  # fmt: skip
    how = {id_: {"kinds": kinds} for id_, kinds in ways.items()}
    how |= {id_: {"name": "float32"} for id_ in (2, 3)}
    tallies = execute(graph, rng, how)
    for counts in count_actions(graph):
        assert by_text(counts) == dict(tallies[counts.node.id].counts), counts.node.describe()


def test_prelu_of_an_accumulator_compares_integers_and_multiplies_floats():
    net = Builder("sum", (64,), BIT).add("Dense", [((9, 64), BIT)]).add("PRelu", [((9,), F32)])
    *_, counts = count_actions(net.graph())
    # 64 products of one bit: 1 + 6 bits hold a sum.
    assert by_text(counts) == {"compare.int7": 9, "convert.float32": 9, "mul.float32": 9}


def test_a_softmax_of_ten_classes_by_hand():
    graph = Builder("ends", (10,), F32).add("Softmax").graph()
    (counts,) = count_actions(graph)
    assert by_text(counts) == {
        "compare.float32": 9, "add.float32": 10 + 9, "exp.float32": 10, "divide.float32": 1,
        "mul.float32": 10,
    }  # fmt: skip
    # Products: 10 of exp x 11, 1 of divide x 5, 10; additions (compares are such): 9 + 19, 10 of
    # exp x 11, 1 of divide x 2. Table 2 of Horowitz: 3.7 pJ a product, 0.9 pJ an addition.
    report = estimate(graph, load_profile("cmos45-arith"))
    pico = (110 + 5 + 10) * 3.7 + (28 + 110 + 2) * 0.9
    assert report.energy_by["elementwise"] == pytest.approx(pico * 1e-12)


def test_a_sigmoid_by_hand():
    # exp: 11 products, 11 additions; 1 + it: 1; the quotient: 5 products and 2 additions.
    graph = Builder("gate", (6, 5, 4), F32).add("Sigmoid").graph()
    report = estimate(graph, load_profile("cmos45-arith"))
    assert report.energy_by["elementwise"] == pytest.approx(120e-12 * (16 * 3.7 + 14 * 0.9))


def test_functions_of_half_floats_use_the_units_there_are():
    profile = load_profile("cmos45")
    assert action_prices(profile, Action("exp", "float16")) == (
        ("mul.float16", 11), ("add.float16", 11)
    )  # fmt: skip


def test_a_concat_joins_the_stage_that_makes_its_last_operand():
    net = Builder("dense", (4, 4, 8), F32)
    net.add("Conv2d", [((3, 3, 3, 8), F32)], pads=(1,) * 4).add("Concat", also=("x",))
    graph = net.add("BatchNorm", [((11,), F32)] * 4, eps=0.0).graph()
    assert ops(graph) == [["Conv2d", "Concat", "BatchNorm"]]
    (stage,) = build_stages(graph)
    assert [t.name for t in stage.reads] == ["x"]
    assert stage.writes.shape == (4, 4, 11)
    both = Builder("both", (4, 4, 8), F32).add("PRelu", [((8,), F32)]).add("PRelu", [((8,), F32)])
    graph = both.add("Concat", also=("t0", "x")).graph()  # t0 has two readers: a stage of its own
    assert ops(graph) == [["PRelu"], ["PRelu", "Concat"]]
    peak = 16 * 4 * (8 + 8 + 24)  # x, t0 and the result
    assert lay_out(graph).peak_bytes == peak


def test_moves_cost_no_operation_and_keep_the_width_of_sums():
    net = Builder("moves", (5, 4, 64), BIT).add("Conv2d", [((6, 1, 1, 64), BIT)])
    net.add("ChannelShuffle", groups=2).add("Concat", also=("t0",)).add("Reshape", shape=(240,))
    net.add("PRelu", [((240,), F32)])
    counts = count_actions(net.graph())
    assert all(not c.actions for c in counts[1:4])
    assert by_text(counts[4])["compare.int7"] == 240  # not of 32 bits


def test_rows_of_a_stream_wait_for_both_branches_and_for_the_whole_gate():
    net = Builder("rows", (4, 4, 2), INT32).add("Concat", also=("x",))
    graph = net.add("ChannelShuffle", groups=2).graph()
    found = arrivals(graph, {"x": 4 * 4 * 2 * 32}, 64, {})
    assert (found["t1"] == found["x"]).all()
    assert list(found["x"]) == [4, 8, 12, 16]
    net = Builder("gate", (4, 4, 2), F32).add("GlobalAvgPool").add("Sigmoid")
    gate, net.last = net.last, "x"
    found = arrivals(net.add("Mul", also=(gate,)).graph(), {"x": 4 * 4 * 2 * 32}, 64, {})
    assert list(found["t2"]) == [16] * 4


@pytest.mark.parametrize("profile", ["cmos45", "asic-example"])
@pytest.mark.parametrize("mode", [*MODES, "w2a2"])
def test_every_mode_of_a_joined_net_is_priced(mode: str, profile: str) -> None:
    graph = joined(2)
    report = api.estimate(graph, profile, mode=mode)
    assert report.unpriced == ()
    total = report.energy.value
    assert sum(report.energy_by.values()) == pytest.approx(total, rel=1e-9)
    assert np.isfinite(total)
    named = {row.node.name for row in count_actions(to_mode(graph, mode)) if row.actions is None}
    assert not named
