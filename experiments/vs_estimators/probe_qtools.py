"""What QKeras QTools says of the two layers, as JSON: run by a Python that has qkeras.

Needs no bnnsim. Energies are the tool's own picojoules; process "horowitz", activations in SRAM of
16 MiB, weights in DRAM or in SRAM, nothing for the network's input and output off chip.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import version
from typing import Any

os.environ.update(TF_USE_LEGACY_KERAS="1", TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
SRAM_BITS = 8 * 16 * 1024 * 1024
KINDS = {"float32": (None, None), "int8": ("int8", "int8"), "1w8a": ("int8", "bit"),
         "binary": ("bit", "bit")}  # fmt: skip
ROW_BITS = {"8 KiB": 16, "32 KiB": 18, "1 MiB": 23, "16 MiB": 27}


def quantizer(kind: str | None) -> Any:
    """Return the quantizer of a tensor, None for floats."""
    from qkeras import binary, quantized_bits

    if kind is None:
        return None
    return quantized_bits(8, 0, 1) if kind == "int8" else binary(alpha=1.0)


def model(layer: str, weight: str | None) -> Any:
    """Return one layer without bias."""
    import tensorflow as tf
    from qkeras import QConv2D, QDense

    common = {"kernel_quantizer": quantizer(weight), "use_bias": False, "name": layer}
    if layer == "dense":
        made, shape = QDense(4096, **common), (4096,)
    else:
        made, shape = QConv2D(128, 3, padding="same", **common), (28, 28, 128)
    x = tf.keras.layers.Input(shape)
    return tf.keras.Model(x, made(x))


def row(layer: str, precision: str) -> dict[str, Any]:
    """Return the energies of one layer by where its weights lie, and the types taken."""
    from qkeras.qtools.run_qtools import QTools

    act, weight = KINDS[precision]
    source = None if act is None else [quantizer(act)]
    tool = QTools(
        model(layer, weight), process="horowitz", source_quantizers=source, is_inference=False,
        keras_quantizer="fp32", keras_accumulator="fp32", for_reference=act is None,
    )  # fmt: skip
    found: dict[str, Any] = {"layer": layer, "precision": precision}
    for place in ("dram", "sram"):
        told = tool.pe(
            weights_on_memory=place, activations_on_memory="sram", min_sram_size=SRAM_BITS,
            rd_wr_on_io=False,
        )  # fmt: skip
        found[place] = told[layer]["energy"]
    types = tool._layer_map["layer_data_type_map"]
    item = next(of for made, of in types.items() if made.name == layer)
    found["accumulator_bits"] = int(item.accumulator.output.bits)
    return found


def main() -> None:
    answer, sys.stdout = sys.stdout, sys.stderr  # TensorFlow prints what is no answer
    rows = [row(layer, precision) for layer in ("dense", "conv") for precision in KINDS]
    from qkeras.qtools.settings import cfg

    told = {
        "version": version("qkeras"),
        "rows": rows,
        "sram_rd": {size: float(cfg.sram_rd(bits)) for size, bits in ROW_BITS.items()},
        "sram_mul_factor": float(cfg.sram_mul_factor),
    }
    print(json.dumps(told), file=answer)


if __name__ == "__main__":
    main()
