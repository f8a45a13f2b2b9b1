"""The notebook docs/tour.ipynb runs from top to bottom and shows what the library returns."""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
NOTEBOOK = REPOSITORY / "docs" / "tour.ipynb"
CELLS: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
TIMED = re.compile(r"[\d.]+ m?s, \d+ images/s")
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return the notebook's code cells, run by a kernel in an empty folder."""
    pytest.importorskip("torch", reason="a part of the notebook uses torch")
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    folder = tmp_path_factory.mktemp("tour")
    places = ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    private = {name: str(tmp_path_factory.mktemp("jupyter")) for name in places}
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        for name, place in private.items():
            patch.setenv(name, place)
        nbclient.NotebookClient(
            notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": folder}}
        ).execute()
    assert list(folder.iterdir()) == []
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown_by(source: str, names: dict[str, Any]) -> Any:
    """Run a cell here and return the value of its last expression, or None."""
    module = ast.parse(source)
    last = module.body.pop() if isinstance(module.body[-1], ast.Expr) else None
    exec(compile(module, "cell", "exec"), names)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


def untimed(html: str) -> str:
    """Return what a run shows without how long it took."""
    return TIMED.sub("TIME", html)


def test_every_cell_shows_what_the_library_returns(executed):
    names: dict[str, Any] = {}
    compared = 0
    for source, cell in zip(CODE, executed, strict=True):
        value = shown_by(source, names)
        shown = [o["data"] for o in cell.outputs if o["output_type"] == "execute_result"]
        assert len(shown) == (value is not None)
        if value is not None:
            assert untimed(shown[0]["text/html"]) == untimed(value._repr_html_())
            compared += 1
    assert compared == 12


def test_nothing_is_printed_but_that_torch_agrees(executed):
    printed = [o["text"] for cell in executed for o in cell.outputs if o["output_type"] == "stream"]
    assert printed == ["the engine equals torch: True\n"]


def test_without_torch_the_notebook_says_so_and_goes_on(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    (own,) = (source for source in CODE if "import torch" in source)
    names: dict[str, Any] = {}
    for source in CODE[:2]:
        shown_by(source, names)
    assert shown_by(own, names)._repr_html_()
    assert capsys.readouterr().out.startswith("This part needs torch")
    assert names["own"] is names["net"]


def test_the_notebook_is_kept_without_outputs():
    for cell in CELLS:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None
    assert NOTEBOOK.stat().st_size < 20_000


def test_links_of_the_notebook_lead_somewhere():
    prose = "".join("".join(c["source"]) for c in CELLS if c["cell_type"] == "markdown")
    links = [link.split(")")[0] for link in prose.split("](")[1:]]
    assert links
    assert [link for link in links if not (NOTEBOOK.parent / link).exists()] == []
