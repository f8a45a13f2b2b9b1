"""A small network with its inputs, and the command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cli.commands import Command

from bnnsim import api


@pytest.fixture
def bnnsim(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture(scope="session")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with tfc.bnn, x.npy (7 images), labels.npy and y.npy; one label is wrong."""
    folder = tmp_path_factory.mktemp("net")
    graph = api.load("zoo:tfc:random,3")
    x = np.random.default_rng(5).integers(0, 256, (7, 784), np.uint8)
    y = api.run(graph, x).outputs
    api.save(graph, folder / "tfc.bnn")
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    decided = api.decide(graph, y)
    decided[6] = (decided[6] + 1) % 10
    np.save(folder / "labels.npy", decided)
    return folder
