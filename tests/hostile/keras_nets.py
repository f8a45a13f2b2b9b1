"""A sound Keras network, which tests damage."""

from __future__ import annotations

import functools

import numpy as np
from frontends.keras_writer import Net, quantizer

SIGN = {"input_quantizer": quantizer("SteSign"), "kernel_quantizer": quantizer("SteSign")}
CONV = "layer 'conv' (QuantConv2D)"
H = "net.h5: "  # how messages about the whole file begin


@functools.cache
def sound() -> Net:
    net = Net(np.random.default_rng(0).normal(size=(2, 6, 5, 2)).astype(np.float32))
    net.add("Conv2D", filters=3, name="stem")
    net.add("QuantConv2D", filters=4, padding="same", name="conv", **SIGN)
    net.add("BatchNormalization", name="norm")
    net.add("Add", "conv", "norm", name="sum")
    net.add("Flatten", name="flat")
    net.add("Dense", units=3, name="dense")
    return net
