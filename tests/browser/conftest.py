"""One browser for all tests of this folder, and the pages that they look at."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser.chromium import NAMES, Browser, Tab, binary
from report.results import compare, estimate

from bnnsim import api
from bnnsim.report.html import render

NASTY = (
    "<script>document.title='owned'</script><img src=x onerror=\"console.error('owned')\">",
    "\u202eevil\u202c \u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd",
    "\U0001f600\U0001f3f4\u200d\u2620\ufe0f " * 8,
    "a" * 4000,
    "</title></style></svg></table>{{ 7*7 }}\"'&lt;",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = binary()
    if path is None:
        names = ", ".join(NAMES)
        pytest.skip(f"no Chromium ({names}): `apt-get install chromium`, or set BNNSIM_CHROMIUM")
    with Browser(path) as found:
        yield found


@pytest.fixture(scope="session")
def tab(browser: Browser) -> Tab:
    return Tab(browser)


def hostile() -> dict[str, Any]:
    """Return a comparison in which every text of a file's author is nasty."""
    result = compare("float32", "binary", layers=5)
    for column, name in zip(result["columns"], NASTY, strict=False):
        column["model"] = NASTY[3]
        column["profile"] = name
        column["notes"] = column["unpriced"] = list(NASTY)
        column["record"] = dict(zip(NASTY, NASTY, strict=True))
        column["totals"]["macs"] = {NASTY[3]: 7, NASTY[0]: 1}
        column["memories"] = [level(nasty, 1 << i) for i, nasty in enumerate(NASTY)]
        for layer, nasty in zip(column["layers"], NASTY, strict=True):
            layer.update(name=nasty, op=nasty, act_dtype=nasty, bound_by=nasty, mapping=nasty,
                         peak_macs_per_s=1e12, physical_actions={f"{nasty}.read": 99})  # fmt: skip
        for item, nasty in zip(column["assumptions"], NASTY, strict=False):
            item["constant"] = item["source"] = item["unit"] = nasty
    for ratio in result["ratios"]:
        ratio["of"]["source"] = ratio["over"]["source"] = NASTY[3]
        ratio["over"]["profile"] = NASTY[0]
    return result


def level(name: str, size: int | None) -> dict[str, Any]:
    return {"name": name, "kind": "sram", "size_bytes": size, "word_bits": 64,
            "bytes_per_s": 1e9, "read_bytes_per_s": 1e9, "write_bytes_per_s": 1e9,
            "holds": ["weights", "activations"]}  # fmt: skip


def deep() -> dict[str, Any]:
    """Return a comparison of a network of 100 layers."""
    result = compare("float32", "int8", "weight-only:fp32", "binary", layers=100)
    for column in result["columns"]:
        column["memories"] = [level("gb", 1 << 20), level("dram", None)]
        for i, layer in enumerate(column["layers"]):
            actions = {"gb.read": 10 + i, "dram.write": i % 7}
            layer.update(peak_macs_per_s=1e12, physical_actions=actions)
    return result


def real() -> dict[str, Any]:
    """Return what `compare` says of a packaged architecture on two profiles."""
    graph = api.load("zoo:cifar10-convnet")
    profiles = ["cmos45", "asic-example"]
    return dict(api.compare([graph], profiles, ["float32", "binary"], batch=2).to_dict())


MAKERS: dict[str, Callable[[], dict[str, Any]]] = {
    "real": real,
    "deep": deep,
    "hostile": hostile,
    "one": lambda: api.estimate(api.load("zoo:tfc"), "cmos45").to_dict(),
    "arithmetic": lambda: api.estimate(
        api.load("zoo:tfc"), "cmos45-arith", allow_unpriced=True
    ).to_dict(),
    "old": lambda: estimate(layers=3),
}


@pytest.fixture(scope="session")
def results() -> dict[str, dict[str, Any]]:
    return {name: json.loads(json.dumps(make())) for name, make in MAKERS.items()}


@pytest.fixture(scope="session")
def pages(results: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    for name, result in results.items():
        (folder / f"{name}.html").write_text(render(result), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in results}
