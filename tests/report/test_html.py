"""The page: well-formed, self-contained, escaped, quick, and its numbers are those of the JSON."""

from __future__ import annotations

import cProfile
import re
from itertools import combinations

import pytest
from report.pages import SVG, Page, charts, stacks, ticks
from report.results import COMPONENTS, compare, estimate

from bnnsim.report import costs
from bnnsim.report.html import SECTIONS, environment, render
from bnnsim.report.numbers import interval

MODES = ("float32", "int8", "weight-only:fp32", "binary")


@pytest.fixture(scope="module")
def result():
    return compare(*MODES, layers=9)


@pytest.fixture(scope="module")
def text(result):
    return render(result)


CONSTANTS = (
    "Constants by share of energy A share is the energy that the constant enters. "
    "Factors (overhead, structure) multiply the energies of others, so their shares overlap and "
    "the column does not add up to 100 %."
)
Q = {"value": 2.0, "low": 1.0, "high": 3.0}


def number(cell: str) -> float:
    return float(cell.split(" ")[0].replace(",", "").lstrip("<"))


def test_page_is_well_formed_and_fetches_nothing(text):
    page = Page(text)
    names = [tag for tag, _ in page.tags]
    assert "script" not in names
    assert "img" not in names
    links = [attrs.get(key) for _, attrs in page.tags for key in ("href", "src") if key in attrs]
    assert all(link.startswith(("#", "data:")) for link in links)
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    assert not re.search(r"url\(|@import", text)


def test_ids_are_unique_and_links_lead_to_them(text):
    page = Page(text)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(set(ids)) == len(ids)
    for _, attrs in page.tags:
        for name in (attrs.get("aria-labelledby") or "").split():
            assert name in ids
        if (attrs.get("href") or "").startswith("#"):
            assert attrs["href"][1:] in ids


def test_tables_have_captions_and_scopes(text):
    page = Page(text)
    names = [tag for tag, _ in page.tags]
    assert names.count("table") == names.count("caption") > 5
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in page.tags if tag == "th")


def test_totals_are_those_of_the_json(result, text):
    rows = Page(text).tables["Totals [90 % interval]"][1:]
    for row, column in zip(rows, result["columns"], strict=True):
        totals = column["totals"]
        assert row[0] == column["mode"]
        for cell, key, unit in ((1, "energy_per_inference_j", 1e-6), (2, "latency_s", 1e-3)):
            shown = [float(v) for v in re.findall(r"[\d.e+-]+", row[cell])]
            wanted = [totals[key][k] / unit for k in ("value", "low", "high")]
            assert shown == pytest.approx(wanted, rel=0.006)
        assert number(row[4]) == pytest.approx(sum(totals["memory"].values()) / 1024, rel=0.006)
        assert number(row[6]) == sum(totals["macs"].values())


def test_ratios_are_those_of_the_json(result, text):
    rows = next(t for c, t in Page(text).tables.items() if c.startswith("Ratios"))[1:]
    for row, ratio in zip(rows, result["ratios"], strict=True):
        assert row[:2] == [ratio["of"]["mode"], ratio["over"]["mode"]]
        assert number(row[2]) == pytest.approx(ratio["energy"]["value"], rel=0.006)


def test_components_are_those_of_the_json(result, text):
    rows = Page(text).tables["Energy per inference by component"][1:]
    assert len(rows) == 7
    for i, column in enumerate(result["columns"]):
        whole = column["totals"]["energy_j"]["value"] / 1e-6
        assert sum(number(row[1 + i]) for row in rows) == pytest.approx(whole, rel=0.01)
        shares = [float(re.search(r"\(<?([\d.]+) %\)", row[1 + i])[1]) for row in rows]
        assert sum(shares) == pytest.approx(100, abs=0.5)


def test_layers_are_those_of_the_json(result, text):
    rows = Page(text).tables["Layers: energy per inference, latency of the batch"][1:]
    for row, layer in zip(rows, result["columns"][0]["layers"], strict=True):
        assert row[:3] == [layer["name"], layer["op"], "float32 x float32 -> int32"]
        assert number(row[3]) == layer["macs"]
        assert number(row[4]) == pytest.approx(layer["energy_j"] / 1e-6, rel=0.006)
        assert number(row[6]) == pytest.approx(layer["latency_s"] / 1e-3, rel=0.006)
        assert row[7] == layer["bound_by"]


def test_assumptions_are_those_of_the_json_by_share(result, text):
    head, *rows = Page(text).tables[CONSTANTS]
    assert [row[0] for row in rows] == ["gb.read", "overhead", "actions.add.float32"]
    for row in rows:
        for i, column in enumerate(result["columns"]):
            (item,) = [a for a in column["assumptions"] if a["constant"] == row[0]]
            assert head[4 + i] == f"share, {column['mode']} (%)"
            assert row[4 + i] == f"{100 * item['share_of_energy']:.1f}"
            assert row[2] == item["status"]
            assert row[-1] == item["source"]


def test_bars_of_components_are_the_shares_of_the_json(result, text):
    chart = charts(text)["Energy by component"]
    full = next(place for place, tick in ticks(chart) if tick == "100 %")
    for bar, column in zip(stacks(chart), result["columns"], strict=True):
        shown = {style.removeprefix("c-"): width / full for style, width in bar}
        total = column["totals"]["energy_j"]["value"]
        wanted = {k: v / total for k, v in column["energy_by"].items() if v}
        assert shown == pytest.approx(wanted, abs=2e-4)


def test_bars_of_layers_are_the_energies_of_the_json(result, text):
    chart = charts(text)["Energy by layer, binary"]
    place, last = ticks(chart)[-1]
    size = float(last.split()[0]) * {"nJ": 1e-9, "uJ": 1e-6}[last.split()[1]] / place
    for bar, layer in zip(stacks(chart), result["columns"][3]["layers"], strict=True):
        assert sum(w for _, w in bar) * size == pytest.approx(layer["energy_j"], rel=1e-3)


def test_points_stand_at_the_totals(result, text):
    chart = charts(text)["Energy per inference"]
    assert ticks(chart)[0][1] == "100 nJ"
    dots = [float(c.get("cx").rstrip("%")) for c in chart.iter(f"{SVG}circle")]
    energies = [c["totals"]["energy_per_inference_j"]["value"] for c in result["columns"]]
    assert sorted(dots) == [d for _, d in sorted(zip(energies, dots, strict=True))]


def test_cards_say_how_much_more_the_first_column_takes(result, text):
    assert "float32 takes 700 [" in text
    assert text.count("x its energy") == 3


def test_the_page_has_the_ratio_tables_of_the_text_and_a_chart_of_the_first_column():
    columns = [estimate(mode, profile=f"p{i}") for i in range(3) for mode in MODES]
    sides = [{"source": "net", "profile": c["profile"], "mode": c["mode"]} for c in columns]
    every = [
        {"of": a, "over": b, "energy": {**Q, "value": 1 + i / 100}, "latency": Q, "memory": 1.0}
        for i, (a, b) in enumerate(combinations(sides, 2))
    ]
    text = render({"schema": 1, "columns": columns, "ratios": every})
    page = Page(text)
    wanted = costs.ratio_tables(every)
    assert [len(found.rows) for found in wanted] == [3 * 6, 4 * 3]
    shown = {c: rows for c, rows in page.tables.items() if c.startswith("Ratios")}
    assert len(shown) == len(wanted)
    for found in wanted:
        (rows,) = (rows[1:] for c, rows in shown.items() if c.startswith(found.title))
        assert [tuple(row) for row in rows] == list(found.rows)
        for at, row in found.marked:
            energy = every[int(at.removeprefix("/ratios/"))]["energy"]
            assert row[3] == interval(energy)
    # Of 66 ratios, 36 are of columns that differ in more than one thing.
    assert "36 more, of columns that differ in more than one thing" in "".join(shown)
    groups = charts(text)["Ratios of energy"].findall(f"{SVG}g")
    labels = [group.find(f"{SVG}text").text for group in groups]
    assert labels == [
        "float32 / int8, p0", "float32 / weight-only:fp32, p0", "float32 / binary, p0",
        "p0 / p1, float32", "p0 / p2, float32",
    ]  # fmt: skip
    assert "5 of 30; the rest is in the tables." in text


def test_figures_are_per_inference_and_batches_are_named():
    text = render(estimate(batch=8))
    page = Page(text)
    energy = estimate(batch=8)["totals"]["energy_j"]["value"] / 8 / 1e-6
    row = page.tables["Totals [90 % interval]"][1]
    assert number(row[1]) == pytest.approx(energy, rel=0.006)
    assert "net on cmos45, batch 8" in text
    assert "latency of the batch" in text


HOSTILE = "<script>alert('x')</script><img src=x onerror=y>\" onload=\"z\x00\x1b[31m{{ 7*7 }}"


def test_hostile_strings_everywhere_stay_text():
    result = compare("float32", "binary")
    for column in result["columns"]:
        column["model"] = column["profile"] = HOSTILE
        column["notes"] = [HOSTILE]
        column["unpriced"] = [HOSTILE]
        column["record"] = {HOSTILE: HOSTILE, "x": [HOSTILE], "y": {HOSTILE: HOSTILE}, "z": None}
        column["totals"]["macs"] = {HOSTILE: 3}
        for layer in column["layers"]:
            for key in ("name", "op", "act_dtype", "bound_by", "mapping"):
                layer[key] = HOSTILE
        for item in column["assumptions"]:
            item["constant"] = item["source"] = item["unit"] = HOSTILE
    for ratio in result["ratios"]:
        ratio["of"]["source"] = ratio["over"]["source"] = HOSTILE
    text = render(result, findings=[HOSTILE])
    page = Page(text)
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert not [attrs for _, attrs in page.tags if {"onload", "onerror"} & set(attrs)]
    assert "\x00" not in text
    assert "\x1b" not in text
    assert "{{ 7*7 }}" in "".join(page.text)
    assert charts(text)


def test_marks_stand_before_the_title():
    text = render(estimate(synthetic=True))
    assert text.index("cost-only twin") < text.index("<h1>")


def test_findings_stand_in_the_summary():
    text = render(estimate(), findings=["Accuracy 98.00 % of 5,000"])
    assert text.index("<h1>") < text.index("Accuracy 98.00 %") < text.index('class="cards"')


def test_empty_and_zero_results_still_make_a_page():
    nothing = estimate(layers=1)
    nothing["layers"], nothing["assumptions"] = [], []
    nothing["energy_by"] = dict.fromkeys(COMPONENTS, 0.0)
    zero = {"value": 0.0, "low": 0.0, "high": 0.0}
    nothing["totals"] |= {"energy_j": zero, "energy_per_inference_j": zero, "latency_s": zero}
    nothing["totals"]["memory"] = dict.fromkeys(nothing["totals"]["memory"], 0)
    nothing["totals"]["macs"] = nothing["totals"]["macs_valid"] = {}
    assert charts(render(nothing))
    assert Page(render(nothing))


def test_a_page_renders_every_section_once(result, monkeypatch):
    """What keeps a page quick: one render, however many layers; templates are compiled once."""
    from jinja2 import Template

    rendered, compiled = [], []
    real, make = Template.render, Template.from_code
    monkeypatch.setattr(
        Template, "render", lambda t, *a, **k: rendered.append(t) or real(t, *a, **k)
    )
    monkeypatch.setattr(Template, "from_code", lambda *a, **k: compiled.append(a) or make(*a, **k))
    environment.cache_clear()
    first, second = render(result), render(compare("binary", layers=100))
    assert [template.name for template in rendered] == ["report.html"] * 2
    absent = {"waterfalls", "accuracy", "counts", "activity"}
    present = [name for name, _, _ in SECTIONS if name not in absent]
    assert len(compiled) == 4 + len(present)  # page, macros, two styles, sections
    for text in (first, second):
        names = [name for name, _, _ in SECTIONS if f'<section id="{name}"' in text]
        assert names == present


def test_hundred_layers_fit_two_megabytes():
    result = compare(*MODES, layers=100)
    for column in result["columns"]:
        column["memories"] = [
            {"name": name, "kind": "sram", "size_bytes": 1 << 20, "word_bits": 64,
             "bytes_per_s": 1e9, "read_bytes_per_s": 1e9, "write_bytes_per_s": 1e9,
             "holds": ["weights"]} for name in ("gb", "dram")
        ]  # fmt: skip
        for layer in column["layers"]:
            layer |= {"peak_macs_per_s": 1e12, "physical_actions": {"gb.read": 9}}
    text = render(result)
    assert text.count('class="mark-edge') == 400
    assert len(text.encode()) < 1_000_000


def test_many_columns_take_work_in_proportion(result):
    """Counts function calls, which no load of the machine changes."""

    def calls(columns: int) -> int:
        first, *_ = result["columns"]
        many = [{**first, "mode": f"m{i}", "profile": f"p{i}"} for i in range(columns)]
        side = {"source": first["model"], "profile": "p0", "mode": "m0"}
        ratios = [
            {
                **result["ratios"][0],
                "of": side,
                "over": {**side, "profile": f"p{i}", "mode": f"m{i}"},
            }
            for i in range(1, columns)
        ]
        profile = cProfile.Profile()
        page = profile.runcall(render, {**result, "columns": many, "ratios": ratios})
        assert page.count("m0 p0 takes") == columns - 1
        return sum(entry.callcount for entry in profile.getstats())

    calls(10)  # imports, templates
    assert calls(480) < 1.5 * 8 * calls(60)
