"""The network of this experiment."""

from __future__ import annotations

from bnnsim.train.models import digit_convnet
from experiments.digit_nets.run import Experiment

NET = Experiment(
    name="mnist_convnet",
    packaged="mnist-convnet",
    build=digit_convnet,
    image_shape=(1, 28, 28),
    smoke={"channels": [8, 8, 16, 16], "dense": 64},
)
