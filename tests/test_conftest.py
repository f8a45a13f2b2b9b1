"""The shared fixtures: a fixed seed that a failure prints, and data that may be absent."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

CONFTEST = Path(__file__).with_name("conftest.py")


def pytest_says(folder: Path, test: str, **environment: str) -> str:
    shutil.copy(CONFTEST, folder)
    (folder / "test_planted.py").write_text(test)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", folder],
        cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout


PLANTED = """
def test_random(rng):
    assert False

def test_plain():
    assert False

def test_data(data_folder):
    assert str(data_folder) == {folder!r}
"""


def test_a_failure_prints_its_seed_and_data_is_where_it_is_named(tmp_path):
    test = PLANTED.format(folder=str(tmp_path))
    said = pytest_says(tmp_path, test, BNNSIM_SEED="77", BNNSIM_DATA=str(tmp_path))
    assert "2 failed, 1 passed" in said
    assert said.count("BNNSIM_SEED=77") == 1


def test_absent_data_skips_with_the_reason(tmp_path):
    said = pytest_says(tmp_path, "def test_x(data_folder):\n    pass\n", BNNSIM_DATA="/no/such")
    assert "1 skipped" in said
    assert "set BNNSIM_DATA" in said


def test_the_generator_is_seeded_by_it(rng, seed):
    assert rng.integers(2**62) == np.random.default_rng(seed).integers(2**62)
