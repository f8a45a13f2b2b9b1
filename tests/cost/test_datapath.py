"""The datapath rule: trees, accumulator widths, emulation, prices by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cost_nets import FLOATS, mlp

from bnnsim.cost.actions import Action, operands_of
from bnnsim.cost.datapath import (
    action_prices,
    emulation_note,
    execution,
    k_steps,
    mac_prices,
    popcount_adders,
    stand_in,
)
from bnnsim.cost.estimate import estimate
from bnnsim.cost.profile import load_profile
from bnnsim.errors import ProfileError
from bnnsim.graph.dtypes import BIT, INT8, TERNARY, DType
from bnnsim.report.costs import estimate_blocks
from bnnsim.report.text import plain

UINT8, INT16, F32 = DType("unsigned", 8), DType("signed", 16), FLOATS["float32"]


@pytest.fixture(scope="module")
def chip():
    return load_profile("cmos45")


def count_with_adders(bits):
    """Add up bits with full and half adders only, column by column; return sum and adders used."""
    columns, full, half = {0: list(bits)}, 0, 0
    place = 0
    while place in columns:
        column = columns[place]
        while len(column) > 1:
            taken = [column.pop() for _ in range(min(3, len(column)))]
            full, half = full + (len(taken) == 3), half + (len(taken) == 2)
            column.append(sum(taken) & 1)
            columns.setdefault(place + 1, []).append(sum(taken) >> 1)
        place += 1
    return sum(column[0] << p for p, column in columns.items()), full, half


@pytest.mark.parametrize("width", [1, 2, 3, 7, 8, 31, 63, 64, 65, 127, 128, 129])
def test_the_tree_counts_ones_with_that_many_adders(width, rng):
    bits = [int(b) for b in rng.integers(0, 2, width)]
    total, full, half = count_with_adders(bits)
    assert total == sum(bits)
    assert popcount_adders(width) == (full, half)


def test_a_word_of_64_bit_macs_by_hand(chip):
    # 64 XNOR, 57 full and 6 half adders (3 full), one accumulation of 1 + log2(1024) = 11 bits:
    # 64 x 0.9375 fJ + 71 x 3.125 fJ = 60.0 + 221.9 = 281.9 fJ per word, 4.4 fJ per bit-MAC.
    operands = operands_of(BIT, BIT, 1024)
    run = execution(chip, operands, 1024, "x")
    priced = mac_prices(chip, run, 1, 1, 1024)
    assert dict(priced) == {"gate.bit": 64 * 16, "add.bit": (57 + 3 + 11) * 16}
    joules = sum(chip.actions[name].value_si * n for name, n in priced.items())
    assert joules / 16 == pytest.approx(281.875e-15)


@pytest.mark.parametrize(
    ("dtype", "gates", "adders"),
    [("bit", 1, 8), ("int2", 4, 18), ("int4", 16, 44), ("int8", 64, 120), ("int16", 256, 368)],
)
def test_a_bit_serial_product_by_hand(dtype, gates, adders):
    # 128 rows: seven bits of carry. A bits of input, each added as a word of W bits.
    macro, kind = load_profile("colonnade"), DType.parse(dtype)
    run = execution(macro, operands_of(kind, kind, 128), 128, "x")
    priced = mac_prices(macro, run, 3, 1, 128)
    assert dict(priced) == {"gate.bit": 3 * 128 * gates, "add.bit": 3 * 128 * adders}


@pytest.mark.parametrize(
    ("fan_in", "words"), [(1, 1), (63, 1), (64, 1), (65, 2), (127, 2), (128, 2), (129, 3)]
)
def test_whole_words_are_charged(fan_in, words, chip):
    run = execution(chip, operands_of(BIT, BIT, fan_in), fan_in, "x")
    assert mac_prices(chip, run, 5, 1, fan_in)["gate.bit"] == 5 * words * 64


def test_pixels_run_as_eight_planes(chip):
    operands = operands_of(UINT8, BIT, 100, pixel=True)
    run = execution(chip, operands, 100, "x")
    assert (run.pair, run.lanes) == ("uint8 x bit", 8)
    assert mac_prices(chip, run, 3, 1, 100)["gate.bit"] == 3 * 2 * 8 * 64


def test_integer_adders_are_as_wide_as_the_sum(chip):
    operands = operands_of(INT8, INT8, 1152)  # 16 + ceil(log2 1152) = 27 bits
    run = execution(chip, operands, 1152, "x")
    assert dict(mac_prices(chip, run, 2, 9, 128)) == {"mul.int8": 2304, "add.bit": 27 * 2304}


def test_the_overhead_factor_is_on_every_operator(chip):
    bare = replace(chip, overhead=None)
    for mode in ("float32", "int8", "weight-only:fp16", "binary"):
        with_, without = (estimate(mlp(mode, 64), p).energy_by for p in (chip, bare))
        for key in ("compute", "elementwise", "normalization", "scaling", "packing"):
            assert with_[key] == pytest.approx(3 * without[key])
        assert with_["weights_memory"] == without["weights_memory"]


@pytest.mark.parametrize(
    ("act", "weight", "pair", "rate"),
    [
        (DType("unsigned", 4), BIT, "bit x bit", 16),
        (DType("unsigned", 2), TERNARY, "bit x bit", 16),
        (DType("unsigned", 7), INT8, "int8 x int8", 1),
        (DType("signed", 6), INT8, "int8 x int8", 1),
        (DType("signed", 6), BIT, "int8 x bit", 4),
        (DType("unsigned", 3), DType("bipolar", 5), "bit x bit", 64 / 15),
        (DType("bipolar", 8), DType("bipolar", 8), "bit x bit", 1),
        (DType("float", 32), DType("bipolar", 2), "float32 x float32", 1),
        (DType("bfloat", 16), DType("bipolar", 2), "bfloat16 x bfloat16", 1),
    ],
)
def test_unlisted_pairs_run_on_planes_or_the_next_wider(act, weight, pair, rate, chip):
    run = execution(chip, operands_of(act, weight, 64), 64, "x")
    assert (run.pair, run.rate) == (pair, rate)


def test_emulated_bits_are_priced_as_what_runs(chip):
    narrow = replace(chip, array=replace(chip.array, ops_per_pe={"int8 x int8": 1}))
    run = execution(narrow, operands_of(BIT, BIT, 64), 64, "x")
    assert run.pair == "int8 x int8"
    assert dict(mac_prices(narrow, run, 1, 1, 64)) == {"mul.int8": 64, "add.bit": 22 * 64}


@pytest.mark.parametrize(
    ("act", "weight", "pair"),
    [
        (DType("unsigned", 7), DType("bipolar", 7), "int8 x int8"),
        (DType("unsigned", 2), DType("bipolar", 8), "int8 x int8"),
        (DType("unsigned", 2), DType("signed", 9), "int16 x int16"),
        (DType("bipolar", 7), BIT, "int8 x int8"),
        (DType("unsigned", 8), BIT, "int8 x int8"),
    ],
)
def test_levels_run_on_the_next_wider_pair_without_planes(act, weight, pair, chip):
    pairs = {"int8 x int8": 2.0, "int16 x int16": 1.0}
    plain = replace(chip, array=replace(chip.array, planes=False, ops_per_pe=pairs))
    assert execution(plain, operands_of(act, weight, 64), 64, "x").pair == pair


def test_a_missing_pair_is_an_error_that_names_layer_pair_and_profile(chip):
    strict = replace(chip, array=replace(chip.array, emulate="error", planes=False))
    said = r"node 'fc'.*'cmos45'.*got 'int4 x int4'.*emulate: wider"
    with pytest.raises(ProfileError, match=said):
        execution(strict, operands_of(DType("signed", 4), DType("signed", 4), 9), 9, "node 'fc'")
    floats = replace(chip, array=replace(chip.array, ops_per_pe={"bit x bit": 1}))
    with pytest.raises(ProfileError, match="got 'float32 x float32'"):
        execution(floats, operands_of(F32, F32, 9), 9, "node 'fc'")


def test_a_missing_price_is_an_error_that_names_action_and_profile(chip):
    poor = replace(chip, actions={"add.bit": chip.actions["add.bit"]})
    said = r"'cmos45': actions: got 'add.bit', expected a price for mul\.float32"
    with pytest.raises(ProfileError, match=said):
        action_prices(poor, Action("mul", "float32"))


@pytest.mark.parametrize(
    ("action", "priced"),
    [
        (Action("compare", "int13"), (("add.bit", 13),)),
        (Action("compare", "float32"), (("add.float32", 1),)),
        (Action("mul", "int28"), (("mul.int32", 1),)),
        (Action("mul", "int5"), (("mul.int8", 1),)),
        (Action("lookup", "int16"), (("add.bit", 16),)),
        (Action("convert", "float16"), (("add.float16", 1),)),
        (Action("pack", "bit"), (("register.bit", 1),)),
        (Action("gate", "bit"), (("gate.bit", 1),)),
    ],
)
def test_elementwise_prices(action, priced, chip):
    assert action_prices(chip, action) == priced


def test_rows_take_the_dot_product_in_slices(chip):
    run = execution(chip, operands_of(BIT, BIT, 1152), 1152, "x")
    assert k_steps(chip.array, run, 9, 128) == (1024, 128)
    by_tap = replace(chip.array, unroll_rows="C_in")
    assert k_steps(by_tap, run, 9, 128) == (128,) * 9
    slow = execution(load_profile("asic-example"), operands_of(F32, F32, 64), 64, "x")
    assert (slow.lanes, slow.cycles) == (1, 16)


ONLY_FLOATS = {"float32 x float32": 1.0}


def with_pairs(chip, pairs):
    return replace(chip, array=replace(chip.array, ops_per_pe=pairs, planes=False))


def test_an_estimate_says_which_layers_run_as_another_pair(chip):
    report = estimate(mlp("binary"), with_pairs(chip, ONLY_FLOATS))
    products = [layer for layer in report.layers if layer.macs]
    bits = [layer for layer in products if layer.act_dtype == layer.weight_dtype == "bit"]
    assert bits
    assert {layer.run_as for layer in bits} == {"float32 x float32"}
    assert not any(layer.run_as for layer in report.layers if not layer.macs)
    note = (
        f"{len(bits)} layers of bit x bit run as float32 x float32 on cmos45: ops_per_pe lacks the "
        "pair; bits on float units cost what floats cost"
    )
    assert note in report.notes
    assert report.to_dict()["layers"][bits[0].id]["run_as"] == "float32 x float32"
    text = plain(estimate_blocks(report.to_dict()))
    assert text.index(note) < text.index("energy per inference")
    assert "bit x bit -> int32, run as float32 x float32" in text


def test_pairs_that_run_as_they_are_have_no_note(chip):
    report = estimate(mlp("binary"), chip)
    assert not any(layer.run_as for layer in report.layers)
    assert report.notes == ()


@pytest.mark.parametrize(
    ("pair", "wider", "count", "said"),
    [
        ("float32 x ternary", "float32 x float32", 1,
         "1 layer of float32 x ternary runs as float32 x float32 on cmos45: ops_per_pe lacks the "
         "pair"),
        ("int8 x int8", "float32 x float32", 2,
         "2 layers of int8 x int8 run as float32 x float32 on cmos45: ops_per_pe lacks the pair; "
         "integers on float units cost what floats cost"),
        ("uint8 x ternary", "int8 x int8", 1,
         "1 layer of uint8 x ternary runs as int8 x int8 on cmos45: ops_per_pe lacks the pair"),
        ("bit x ternary", "bfloat16 x bfloat16", 1,
         "1 layer of bit x ternary runs as bfloat16 x bfloat16 on cmos45: ops_per_pe lacks the "
         "pair; bits on float units cost what floats cost"),
    ],
)  # fmt: skip
def test_the_note_says_pair_stand_in_and_profile(chip, pair, wider, count, said):
    assert emulation_note(chip, pair, wider, count) == said


@pytest.mark.parametrize("name", ["cmos45", "cmos45-arith", "cmos45-dram"])
@pytest.mark.parametrize(
    ("act", "rate"), [("int8", 4), ("int16", 2), ("float16", 1), ("bfloat16", 1), ("float32", 1)]
)
def test_ternary_weights_run_like_bits_at_one_add_a_mac(name, act, rate):
    profile, act = load_profile(name), DType.parse(act)
    costs = []
    for weight in (BIT, TERNARY):
        operands = operands_of(act, weight, 64)
        run = execution(profile, operands, 64, "x")
        assert (run.pair, run.rate) == (f"{act} x {weight}", rate)
        assert stand_in(profile, operands, 64, "x") == ""
        costs.append(mac_prices(profile, run, 1, 1, 64))
        if act.is_float:
            assert dict(costs[-1]) == {f"add.{act}": 64}
    if act.is_float or act.bits > 8:
        assert costs[0] == costs[1]


@pytest.mark.parametrize("name", ["cmos45", "asic-example"])
def test_pixels_by_ternary_or_integer_weights_have_pairs_of_their_own(name):
    profile = load_profile(name)
    for weight, rate in ((TERNARY, 4), (INT8, 1)):
        run = execution(profile, operands_of(UINT8, weight, 64, pixel=True), 64, "x")
        assert (run.pair, run.rate) == (f"uint8 x {weight}", rate)
