"""docs/answers.md: its tables are what the experiment makes, its commands run."""

from __future__ import annotations

import os
import re
import shlex

import pytest

from bnnsim.cli import main
from experiments.answers.__main__ import PAGE, TABLE, TABLES, markdown, page

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_page_has_every_table_once():
    assert sorted(match[2] for match in TABLE.finditer(TEXT)) == sorted(TABLES)


def test_every_cell_of_a_table_has_an_interval_around_its_value():
    row = re.compile(r"([\d.,e-]+) \[([\d.,e-]+), ([\d.,e-]+)\]")
    found = [tuple(float(f.replace(",", "")) for f in match.groups())
             for match in row.finditer(markdown("generators"))]  # fmt: skip
    assert len(found) == 2 * 4 * 3 * 2
    assert all(low <= value <= high for value, low, high in found)


@pytest.mark.slow
def test_the_tables_are_those_of_the_experiment():
    if os.environ.get("BNNSIM_UPDATE_DOCS") == "1":
        PAGE.write_text(page(TEXT), encoding="utf-8")
        return
    assert page(TEXT) == TEXT, "`python -m experiments.answers` writes them anew"


@pytest.mark.slow
@pytest.mark.parametrize("line", re.findall(r"^bnnsim .*", TEXT, re.MULTILINE))
def test_commands_run(line, capsys):
    assert main(shlex.split(line)[1:]) == 0
