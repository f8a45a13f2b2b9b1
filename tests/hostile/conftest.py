"""The command, and a folder of sound files that every test copies or damages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cli.commands import Command
from nets import Builder

from bnnsim import api

pytest.register_assert_rewrite("hostile.refusals")
from hostile.refusals import Kept  # noqa: E402  (its assertions explain themselves from here on)


@pytest.fixture
def bnnsim(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """Return a small network, three images and the outputs that belong to them."""
    folder = tmp_path_factory.mktemp("kept")
    net = Builder((6, 5, 2), seed=4).encode().conv(5, pads=(1, 1, 1, 1)).batch_norm(99)
    net.pool().sign().add("Flatten").dense(7).thresholds(1, "bit", 0, 3).dense(4).batch_norm()
    api.save(net.graph("small"), folder / "net.bnn")
    x = net.batch(3)
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", api.run(api.load(folder / "net.bnn"), x).outputs)
    np.save(folder / "labels.npy", np.array([0, 3, 1]))
    return Kept(folder)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder and go there, so that messages name files as they were given."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
