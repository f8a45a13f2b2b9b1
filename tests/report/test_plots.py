"""Figures for notebooks and files: one implementation with the page, whole, and written whole."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from report.pages import SVG, charts, stacks, ticks
from report.results import compare, estimate
from report.test_roofline import column
from report.test_waterfalls import result as with_waterfall

import bnnsim.report as report
from bnnsim import api
from bnnsim.errors import InputError, SourceError
from bnnsim.report.html import render

MODES = ("float32", "int8", "weight-only:fp32", "binary")
PLOTS = [
    lambda: report.plot_energy(compare(*MODES)),
    lambda: report.plot_energy_by_layer(compare(*MODES), 3),
    lambda: report.plot_energy_by_component(compare(*MODES)),
    lambda: report.plot_latency(compare(*MODES), 1),
    lambda: report.plot_memory(compare(*MODES)),
    lambda: report.plot_ratios(compare(*MODES)),
    lambda: report.plot_roofline(column()),
    lambda: report.plot_waterfall(with_waterfall()),
]


@pytest.mark.parametrize("plot", PLOTS)
def test_a_figure_is_a_picture_of_its_own(plot, tmp_path):
    figure = plot()
    root = ET.fromstring(figure.svg)
    assert root.tag == f"{SVG}svg"
    ids = root.get("aria-labelledby").split()
    assert [root.find(f"{SVG}{tag}").get("id") for tag in ("title", "desc")] == ids
    assert root.find(f"{SVG}desc").text
    assert figure._repr_svg_() == figure.svg
    assert figure.svg in figure._repr_html_()
    texts = [t.text for t in root.iter(f"{SVG}text")]
    assert " ".join(t.text for t in root.findall(f"{SVG}text")) == figure.caption
    assert all(text in texts for _, text in figure.legend)
    assert any(t.get("class") == "axis" for t in root.iter(f"{SVG}text"))
    path = tmp_path / "figure.svg"
    path.write_text("old")
    figure.save(path)
    assert path.read_text(encoding="utf-8") == figure.svg
    assert [p.name for p in tmp_path.iterdir()] == ["figure.svg"]


def test_every_class_of_a_picture_has_a_style():
    for plot in PLOTS:
        root = ET.fromstring(plot().svg)
        style = root.find(f"{SVG}style").text
        for element in root.iter():
            for name in (element.get("class") or "").split():
                assert f".{name}" in style or name == "label", name


def test_no_rule_of_a_picture_reaches_anything_else():
    style = ET.fromstring(report.plot_energy(estimate()).svg).find(f"{SVG}style").text
    for line in style.splitlines():
        if line.rstrip().endswith(("{", "}")) and "{" in line and not line.startswith("@"):
            assert all(part.strip().startswith(".bnnsim") for part in line.split("{")[0].split(","))


def test_ids_differ_between_figures_and_not_between_runs():
    one, other = (report.plot_energy_by_layer(compare(*MODES), i).svg for i in (0, 1))
    again = report.plot_energy_by_layer(compare(*MODES), 0).svg
    assert ET.fromstring(one).get("aria-labelledby") != ET.fromstring(other).get("aria-labelledby")
    assert one == again


def test_the_page_has_the_same_drawings():
    result = compare(*MODES)
    page = render(result)
    for figure in (
        report.plot_energy_by_component(result), report.plot_energy(result),
        report.plot_energy_by_layer(result, 2), report.plot_ratios(result),
        report.plot_latency(result, 2), report.plot_memory(result),
    ):  # fmt: skip
        assert figure.drawing.body in page


def test_objects_and_their_values_give_the_same_figure():
    found = api.compare([api.load("zoo:tfc")], ["cmos45"], ["float32", "binary"])
    for plot in (report.plot_energy, report.plot_ratios, report.plot_roofline):
        assert plot(found).svg == plot(found.to_dict()).svg


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: report.plot_latency(compare("binary", "int8"), 2), "columns: got 2.*0 to 1"),
        (lambda: report.plot_latency(estimate(), -1), "columns: got -1, expected 0 to 0"),
        (lambda: report.plot_ratios(estimate()), "ratios: got 'none', expected a comparison"),
        (lambda: report.plot_waterfall(compare("binary", "int8")), "waterfalls: got 0"),
        (lambda: report.plot_roofline(estimate()), "columns.0.*an earlier version"),
        (lambda: report.plot_energy({"schema": 1}), "result: got 'dict', expected what estimate"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_said(call, text):
    with pytest.raises(InputError, match=text):
        call()


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(SourceError, match="in a folder that exists"):
        report.plot_energy(estimate()).save(tmp_path / "none" / "x.svg")


@pytest.mark.parametrize("layers", [1, 24, 25, 26, 100])
def test_bars_of_all_layers_add_up_to_the_total(layers):
    result = estimate("binary", layers=layers)
    for plot, whole in (
        (report.plot_energy_by_layer, result["totals"]["energy_j"]["value"]),
        (report.plot_latency, result["totals"]["latency_s"]["value"]),
    ):
        figure = plot(result)
        (chart,) = charts(figure.__html__() + "\n").values()
        place, last = ticks(chart)[-1]
        sizes = {"nJ": 1e-9, "uJ": 1e-6, "us": 1e-6, "ms": 1e-3, "ns": 1e-9}
        size = float(last.split()[0]) * sizes[last.split()[1]] / place
        bars = stacks(chart)
        assert len(bars) <= 25
        assert sum(w for bar in bars for _, w in bar) * size == pytest.approx(whole, rel=1e-2)
        labels = [t.text for t in chart.iter(f"{SVG}text") if t.get("class") == "label"]
        rest = [label for label in labels if label.endswith("others together")]
        assert bool(rest) == (layers > 25 or len(labels) < layers)
