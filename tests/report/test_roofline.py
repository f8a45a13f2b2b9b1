"""Rooflines: which memory a layer stands at, where its marker is, and what is said of no roof."""

from __future__ import annotations

import copy
import math
import re
import xml.etree.ElementTree as ET

import pytest
from report.pages import SVG
from report.results import estimate

import bnnsim
from bnnsim.report.check import checked, load_schema, violations
from bnnsim.report.html import render
from bnnsim.report.memory import home, levels_table, on_chip_bytes
from bnnsim.report.roofline import (
    memory_styles,
    missing,
    roofline_figure,
    roofline_table,
    works,
)

RATES = ("bytes_per_s", "read_bytes_per_s", "write_bytes_per_s")


def memory(name, size, rate, holds=("weights", "activations")):
    return {"name": name, "kind": "sram" if size else "dram", "size_bytes": size,
            "word_bits": 64, "bytes_per_s": rate, "read_bytes_per_s": rate,
            "write_bytes_per_s": rate, "holds": list(holds)}  # fmt: skip


MEMORIES = [memory("near", 1024, 8e9, ("activations",)), memory("far", None, 1e9)]


def column(memories=MEMORIES, **changed):
    """One layer of 1,000 MACs at batch 2: 4,000 operations, 800 near bytes, 400 far bytes."""
    found = estimate(layers=2, batch=2, **changed)
    first, second = found["layers"]
    first |= {"macs": 1000, "latency_s": 1e-6, "peak_macs_per_s": 4e9, "bound_by": "compute",
              "physical_actions": {"near.read": 60, "near.write": 40, "far.read": 50}}  # fmt: skip
    second |= {"macs": 0, "physical_actions": {"near.read": 1000}}
    return found | {"memories": memories}


def test_a_layer_stands_at_the_memory_that_takes_longest():
    (work,) = works(column())
    # near: 800 B at 8 GB/s, 0.1 us; far: 400 B at 1 GB/s, 0.4 us.
    assert work.way.name == "far"
    assert (work.operations, work.moved_bytes) == (4000, 400)
    assert work.ops_per_byte == 10
    assert work.ops_per_s == pytest.approx(4e9)
    # The array: 2 x 4e9; far at 10 ops/B: 10e9. The lower is the roof.
    assert work.reachable_ops_per_s == 8e9
    faster = [MEMORIES[0], memory("far", None, 5e8)]
    assert works(column(faster))[0].reachable_ops_per_s == 5e9


def test_the_table_holds_the_figures():
    (row,) = roofline_table(column(), 3).rows
    assert row == ("conv0", "bit x bit", "1,000", "far", "0.391", "10.0", "4.00", "8.00", "50.0",
                   "compute")  # fmt: skip
    assert roofline_table(column(), 3).at == ("/columns/3/layers/0",)


def across(ops_per_byte):
    return 100 * math.log(ops_per_byte / 0.5) / math.log(20 / 0.5)


def up(gops):
    return 36 + 340 * (1 - math.log(gops / 0.2) / math.log(16 / 0.2))


def test_marker_and_roofs_stand_where_the_figures_say():
    slow = column()
    slow["layers"][0]["latency_s"] = 1e-5
    figure = roofline_figure(slow, "r", {"near": 0, "far": 1})
    root = ET.fromstring(str(figure.__html__()))
    ticks = [(t.get("x"), t.text) for t in root.findall(f"{SVG}text") if t.get("class") == "tick"]
    assert [text for x, text in ticks if x != "2"] == ["1", "10"]
    assert [text for x, text in ticks if x == "2"] == ["1 Gops/s", "10 Gops/s"]
    # Across from 0.5 to 20 operations per byte; up from 0.2 to 16 Gops/s, 340 pixels.
    (marker,) = root.findall(f"{SVG}svg")
    assert float(marker.get("x")[:-1]) == pytest.approx(across(10), abs=0.01)
    assert float(marker.get("y")) == pytest.approx(up(0.4), abs=0.1)
    near, far, flat = (x for x in root.findall(f"{SVG}line") if "roof" in x.get("class"))
    assert [x.get("class") for x in (near, far, flat)] == ["roof r0", "roof r1", "roof flat"]
    # The array does 8 Gops/s. The near memory, 8 GB/s, gives as much at 1 operation per byte.
    assert float(near.get("x2")[:-1]) == pytest.approx(across(1), abs=0.01)
    assert float(flat.get("x1")[:-1]) == pytest.approx(across(1), abs=0.01)
    assert float(far.get("x2")[:-1]) == pytest.approx(across(8), abs=0.01)
    for line in (near, far, flat):
        assert float(line.get("y2")) == pytest.approx(up(8), abs=0.1)
    # The roofs begin where the axis does: 0.5 operations per byte.
    assert (near.get("x1"), far.get("x1")) == ("0.00%", "0.00%")
    assert float(near.get("y1")) == pytest.approx(up(4), abs=0.1)
    assert float(far.get("y1")) == pytest.approx(up(0.5), abs=0.1)
    title = marker.find(f"{SVG}path/{SVG}title").text
    assert re.match(r"conv0: 400 Mops/s at 10.0 ops/B of far, 5.0 % of its roof", title)


@pytest.mark.parametrize(
    ("memories", "why"),
    [
        ([], "operators only, no memories"),
        ([memory("dram", None, None)], "states no bandwidth"),
        ([memory("other", 1, 1e9)], "both MACs and memory traffic"),
    ],
)
def test_it_says_why_there_is_none(memories, why):
    assert why in missing(column(memories))
    assert missing(column()) == ""
    assert "an earlier version" in missing(estimate())


def test_a_memory_without_bandwidth_is_named_and_has_no_roof():
    found = column([MEMORIES[0], memory("far", None, None)])
    assert works(found)[0].way.name == "near"
    figure = roofline_figure(found, "r", memory_styles([found]))
    assert "No bandwidth is stated for far." in figure.caption
    assert [text for _, text in figure.legend] == ["near, 8.00 GB/s"]


def test_reads_and_writes_of_separate_ports_have_roofs_of_their_own():
    """120 reads (960 B) at 1 GB/s and 40 writes at 4 GB/s: the reads take 0.96 us."""
    near = memory("near", 1024, 5e9) | {"read_bytes_per_s": 1e9, "write_bytes_per_s": 4e9}
    found = column([near])
    layer = found["layers"][0]
    layer |= {"physical_actions": {"near.read": 120, "near.write": 40}, "bound_by": "near",
              "latency_s": 0.96e-6}  # fmt: skip
    (work,) = works(found)
    assert (work.way.name, work.moved_bytes, work.bandwidth) == ("near read", 960, 1e9)
    assert work.ops_per_s == pytest.approx(work.reachable_ops_per_s)
    figure = roofline_figure(found, "r", memory_styles([found]))
    assert [text for _, text in figure.legend] == ["near read, 1.00 GB/s", "near write, 4.00 GB/s"]
    assert levels_table([found]).rows[0][4:7] == ("1.00 GB/s", "4.00 GB/s", "5.00 GB/s")
    near |= {"bytes_per_s": 2e9, "write_bytes_per_s": 1e9}
    figure = roofline_figure(column([near]), "r", memory_styles([found]))
    assert [text for _, text in figure.legend] == ["near read or write, 1.00 GB/s"]


def test_a_pipeline_has_no_memories_and_the_page_says_so():
    found = bnnsim.estimate(bnnsim.load("zoo:tfc"), "zc706", allow_unpriced=True).to_dict()
    assert "zc706 is a streaming pipeline" in missing(found)
    assert "it has no memories to wait for" in render(found)


def test_results_without_rates_by_direction_are_taken_and_have_no_roofline():
    old = column()
    old["memories"] = [{k: v for k, v in m.items() if k not in RATES[1:]} for m in MEMORIES]
    assert checked(old, where="r.json") is old
    assert "an earlier version" in missing(old)
    assert "an earlier version" in render(old)


def test_markers_of_a_memory_are_the_same_in_all_columns():
    a = {"memories": [memory(n, 1, 1.0) for n in ("local", "gb", "dram")]}
    b = {"memories": [memory(n, 1, 1.0) for n in ("gb", "window", "dram")]}
    styles = memory_styles([a, b])
    assert (styles["local"], styles["gb"], styles["dram"]) == (0, 1, 2)
    assert styles["window"] not in (styles["gb"], styles["dram"])


def test_the_largest_memory_on_chip_holds_what_may_live_there():
    found = column([MEMORIES[0], memory("gb", 2048, 1e9, ("weights", "activations")),
                    memory("far", None, 1e9)])  # fmt: skip
    assert home(found, "weights")["name"] == home(found, "activations")["name"] == "gb"
    assert on_chip_bytes(found) == 2048
    rows = {row[1]: row for row in levels_table([found]).rows}
    wanted = sum(found["totals"]["memory"].values()) / 1024
    assert rows["gb"][7:10] == ("2.00", f"{wanted:.2f}", f"{100 * wanted / 2:.1f}")
    assert rows["near"][7:] == ("1.00", "-", "-", "8.59")
    assert rows["far"][4:] == ("1.00 GB/s",) * 3 + ("-", "-", "-", "0.391")


def test_separate_memories_hold_their_own():
    found = column([memory("a", 1024, 1e9, ("activations",)), memory("w", 4096, 1e9, ("weights",))])
    ledger = found["totals"]["memory"]
    rows = {row[1]: row for row in levels_table([found]).rows}
    assert rows["a"][8] == f"{ledger['peak_activation_bytes'] / 1024:.3f}"
    kept = (ledger["weights_bytes"] + ledger["parameters_bytes"]) / 1024
    assert rows["w"][8] == f"{kept:.2f}"
    assert on_chip_bytes(found) == 5120
    assert levels_table([estimate()]) is None


def numbers(value, path=()):
    """Yield the path to every number inside a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in inside:
        if isinstance(item, dict | list):
            yield from numbers(item, (*path, key))
        elif isinstance(item, int | float) and not isinstance(item, bool):
            yield (*path, key)


def test_no_number_that_the_schema_allows_stops_the_page():
    sample = column()
    places = list(numbers(sample))
    assert len(places) > 60
    for path in places:
        for value in (0, 1e-299, 10**299):
            result = copy.deepcopy(sample)
            target = result
            for key in path[:-1]:
                target = target[key]
            target[path[-1]] = value
            if not list(violations(result, load_schema("estimate"), "r")):
                assert "</html>" in render(result), path


def test_the_largest_layers_have_names_beside_their_markers():
    found = estimate(layers=12) | {"memories": MEMORIES}
    for i, layer in enumerate(found["layers"]):
        layer |= {"macs": 1000 * 2**i, "latency_s": 1e-5, "peak_macs_per_s": 4e11,
                  "physical_actions": {"near.read": 60}}  # fmt: skip
    figure = roofline_figure(found, "r", {"near": 0, "far": 1})
    root = ET.fromstring(str(figure.__html__()))
    texts = [t for t in root.findall(f"{SVG}text") if t.get("class") == "mark-label"]
    assert {t.text for t in texts} <= {"conv8", "conv9", "conv10", "conv11"}
    assert len(texts) >= 2
    heights = [float(t.get("y")) for t in texts]
    assert all(abs(a - b) > 12 for i, a in enumerate(heights) for b in heights[:i])
