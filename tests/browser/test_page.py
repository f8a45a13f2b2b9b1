"""The page in a real browser: silent, complete, readable at every width, reachable by keyboard."""

from __future__ import annotations

import re
import struct
from itertools import pairwise

import pytest
from browser.chromium import Browser, Tab, binary
from browser.shown import CELLS, contrast, written

from bnnsim import api
from bnnsim.report.html import render

WIDTHS = (400, 1000, 1600)
NAMES = ("real", "deep", "hostile", "one", "arithmetic", "old")
OPEN_ALL = "document.querySelectorAll('details').forEach(d => d.open = true)"
WIDTH = "[document.documentElement.scrollWidth, document.body.scrollWidth, innerWidth]"
# Pairs of texts of a chart whose boxes overlap by more than a pixel in both directions.
OVERLAPS = """
[...document.querySelectorAll('svg.chart')].flatMap(chart => {
  const box = chart.getBoundingClientRect();
  const texts = [...chart.querySelectorAll('text')].filter(t => t.textContent)
    .map(t => [t.textContent, t.getBoundingClientRect()]);
  const cut = texts.filter(([, r]) => r.left < box.left - 2 || r.right > box.right + 2)
    .map(([t]) => 'outside: ' + t);
  const sorted = texts.sort((a, b) => a[1].top - b[1].top);
  const both = [];
  sorted.forEach(([t, r], i) => {
    for (let j = i + 1; j < sorted.length && sorted[j][1].top < r.bottom - 3; j++) {
      const s = sorted[j][1];
      if (Math.min(r.right, s.right) - Math.max(r.left, s.left) > 1)
        both.push(t + ' | ' + sorted[j][0]);
    }
  });
  return cut.concat(both);
})
"""
# Colours of every visible text and of what stands behind it.
COLOURS = """
(() => {
  const found = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const e = node.parentElement, style = getComputedStyle(e);
    if (!node.textContent.trim() || !e.checkVisibility() || e.closest('title,desc,style')) continue;
    const colour = e instanceof SVGElement ? style.fill : style.color;
    let back = e;
    while (back && /, 0\\)$|transparent/.test(getComputedStyle(back).backgroundColor))
      back = back.parentElement;
    found.add(colour + ' on ' + getComputedStyle(back || document.body).backgroundColor);
  }
  return [...found];
})()
"""
FOCUSABLE = """
[...document.querySelectorAll('a[href], summary, [tabindex]')].filter(e => e.checkVisibility())
"""
HEADINGS = "[...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])"
TABLES = """
[...document.querySelectorAll('table')].map(t => [
  t.caption ? t.caption.textContent.trim() : '',
  [...t.querySelectorAll('th')].every(h => h.scope === 'col' || h.scope === 'row')])
"""


def shown(tab: Tab, page, width=1000, **view) -> None:
    tab.view(width, **view)
    tab.open(page)
    tab.run(OPEN_ALL)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_on_the_console_and_nothing_fetched(tab, pages, name):
    shown(tab, pages[name])
    assert tab.messages() == []
    assert tab.requests() == [pages[name].as_uri()]
    assert tab.run("document.scripts.length") == 0
    assert tab.run("document.title").startswith("bnnsim: ")


def test_a_noisy_page_would_be_heard(tab, tmp_path):
    page = tmp_path / "noisy.html"
    page.write_text("<img src=missing.png><script>console.warn('hello'); nothing()</script>")
    tab.view(400)
    tab.open(page)
    said = " ".join(tab.messages())
    assert "hello" in said
    assert "nothing is not defined" in said
    assert "ERR_FILE_NOT_FOUND" in said
    assert tab.requests()[1].endswith("missing.png")


@pytest.mark.parametrize("name", NAMES)
def test_fits_its_window_and_no_text_covers_another(tab, pages, name):
    shown(tab, pages[name])
    for width in WIDTHS:
        tab.view(width)
        page, body, window = tab.run(WIDTH)
        assert window == width
        assert page <= window
        assert body <= window
        assert tab.run(OVERLAPS) == []


def test_captions_fit_a_narrow_window_and_stay_where_a_table_is_scrolled(tab, pages):
    shown(tab, pages["real"], 400)
    wide, places = tab.run("""(() => {
      const scrolls = [...document.querySelectorAll('.scroll:has(table)')];
      const wide = scrolls.filter(s => s.scrollWidth > s.clientWidth);
      wide.forEach(s => { s.scrollLeft = 200; });
      return [wide.length, wide.map(s => {
        const a = s.getBoundingClientRect(), c = s.querySelector('.said').getBoundingClientRect();
        return [c.left - a.left, a.right - c.right];
      })];
    })()""")
    assert wide > 5
    for left, right in places:
        assert left >= -1
        assert right >= -1


def test_text_that_covers_another_would_be_seen(tab, tmp_path):
    page = tmp_path / "x.html"
    page.write_text("<svg class=chart width=90 height=20><text y=9>one</text>"
                    "<text x=4 y=12>two</text><text x=80 y=9>outside</text></svg>")  # fmt: skip
    shown(tab, page, 400)
    assert set(tab.run(OVERLAPS)) == {"one | two", "outside: outside"}


@pytest.mark.parametrize("name", ["real", "deep", "one", "arithmetic"])
def test_every_figure_is_that_of_the_json(tab, pages, results, name):
    shown(tab, pages[name])
    cells = tab.run(CELLS)
    result = results[name]
    layers = sum(len(c["layers"]) for c in result.get("columns", [result]))
    assert len(cells) > 6 * layers
    wrong = [
        (cell, expected)
        for cell in cells
        if cell["text"] != (expected := written(result, cell["at"], cell["unit"]))
    ]
    assert wrong == []


def test_a_figure_that_differs_would_be_found(tab, pages, results):
    result = results["one"]
    shown(tab, pages["one"])
    cells = [c for c in tab.run(CELLS) if c["at"] == "/columns/0/layers/1/macs"]
    assert len(cells) == 2  # in the table of layers and in that of the roofline
    changed = {**result, "layers": [{**layer, "macs": 1} for layer in result["layers"]]}
    for cell in cells:
        assert cell["text"] == written(result, cell["at"], cell["unit"])
        assert cell["text"] != written(changed, cell["at"], cell["unit"])


@pytest.mark.parametrize("name", ["real", "hostile"])
def test_all_text_has_contrast(tab, pages, name):
    shown(tab, pages[name])
    seen = set()
    for dark in (False, True):
        tab.view(1000, dark=dark)
        pairs = tab.run(COLOURS)
        assert len(pairs) >= 5
        for pair in pairs:
            text, back = (tuple(map(float, re.findall(r"[\d.]+", c))) for c in pair.split(" on "))
            assert contrast(text, back) >= 4.5, pair
        assert not seen & set(pairs)
        seen |= set(pairs)


def test_dark_is_dark_and_a_screenshot_is_as_wide_as_the_window(tab, pages):
    shots = {}
    shown(tab, pages["one"])
    for width in WIDTHS:
        for dark in (False, True):
            tab.view(width, dark=dark)
            shots[width, dark] = tab.screenshot(most=1000)
            assert shots[width, dark][:8] == b"\x89PNG\r\n\x1a\n"
            assert struct.unpack(">I", shots[width, dark][16:20]) == (width,)
            red = tab.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
            assert (int(red) < 60) == dark
    assert len(set(shots.values())) == len(shots)


def test_everything_is_reached_by_keyboard_and_shows_it(tab, pages):
    tab.view(1000)
    tab.open(pages["real"])
    wanted = tab.run(f"(window.wanted = {FOCUSABLE}).length")
    assert wanted > 20
    for index in range(wanted):
        tab.press("Tab")
        at, style, width = tab.run(
            "[wanted.indexOf(document.activeElement),"
            " getComputedStyle(document.activeElement).outlineStyle,"
            " parseFloat(getComputedStyle(document.activeElement).outlineWidth)]"
        )
        assert at == index
        assert style != "none"
        assert width >= 1


def test_a_closed_column_opens_by_keyboard(tab, pages):
    tab.view(1000)
    tab.open(pages["real"])
    tab.run("document.querySelector('details:not([open]) summary').focus()")
    before = tab.run("document.querySelectorAll('details[open]').length")
    tab.press("Enter")
    assert tab.run("document.querySelectorAll('details[open]').length") == before + 1


@pytest.mark.parametrize("name", ["real", "arithmetic"])
def test_headings_tables_and_pictures_have_names(tab, pages, name):
    shown(tab, pages[name])
    levels = tab.run(HEADINGS)
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    tables = tab.run(TABLES)
    assert tables
    assert all(caption and scoped for caption, scoped in tables)
    nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
    pictures = [n for n in nodes if n.get("role", {}).get("value") in ("img", "image")]
    assert len(pictures) == tab.run("document.querySelectorAll('svg.chart').length")
    for picture in pictures:
        assert picture["name"]["value"]
        assert picture["description"]["value"]
    regions = [n for n in nodes if n.get("role", {}).get("value") == "region"]
    assert all(n["name"]["value"] for n in regions)


def test_paper_shows_what_the_screen_folds(tab, pages):
    tab.view(1000, media="print")
    tab.open(pages["real"])
    rows = "[...document.querySelectorAll('details:not([open]) tbody tr')]"
    assert tab.run(f"{rows}.length") > 20
    assert tab.run(f"{rows}.every(r => r.getBoundingClientRect().height > 5)")
    assert tab.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    tab.view(720, media="print", dark=True)  # A4 between margins
    assert tab.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.run(WIDTH)[0] <= 720
    assert tab.pdf()[:5] == b"%PDF-"


def test_a_profile_without_memories_says_why_there_is_no_roofline(tab, pages):
    for name, why in (
        ("arithmetic", "no memories"),
        ("old", "an earlier version made"),
    ):
        shown(tab, pages[name])
        assert why in tab.run("document.querySelector('#roofline').innerText")
        assert tab.run("document.querySelectorAll('#roofline svg').length") == 0


def test_hostile_names_are_text(tab, pages):
    shown(tab, pages["hostile"])
    assert tab.run("document.querySelectorAll('script, img, [onerror]').length") == 0
    text = tab.run("document.body.innerText")
    assert "<script>document.title='owned'</script>" in text
    assert "{{ 7*7 }}" in text
    assert "\\u202eevil" in text
    assert "owned" not in tab.run("document.title.replace(/'owned'/g, '')")


def test_browser_ends_by_its_own_id_and_leaves_nothing(browser):
    with Browser(str(binary())) as own:
        folder, process = own.folder, own.process
        assert process.pid != browser.process.pid
        Tab(own)
    assert process.poll() is not None
    assert not folder.exists()
    assert browser.process.poll() is None


def test_render_is_what_the_pages_hold(pages, results):
    assert pages["one"].read_text(encoding="utf-8") == render(results["one"])


STYLES = """
[...document.querySelectorAll('.outside, .outside *')].map(e => {
  const style = getComputedStyle(e);
  return [...style].map(p => p + ':' + style.getPropertyValue(p)).join(';');
})
"""


def test_a_fragment_changes_nothing_around_it_and_fits(tab, tmp_path):
    outside = (
        "<div class=outside><p class='mark line'>p</p><table><caption>c</caption><tr>"
        "<th class=left>h</th><td class=long>d</td></tr></table>"
        "<figure><figcaption>f</figcaption></figure>"
        "<details open><summary>s</summary><a href='#'>a</a></details>"
        "<svg class=chart><text class=tick>t</text><rect class=b0 /></svg></div>"
    )
    result = api.compare([api.load("zoo:tfc")], ["cmos45"], ["float32", "binary"])
    styles = []
    for inside in ("", f"<div style='width:380px'>{result._repr_html_()}</div>"):
        page = tmp_path / "notebook.html"
        page.write_text(f"<!DOCTYPE html><meta charset=utf-8>{outside}{inside}", encoding="utf-8")
        shown(tab, page, 400)
        styles.append(tab.run(STYLES))
        assert tab.messages() == []
        assert tab.requests() == [page.as_uri()]
    assert len(styles[0]) > 12
    assert styles[0] == styles[1]
    assert tab.run("document.querySelector('.fragment').offsetWidth") == 380
    assert tab.run(WIDTH)[0] == 400
    colour = tab.run("getComputedStyle(document.querySelector('.fragment .c-compute')).fill")
    assert colour == "rgb(47, 95, 145)"
