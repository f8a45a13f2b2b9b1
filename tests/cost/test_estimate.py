"""Estimates: sums, hand-computed energy and latency, batch, RNG, io, errors, JSON Schemas."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest
from cost_nets import FLOATS, LINEAR, Builder, convnet, mlp, plain_resnet18
from jsonschema import Draft202012Validator

from bnnsim.cost import nests
from bnnsim.cost.compare import compare
from bnnsim.cost.estimate import estimate
from bnnsim.cost.hardware import Constant
from bnnsim.cost.mapping import frontier
from bnnsim.cost.profile import list_profiles, load_profile
from bnnsim.cost.schedule import CATEGORIES
from bnnsim.cost.traffic import cheapest
from bnnsim.errors import InputError, ProfileError
from bnnsim.graph.dtypes import BIT, INT8, INT32, DType
from bnnsim.graph.ir import Node
from bnnsim.passes.precision import to_mode
from bnnsim.zoo import build

SCHEMAS = Path(__file__).resolve().parents[2] / "bnnsim" / "schemas"
RELATIVE = 1e-9  # what the contract promises for sums


@pytest.fixture(scope="module")
def chip():
    return load_profile("cmos45")


def validator(name):
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


# Real chips and streaming boards; test_chips.py and test_pipeline.py have nets that they run.
ONE_TYPE = {"binareye", "eyeriss", "yodann", "pynq-z1", "ultra96", "zc706"}


@pytest.mark.parametrize("profile", sorted(set(list_profiles()) - ONE_TYPE))
@pytest.mark.parametrize("mode", ["binary", "int8", "float32"])
@pytest.mark.parametrize("batch", [1, 6])
def test_parts_sum_to_the_total(profile, mode, batch):
    small = load_profile(profile).kind == "mcu"
    if small and mode == "float32":  # layers of 1,024 x 1,024 floats do not fit its flash
        with pytest.raises(
            ProfileError, match=r"kernels\.levels: got .* expected weights of at most"
        ):
            estimate(convnet(mode, 4), profile, batch=batch)
        return
    report = estimate(convnet(mode, 4 if small else 16), profile, batch=batch)
    total = report.energy.value
    assert sum(report.energy_by.values()) == pytest.approx(total, rel=RELATIVE)
    assert sum(layer.energy_j for layer in report.layers) == pytest.approx(total, rel=RELATIVE)
    for layer in report.layers:
        assert sum(layer.energy_by.values()) == pytest.approx(layer.energy_j, rel=RELATIVE)
    priced = sum(
        n * report.action_joules[name]
        for layer in report.layers for name, n in layer.physical_actions.items()
    )  # fmt: skip
    assert priced + report.energy_by["static"] == pytest.approx(total, rel=RELATIVE)
    *constants, structure = report.assumptions
    shares = sum(a.share_of_energy for a in constants)
    assert shares == pytest.approx(1 if total else 0, rel=1e-6)  # none where no energy is estimated
    assert structure.constant == "structure"
    assert 0 <= structure.share_of_energy <= 1
    assert sum(layer.latency_s for layer in report.layers) == pytest.approx(report.latency.value)
    assert tuple(report.energy_by) == CATEGORIES
    for q in (report.energy, report.latency, report.power, report.throughput):
        assert q.low <= q.value <= q.high


def dense(k, n):
    build = Builder("one", (k,), BIT).add("Dense", [((n, k), BIT)])
    return build.add("Threshold", [((n, 1), INT32), ((n,), INT8)]).graph(mode="binary")


def test_one_dense_layer_by_hand(chip):
    # 1024 bits by 64 outputs on 16 rows x 64 bit x 64 columns: one slice, one pass, one pixel.
    # Input and result are used once: they pass between the pins and the array without a stop.
    report = estimate(dense(1024, 64), chip)
    head, threshold = report.layers
    assert head.physical_actions == {
        "gate.bit": 64 * 16 * 64,  # 16 words for each output
        "add.bit": 64 * 16 * (57 + 3 + 11),
        "gb.read": 1024 + 40,  # weights, 320 parameter bytes
        "dram.read": 2,  # 1024 bits in bursts of 512
        "dram.write": 1,
    }
    assert threshold.physical_actions == {"add.bit": 64 * 11, "register.bit": 64}
    picojoules = 3 * (64 * 16 * (64 * 0.0009375 + 71 * 0.003125))
    assert head.energy_by["compute"] == pytest.approx(picojoules * 1e-12)
    assert report.energy_by["io"] == pytest.approx(3 * 512 * 8e-12)
    gb = chip.memories[1].read.value_si
    assert head.energy_by["weights_memory"] == pytest.approx((1024 + 40) * gb)
    assert threshold.energy_by["normalization"] == pytest.approx(3 * 64 * 11 * 3.125e-15)


def test_latency_by_hand(chip):
    # gb reads 1064 words on 32 banks: ceil(1064 / 32) = 34 cycles at 500 MHz, the longest;
    # the array fills and drains in 16 + 64 cycles. The DRAM moves 3 x 64 bytes in 15 ns.
    report = estimate(dense(1024, 64), chip)
    head = report.layers[0]
    assert head.bound_by == "gb"
    assert head.latency_s == pytest.approx((34 + 80) / 500e6)
    assert report.layers[1].latency_s == 0
    assert report.layers[1].bound_by == ""
    watts = 48.5e-3 + 50e-6 + 20e-3
    assert report.energy_by["static"] == pytest.approx(watts * 114 / 500e6)


def test_a_large_convolution_is_bound_by_compute_and_dense_float_by_dram(chip):
    report = estimate(convnet("float32", 64), chip)
    bounds = {layer.name: layer.bound_by for layer in report.layers if layer.macs}
    assert bounds["conv2d3"] == "compute"
    assert next(bound for name, bound in bounds.items() if name.startswith("dense")) == "dram"
    # 32 x 32 pixels x ceil(64 / 64) passes x ceil(9 x 64 / 16) slices, where no tile splits them.
    memories = tuple(m if m.off_chip else replace(m, size_bytes=2**26) for m in chip.memories)
    report = estimate(convnet("float32", 64), replace(chip, memories=memories))
    assert report.layers[3].latency_s == pytest.approx((1024 * 36 + 80) / 500e6)


def test_an_elementwise_pass_reads_and_writes_whole_words_of_all_images(chip):
    # 3 floats in, 3 floats out: 192 bits of two images, used once: one burst each way.
    graph = Builder("relu", (3,), FLOATS["float32"]).add("Relu").graph()
    (row,) = estimate(graph, chip, batch=2).layers
    assert row.physical_actions == {"add.float32": 6, "dram.read": 1, "dram.write": 1}


def test_a_pass_that_writes_most_is_bound_by_the_write_port(chip):
    # 64,000 bits become floats: 1,000 words read, 32,000 written on 32 banks.
    graph = Builder("wide", (64_000,), BIT).add("Cast", dtype="float32").graph()
    narrow = replace(chip.array, columns=4096)  # so that the output stage is no limit
    (row,) = estimate(graph, replace(chip, array=narrow, memories=chip.memories[:-1])).layers
    assert row.bound_by == "gb"
    assert row.latency_s == pytest.approx(32_000 / 32 / 500e6)


@pytest.mark.parametrize(
    ("dtype", "elements"),
    [(INT32, 9 * 7 * 5), (FLOATS["float32"], 9 * 7 * 5), (DType("unsigned", 2), 9 * 7 * 5),
     (BIT, 5)],
)  # fmt: skip
def test_a_pool_takes_in_every_element_and_bits_by_words(chip, dtype, elements):
    graph = Builder("pool", (9, 7, 5), dtype).add("MaxPool", kernel=(2, 2), stride=(2, 2)).graph()
    one_lane = replace(chip, array=replace(chip.array, columns=1), memories=chip.memories[:-1])
    (row,) = estimate(graph, one_lane).layers
    assert row.bound_by == "elementwise"
    assert row.latency_s == pytest.approx(elements / 500e6)


def test_drawing_signs_behind_a_pool_takes_longer_than_thresholds_before_it(chip):
    fast = replace(chip, array=replace(chip.array, rows=1024), memories=chip.memories[1:-1])
    binary, drawn = (
        estimate(to_mode(build("mnist-convnet", seed=0), mode), fast)
        for mode in ("binary", "binary-stochastic")
    )
    staged = [layer.name for layer in drawn.layers if layer.bound_by == "elementwise"]
    assert len(staged) >= 2
    for a, b in zip(binary.layers, drawn.layers, strict=False):
        if b.name in staged:
            assert a.latency_s < b.latency_s
    assert binary.latency.value < drawn.latency.value


def test_groups_of_images_multiply_every_action(chip):
    # Two maps of one image (32 KiB) fit the chip, those of two do not: images go one by one.
    small = replace(chip, memories=(replace(chip.memories[1], size_bytes=40_000),
                                    chip.memories[2]))  # fmt: skip
    build = Builder("big", (16, 16, 16), FLOATS["float32"])
    for _ in range(3):
        build.add("MaxPool", kernel=(3, 3), stride=(1, 1), pads=(1, 1, 1, 1))
    one, three = (estimate(build.graph(), small, batch=b) for b in (1, 3))
    for single, triple in zip(one.layers, three.layers, strict=True):
        assert triple.physical_actions == {k: 3 * n for k, n in single.physical_actions.items()}
    assert three.latency.value == pytest.approx(3 * one.latency.value)
    assert three.off_chip_bytes == 3 * one.off_chip_bytes
    assert three.memory == one.memory


def test_macs_tell_padding_apart(chip):
    report = estimate(convnet("binary", 16), chip)
    first = report.layers[1]
    assert first.macs == 32 * 32 * 9 * 3 * 16
    # Along each axis 3 x 32 - 2 of the 96 (output, tap) pairs are inside the image.
    assert first.macs_valid == 94 * 94 * 3 * 16
    assert sum(report.macs.values()) > sum(report.macs_valid.values())


def test_the_batch_is_never_dearer_per_image(chip):
    graph = convnet("int8", 32)
    each = [estimate(graph, chip, batch=b).energy.value / b for b in (1, 2, 4, 12)]
    assert each == sorted(each, reverse=True)


def test_a_large_batch_costs_no_more_than_the_small_ones_it_is_made_of(chip):
    graph = to_mode(build("svhn-convnet"), "weight-only:fp32")
    one, three, many = (estimate(graph, chip, batch=n) for n in (1, 3, 64))
    assert many.energy.value <= (21 * three.energy.value + one.energy.value) * (1 + 1e-12)
    # Energy is what is searched for: more may cross the edge than for 21 groups of three, if that
    # saves as much on chip (weights of 2 MiB of memory are read less often).


def test_reports_take_mode_and_synthetic_from_the_graph_unless_told(chip):
    graph = mlp("binary", 16).with_meta(synthetic=True)
    report = estimate(graph, chip)
    assert (report.mode, report.synthetic) == ("binary", True)
    told = estimate(graph, chip, mode="native", synthetic=False, record={"seed": 1})
    assert (told.mode, told.synthetic, told.record) == ("native", False, {"seed": 1})
    with pytest.raises(FrozenInstanceError):
        told.mode = "other"


def stochastic(bits=8):
    build = Builder("st", (64,), FLOATS["float32"])
    return build.add("Quantize", quantizer="stochastic_sign", bits=bits).graph()


@pytest.mark.parametrize(("bits", "lazy", "drawn"), [
    (8, False, 64 * 8 * 3), (1, True, 64 * 3), (8, True, 383), (16, False, 64 * 16 * 3),
])  # fmt: skip
def test_random_bits_are_drawn_and_priced(bits, lazy, drawn, chip):
    # Lazy: 2 - 2^(1 - 8) = 1.992 bits a draw, 382.5 for 192 draws.
    profile = replace(chip, rng=replace(chip.rng, lazy=lazy))
    report = estimate(stochastic(bits), profile, batch=3)
    assert report.rng_bits == drawn
    assert report.energy_by["rng"] == pytest.approx(drawn * 0.02e-12)
    assert estimate(mlp("binary", 16), profile).rng_bits == 0


def test_stochastic_nodes_need_a_generator(chip):
    with pytest.raises(ProfileError, match=r"'quantize0' \(Quantize\): profile 'cmos45': rng"):
        estimate(stochastic(), replace(chip, rng=None))


def test_pins_are_priced_where_there_is_no_dram(chip):
    pin = Constant("io", 1e-12, "J/bit", 2.0, "s", "assumed", "guess", "p")
    sealed = replace(chip, io=pin, memories=chip.memories[:-1])
    report = estimate(dense(1024, 64), sealed, batch=5)
    assert report.unpriced == ()
    assert report.energy_by["io"] == pytest.approx(5 * (1024 + 64) * 1e-12)


def odd_graph():
    graph = mlp("float32", 8)
    last = graph.nodes[-1]
    node = Node(99, "wave", "Wavelet", last.inputs[:1], last.outputs)
    return graph.with_nodes([*graph.nodes[:-1], node])


def test_an_op_without_a_price_is_an_error_or_a_named_hole(chip):
    said = r"'wave' \(Wavelet\): got 'Wavelet', expected an op that profile 'cmos45' prices"
    with pytest.raises(ProfileError, match=said):
        estimate(odd_graph(), chip)
    report = estimate(odd_graph(), chip, allow_unpriced=True)
    assert len(report.unpriced) == 1
    assert "Wavelet" in report.unpriced[0]


@pytest.mark.parametrize("batch", [0, -1, 1.5, True, "2", 2**21])
def test_the_batch_must_be_a_positive_integer(batch, chip):
    with pytest.raises(InputError, match="an integer from 1 to"):
        estimate(mlp("binary", 8), chip, batch=batch)


def test_weightless_graphs_and_grouped_convolutions_are_priced(chip):
    build = Builder("depthwise", (9, 9, 6), FLOATS["float32"])
    build.add("Conv2d", [((6, 3, 3, 1), FLOATS["float32"])], groups=6, pads=(1, 1, 1, 1))
    report = estimate(build.graph(), chip)
    assert report.macs == {"float32 x float32": 9 * 9 * 6 * 9}
    # Each group takes one pass of all 81 pixels for its only channel.
    assert report.layers[0].latency_s >= 6 * 81 / 500e6


@pytest.mark.parametrize("mode", LINEAR)
def test_reports_fit_their_schema(mode, chip):
    found = json.loads(estimate(convnet(mode, 16), chip, batch=2).to_json())
    assert not [e.message for e in validator("estimate").iter_errors(found)]


def test_comparisons_fit_their_schema_and_a_wrong_one_does_not(chip):
    found = compare([estimate(mlp(m, 64), chip) for m in ("float32", "binary")])
    data = json.loads(found.to_json())
    check = validator("compare")
    assert check.is_valid(data)
    del data["columns"][0]["energy_by"]["static"]
    assert not check.is_valid(data)
    assert not validator("estimate").is_valid({"schema": 1})


def test_layers_of_the_same_shape_are_mapped_once_and_few_nests_are_counted(chip, monkeypatch):
    # What a search takes is mostly the counting of nests: ResNet-18 has 18 layers of 11 shapes.
    counted = []

    def count(nest, levels):
        counted.append(nest)
        return cheapest(nest, levels)

    monkeypatch.setattr(nests, "cheapest", count)
    for cached in (frontier, nests.shared_layer):
        cached.cache_clear()
    graphs = [plain_resnet18(mode) for mode in ("binary", "weight-only:fp32", "int8", "float32")]
    for graph in graphs:
        estimate(graph, chip)
    assert nests.shared_layer.cache_info().misses <= 4 * 11
    assert 100 < len(counted) < 900
    assert frontier.cache_info().misses < 40
    searched = len(counted), frontier.cache_info().misses
    for graph in graphs:
        estimate(graph, chip)
    assert (len(counted), frontier.cache_info().misses) == searched


def test_cost_is_light_to_import():
    code = "import sys, bnnsim.cost.estimate; print('scipy' in sys.modules, 'torch' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True,
                          check=True)  # fmt: skip
    assert done.stdout.split() == ["False", "False"]


def test_resnet_traffic_uses_tiles_that_fit(chip):
    report = estimate(plain_resnet18("float32"), chip, batch=2)
    assert 0 < report.memory["scratch_bytes"] <= 2 * 2**20
    assert any("tiles of" in layer.mapping for layer in report.layers)


@pytest.mark.parametrize("mode", ["float32", "int8", "binary"])
def test_a_larger_batch_never_costs_less_and_groups_need_not_divide_it(mode: str) -> None:
    import bnnsim

    graph = bnnsim.load("zoo:cnv")
    totals = {
        batch: bnnsim.estimate(graph, "asic-example", mode=mode, batch=batch).energy.value
        for batch in (12, 13, 36, 37, 61, 62)
    }
    assert list(totals.values()) == sorted(totals.values())
    assert totals[37] / 37 < 1.05 * totals[36] / 36


@pytest.mark.parametrize("constant", ["energy", "clock"])
def test_totals_that_are_not_finite_name_the_profile(chip, constant):
    if constant == "clock":
        odd = replace(chip, clock_hz=1e-306)
    else:
        odd = replace(
            chip, actions={k: replace(c, value_si=1e307) for k, c in chip.actions.items()}
        )
    with pytest.raises(ProfileError, match=r"profile cmos45: totals: got .*, expected finite ener"):
        estimate(convnet("binary", 16), odd)
