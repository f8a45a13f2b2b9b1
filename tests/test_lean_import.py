"""Importing bnnsim, and asking the command for help, loads none of the heavy packages."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "onnx", "dask", "scipy", "jinja2", "rich")
LOADED = "import sys; print(*sorted(set(sys.modules) & set(sys.argv[1:])))"


def loaded_by(statement: str) -> list[str]:
    """Return which heavy packages a fresh interpreter holds after ``statement``."""
    command = [sys.executable, "-c", f"{statement}\n{LOADED}", *HEAVY]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()


@pytest.mark.parametrize(
    "statement",
    [
        "import bnnsim",
        "import bnnsim.api, bnnsim.engine.execute, bnnsim.frontends, bnnsim.zoo",
        "import bnnsim.cost.profile",
        "from bnnsim.cli.parser import parse\ntry: parse(['--help'])\nexcept SystemExit: pass",
    ],
)
def test_stays_light(statement):
    assert loaded_by(statement) == []


def test_a_heavy_import_would_be_seen():
    assert loaded_by("import scipy") == ["scipy"]
