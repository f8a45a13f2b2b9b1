"""Every import in bnnsim/ is absolute and allowed by the table in docs/architecture.md."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
TABLE = REPOSITORY / "docs" / "architecture.md"


class Layer(NamedTuple):
    """What a layer may import beside itself and the standard library."""

    inside: frozenset[str]
    outside: frozenset[str]


def read_layers(text: str) -> dict[str, Layer]:
    table = text.split("<!-- layers -->")[1].split("<!-- end -->")[0].replace("\\_", "_")
    rows = [line.strip("|").split("|") for line in table.strip().splitlines()[2:]]
    return {
        name.strip(): Layer(frozenset(inside.split()), frozenset(outside.split()))
        for name, inside, outside in rows
    }


def layer_of(path: Path, package: Path) -> str:
    relative = path.relative_to(package)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the full name of everything imported; a relative import starts with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (f"{module}.{alias.name}" for alias in node.names)


def violations(package: Path, layers: Mapping[str, Layer]) -> list[str]:
    found = []
    for path in sorted(package.rglob("*.py")):
        layer = layer_of(path, package)
        place = path.relative_to(package.parent).as_posix()
        if layer not in layers:
            found.append(f"{place}: layer {layer!r} has no row in the table")
            continue
        for name in imported(ast.parse(path.read_text(encoding="utf-8"))):
            if not allowed(name, layer, layers):
                found.append(f"{place}: {layer} may not import {name}")
    return found


def allowed(name: str, layer: str, layers: Mapping[str, Layer]) -> bool:
    first, *rest = name.split(".")
    if first != "bnnsim":
        return first in sys.stdlib_module_names or first in layers[layer].outside
    return bool(rest) and (rest[0] == layer or rest[0] in layers[layer].inside)


LAYERS = read_layers(TABLE.read_text(encoding="utf-8"))


def test_imports_follow_the_table():
    assert violations(REPOSITORY / "bnnsim", LAYERS) == []


def test_table_names_only_layers_that_exist():
    package = REPOSITORY / "bnnsim"
    assert set(LAYERS) == {layer_of(path, package) for path in package.rglob("*.py")}
    assert all(layer.inside <= set(LAYERS) for layer in LAYERS.values())


def test_engine_and_cost_do_not_know_each_other():
    def reach(name: str) -> set[str]:
        return {name}.union(*(reach(below) for below in LAYERS[name].inside))

    assert "cost" not in reach("engine")
    assert "engine" not in reach("cost")


@pytest.mark.parametrize(
    ("planted", "named"),
    [
        ("from bnnsim.cost.profile import load_profile", "bnnsim.cost.profile.load_profile"),
        ("import bnnsim.cost.profile", "bnnsim.cost.profile"),
        ("from bnnsim import cost", "bnnsim.cost"),
        ("import bnnsim", "bnnsim"),
        ("from bnnsim import estimate", "bnnsim.estimate"),
        ("from . import values", "..values"),
        ("from ..cost import profile", "..cost.profile"),
        ("import torch", "torch"),
        ("def f():\n    from scipy.special import ndtri", "scipy.special.ndtri"),
        ("if 0:\n    from tests.nets import mlp", "tests.nets.mlp"),
    ],
)
def test_a_planted_violation_is_caught(tmp_path, planted, named):
    folder = tmp_path / "bnnsim" / "engine"
    folder.mkdir(parents=True)
    (folder / "plan.py").write_text(f"import numpy as np\n{planted}\n")
    expected = [f"bnnsim/engine/plan.py: engine may not import {named}"]
    assert violations(tmp_path / "bnnsim", LAYERS) == expected


def test_a_layer_without_a_row_is_caught(tmp_path):
    (tmp_path / "bnnsim" / "helpers").mkdir(parents=True)
    (tmp_path / "bnnsim" / "helpers" / "x.py").write_text("")
    (message,) = violations(tmp_path / "bnnsim", LAYERS)
    assert "layer 'helpers' has no row" in message
