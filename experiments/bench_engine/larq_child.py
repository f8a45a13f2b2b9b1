"""Convolutions of larq-compute-engine, timed on request: run by a Python that has it.

Lines of JSON come in and go out: ``{"side": 56, "channels": 64}`` makes a 3x3 convolution; ``{}``
takes a sample of it and is answered by seconds per call, or before there is one by the version.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from typing import Any

from experiments.bench_engine.clock import Call, sampler

PACKAGE = "larq-compute-engine"


def convolution(side: int, channels: int) -> Call:
    """Return a call on one float32 image of -1 and +1, padded with +1 as its kernels want it."""
    import larq
    import larq_compute_engine as engine
    import numpy as np
    import tensorflow as tf
    from larq_compute_engine.tflite.python.interpreter import Interpreter

    signs: dict[str, Any] = {"input_quantizer": "ste_sign", "kernel_quantizer": "ste_sign"}
    layer = larq.layers.QuantConv2D(
        channels, 3, padding="same", pad_values=1.0, use_bias=False, **signs
    )
    image = tf.keras.layers.Input((side, side, channels), batch_size=1)
    model = engine.convert_keras_model(tf.keras.Sequential([image, layer]))
    x = np.random.default_rng(0).choice(np.array([-1, 1], np.float32), (1, side, side, channels))
    interpreter = Interpreter(model, num_threads=1, use_indirect_bgemm=True).interpreter
    return lambda: interpreter.predict([x])


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries print what is no answer
    sample = None
    for line in sys.stdin:
        asked = json.loads(line)
        if asked:
            sample = sampler(convolution(**asked))
        answer = version(PACKAGE) if asked or sample is None else sample()
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
