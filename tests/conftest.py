"""Fixtures that every test may use: one seed, data from outside the repository."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parent.parent
SEED = int(os.environ.get("BNNSIM_SEED", "20161205"))

# The same examples in every run, and no time limit on a loaded machine.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")


@pytest.fixture
def seed() -> int:
    """Return the seed of this run: fixed, or what BNNSIM_SEED says."""
    return SEED


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    """Return a generator that starts anew in every test."""
    return np.random.default_rng(seed)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[pytest.TestReport]:
    """Print the seed under every failure of a test that used it."""
    report: pytest.TestReport = yield
    if report.failed and "seed" in getattr(item, "fixturenames", ()):
        report.sections.append(("seed", f"BNNSIM_SEED={SEED}"))
    return report


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Return the folder of data sets and published nets, or skip."""
    named = os.environ.get("BNNSIM_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no data folder {folder}: set BNNSIM_DATA to one")
    return folder
