"""The network of this experiment."""

from __future__ import annotations

from bnnsim.train.models import bit_mlp
from experiments.digit_nets.run import Experiment

NET = Experiment(
    name="mnist_bits",
    packaged="mnist-bits",
    build=bit_mlp,
    image_shape=(784,),
    smoke={"hidden": 32},
)
