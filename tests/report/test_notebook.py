"""What a notebook shows: one closed element whose figures are those of the JSON."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
from report.pages import Page

import bnnsim
from bnnsim.report.notebook import fragment
from bnnsim.report.numbers import count, digits, interval

TFC = bnnsim.load("zoo:tfc:random")
X = np.zeros((3, 784), np.uint8)
RESULTS = {
    "estimate": lambda: bnnsim.estimate(TFC, "cmos45", batch=2),
    "compare": lambda: bnnsim.compare([TFC], ["cmos45"], ["float32", "binary"]),
    "run": lambda: bnnsim.run(TFC, X),
    "verify": lambda: bnnsim.verify(TFC, X),
    "inspect": lambda: bnnsim.inspect(TFC),
}


@pytest.fixture(scope="module")
def results():
    return {name: make() for name, make in RESULTS.items()}


@pytest.mark.parametrize("name", RESULTS)
def test_fragment_is_one_element_that_runs_and_fetches_nothing(results, name):
    html = results[name]._repr_html_()
    assert html == fragment(results[name].to_dict())
    page = Page(html)
    assert page.tags[0] == ("div", {"class": "bnnsim fragment"})
    assert html.strip().endswith("</div>")
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "img", "link", "html", "body", "meta", "h1"}
    assert not re.search(r"url\(|@import|https?:(?!//www\.w3\.org/2000/svg)", html)
    assert not [attrs for _, attrs in page.tags if attrs.get("id", "bnnsim-")[:7] != "bnnsim-"]


@pytest.mark.parametrize("name", RESULTS)
def test_no_rule_of_a_fragment_reaches_the_page_around_it(results, name):
    html = results[name]._repr_html_()
    style = html.split("<style>")[1].split("</style>")[0]
    rules = re.findall(r"([^{}]+)\{", re.sub(r"@media[^{]*\{", "", style))
    assert len(rules) > 40
    for rule in rules:
        assert all(part.strip().startswith(".bnnsim") for part in rule.split(","))


def test_figures_of_an_estimate_are_those_of_its_json(results):
    values = results["estimate"].to_dict()
    page = Page(results["estimate"]._repr_html_())
    totals = dict(row for row in page.tables[""][1:])
    energy = values["totals"]["energy_per_inference_j"]
    assert totals["energy per inference (uJ)"] == interval(energy, 1e-6)
    assert totals["MACs bit x bit"] == count(values["totals"]["macs"]["bit x bit"])
    layers = page.tables["Layers: energy per inference, latency of the batch"][1:]
    for row, layer in zip(layers, values["layers"], strict=True):
        assert row[0] == layer["name"]
        assert row[3] == count(layer["macs"])
        assert row[4] == digits(layer["energy_j"] / 2 / 1e-6)


def test_figures_of_a_comparison_are_those_of_its_json(results):
    values = results["compare"].to_dict()
    page = Page(results["compare"]._repr_html_())
    rows = page.tables["Totals [90 % interval]"][1:]
    for row, column in zip(rows, values["columns"], strict=True):
        assert row[1] == interval(column["totals"]["energy_per_inference_j"], 1e-6)
    ratio = page.tables["Ratios [90 % interval]"][1]
    assert ratio[2] == interval(values["ratios"][0]["energy"])


def test_runs_checks_and_layers_show_theirs(results):
    text = {name: "".join(Page(results[name]._repr_html_()).text) for name in results}
    assert "3 images" in text["run"]
    assert "equal; 0 of" in text["verify"]
    rows = Page(results["inspect"]._repr_html_()).tables[""][1:]
    assert [row[0] for row in rows] == [layer.name for layer in results["inspect"].layers]


def test_a_difference_is_marked():
    result = bnnsim.verify(TFC, X).to_dict()
    assert 'class="mark"' not in fragment(result)
    html = fragment({**result, "equal": False})
    assert re.search(r'class="mark" role="note">tfc against reference: DIFFERENT', html)


def test_hostile_names_stay_text(results):
    values = results["inspect"].to_dict()
    values["layers"][0]["name"] = values["model"] = "<script>x</script>\u202e"
    html = fragment(values)
    assert "<script>" not in html
    assert "\u202e" not in html


@pytest.mark.parametrize("show", ["r._repr_html_()", "str(r)"])
def test_results_load_the_report_only_when_shown(show):
    code = (
        "import sys, bnnsim\n"
        "r = bnnsim.estimate(bnnsim.load('zoo:tfc'), 'cmos45')\n"
        "repr(r)\n"
        "before = {m for m in sys.modules if m.startswith('bnnsim.report')}\n"
        f"{show}\n"
        "print(len(before), 'bnnsim.report.notebook' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "True"]


def test_print_shows_lines_and_the_first_tables(results):
    for name, result in results.items():
        lines = str(result).splitlines()
        assert len(lines) < 40, name
        assert max(map(len, lines)) < 200, name
        assert "CostReport(" not in str(result)
        assert str(result) == f"{result}"
    energy = results["estimate"].to_dict()["totals"]["energy_per_inference_j"]
    said = str(results["estimate"])
    assert "tfc native on cmos45, batch 2" in said.splitlines()
    assert interval(energy, 1e-6) in said
    assert "Energy per inference by component" in said
    said = str(results["compare"])
    for title in ("Totals [90 % interval]", "Ratios [90 % interval]"):
        assert title in said.splitlines()
    assert "3 images, " in str(results["run"])
    assert "equal; 0 of" in str(results["verify"])
    assert repr(results["estimate"]).startswith("CostReport(")


def test_print_of_a_simulation_says_accuracy_and_totals():
    found = bnnsim.simulate(TFC, "cmos45", X)
    said = str(found)
    assert "counts predicted by the cost model equal those of the kernels: yes" in said
    assert interval(found.to_dict()["totals"]["energy_per_inference_j"], 1e-6) in said
