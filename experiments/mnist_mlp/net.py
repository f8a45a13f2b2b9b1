"""The network of this experiment."""

from __future__ import annotations

from bnnsim.train.models import mlp
from experiments.digit_nets.run import Experiment

NET = Experiment(
    name="mnist_mlp",
    packaged="mlp-3x2048",
    build=mlp,
    image_shape=(784,),
    smoke={"hidden": 256},
)
