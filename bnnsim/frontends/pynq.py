"""Import a trained network from an FPGA parameter folder (Xilinx BNN-PYNQ, FINN tool flow).

The hardware's conventions are turned into the graph's, exactly:

- a 1-bit network counts matches, ``popcount(xnor) = (K + dot) / 2``; the graph has the signed dot
  product. Networks with ternary values already use it;
- the hardware tests ``accumulator > threshold``, the graph ``accumulator >= threshold``;
- a first convolution reads 8-bit fixed-point pixels in units of 1/128, and its thresholds have 8
  fractional bits;
- max-pooling follows the thresholds, as in the hardware (an OR of bits).

References
----------
Umuroglu et al., "FINN: A Framework for Fast, Scalable Binarized Neural Network Inference",
FPGA 2017; Xilinx/BNN-PYNQ, bnn/src/network/*/hw/top.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bnnsim.errors import SourceError, message
from bnnsim.frontends.builder import GraphBuilder
from bnnsim.frontends.pynq_files import Matrix, read_classes, read_matrices
from bnnsim.frontends.pynq_folding import WORD_BITS, Layer, read_folding
from bnnsim.graph.dtypes import BIT, INT8, INT32, TERNARY, UINT8, DType
from bnnsim.graph.folding import with_folding
from bnnsim.graph.ir import Graph

_INT32_MIN, _INT32_MAX = -(2**31), 2**31 - 1
_PIXEL = DType("signed", 8, scale=1 / 128)
_BIT_LEVEL = 128


def from_pynq(
    folder: str | Path,
    folding: str | Path | Mapping[str, Any] | None = None,
    *,
    network: str | None = None,
    inputs: int | None = None,
) -> Graph:
    """Read a parameter folder of 1-bit or ternary weights and activations.

    Parameters
    ----------
    folder : path
        Holds ``L-P-weights.bin``, ``L-P-thres.bin`` and, if the last layer has padding rows,
        ``classes.txt``.
    folding : path or mapping, optional
        See `bnnsim.frontends.pynq_folding`; default: ``folding.json`` in the folder.
    network : str, optional
        Which network of the folding; default: the one whose name the folder's name contains.
    inputs : int, optional
        Pixels of a network that starts with a dense layer, whose first matrix is padded to whole
        64-bit words. Default: its trailing columns of only +1 are taken for padding.

    Returns
    -------
    Graph
        Reads uint8: (H, W, C) images, or (pixels,) vectors whose pixels of 128 and more are +1.
        Gives the integer logits that the hardware prints (popcounts for 1-bit networks, dot
        products for ternary ones), or the bits of the last layer's thresholds, where the class
        is the index of the highest set bit (0 if none is set). ``meta["folding"]`` keeps the PE
        and SIMD of each layer (see `bnnsim.graph.folding`).

    Raises
    ------
    SourceError
        If files are missing, stray or of the wrong size, or the folding does not fit.
    """
    folder = Path(folder)
    if not folder.is_dir():
        rule = "a folder of L-P-weights.bin and L-P-thres.bin files"
        raise SourceError(message(str(folder), "no such folder", rule))
    name = folder.resolve().name
    layers = read_folding(_folding_of(folder, folding), name, network)
    notes: list[str] = []
    matrices = read_matrices(folder, layers, notes)
    classes = read_classes(folder)
    matrices[-1] = _without_padding_rows(folder, matrices[-1], classes, notes)
    matrices[0] = _without_padding_columns(folder, layers[0], matrices[0], inputs)
    builder, output = _build(layers, matrices)
    meta = {
        "source": f"pynq:{name}",
        "source_kind": "pynq",
        "decision": "argmax" if matrices[-1].thresholds is None else "last-set-bit",
        "notes": notes,
    }
    if classes is not None:
        meta["classes"] = classes
    stated = {
        f"L{i}": {"PE": layer.pe, "SIMD": layer.simd, "MH": layer.rows, "MW": layer.columns}
        for i, layer in enumerate(layers)
    }
    return with_folding(builder.graph(name, output, meta), stated, f"{folder}: folding")


def _folding_of(
    folder: Path, folding: str | Path | Mapping[str, Any] | None
) -> str | Path | Mapping[str, Any]:
    if folding is not None:
        return folding
    beside = folder / "folding.json"
    if not beside.is_file():
        rule = "a folding: the files alone do not tell SIMD, kernels and image sizes"
        raise SourceError(message(str(folder), "none", rule, "Give --folding FILE.json."))
    return beside


def _without_padding_rows(
    folder: Path, matrix: Matrix, classes: list[str] | None, notes: list[str]
) -> Matrix:
    rows = len(matrix.weight)
    if classes is None:
        notes.append(f"no classes.txt: all {rows} rows of the last layer are outputs.")
        return matrix
    if len(classes) > rows:
        rule = f"at most {rows}, the rows of the last layer"
        raise SourceError(message(f"{folder / 'classes.txt'}: lines", len(classes), rule))
    kept = slice(0, len(classes))
    thresholds = None if matrix.thresholds is None else matrix.thresholds[kept]
    return Matrix(matrix.weight[kept], thresholds)


def _without_padding_columns(
    folder: Path, layer: Layer, matrix: Matrix, inputs: int | None
) -> Matrix:
    """Drop the columns that meet only padding bits (0 in the hardware, against weight +1)."""
    if layer.geometry is not None:
        if inputs is not None:
            rule = "nothing for a network that starts with a convolution"
            raise SourceError(message(f"{folder}: inputs", inputs, rule))
        return matrix
    only_plus = (matrix.weight == 1).all(axis=0)
    padding = layer.columns if only_plus.all() else int(np.argmin(only_plus[::-1]))
    if inputs is None:
        # The input stream has 64-bit words; 64 weights that are +1 by chance are not met.
        sure = layer.columns % WORD_BITS == 0 and padding * len(matrix.weight) >= WORD_BITS
        inputs = layer.columns - padding if sure and padding < WORD_BITS else layer.columns
    if not layer.columns - padding <= inputs <= layer.columns or inputs < 1:
        rule = f"{layer.columns - padding} to {layer.columns}: only columns of +1 are padding"
        raise SourceError(message(f"{folder}: inputs", inputs, rule))
    return Matrix(matrix.weight[:, :inputs], matrix.thresholds)


def _build(layers: Sequence[Layer], matrices: Sequence[Matrix]) -> tuple[GraphBuilder, str]:
    first = layers[0].geometry
    shape: tuple[int, ...] = (matrices[0].weight.shape[1],)
    if first is not None:
        shape = (first.size, first.size, first.channels)
    builder = GraphBuilder(shape, UINT8)
    table, dtype = (_bit_table(), BIT) if first is None else (_pixel_table(), _PIXEL)
    x = builder.add("Encode", "input", {"table": (table, dtype)}, label="encode")
    counts_matches = _counts_matches(layers, matrices)
    for layer, matrix in zip(layers, matrices, strict=True):
        x = _linear(builder, x, layer, matrix.weight)
        padding = layer.columns - matrix.weight.shape[1]
        if matrix.thresholds is None:
            return builder, _logits(builder, x, matrix, padding, counts_matches)
        if layer is layers[0] and layer.geometry is not None:
            bounds = _fixed_point_bounds(matrix.thresholds)
        else:
            bounds = _bounds(matrix, padding, counts_matches)
        x = _threshold(builder, x, layer, bounds)
        if layer.pooled:
            x = builder.add("MaxPool", x, label="pool", kernel=(2, 2), stride=(2, 2))
    return builder, x


def _counts_matches(layers: Sequence[Layer], matrices: Sequence[Matrix]) -> bool:
    """Whether the accumulators are popcounts: nothing in the network is ternary."""
    weights = any(layer.weight_bits > 1 for layer in layers)
    levels = any(m.thresholds is not None and m.thresholds.shape[1] > 1 for m in matrices)
    return not weights and not levels


def _bit_table() -> np.ndarray:
    return np.where(np.arange(256) >= _BIT_LEVEL, 1, -1)


def _pixel_table() -> np.ndarray:
    """Return 128 * (2 p / 255 - 1) for p = 0 to 255, rounded half up, within int8.

    ``floor(128 (2p - 255) / 255 + 1/2) = floor((256 (2p - 255) + 255) / 510)``; the numerator is
    odd, so no value lies at a tie and any order of rounding gives the same table.
    """
    pixels = np.arange(256)
    return np.clip((256 * (2 * pixels - 255) + 255) // 510, -128, 127)


def _linear(builder: GraphBuilder, x: str, layer: Layer, weight: np.ndarray) -> str:
    dtype = BIT if layer.weight_bits == 1 else TERNARY
    if layer.geometry is not None:
        kernel, channels = layer.geometry.kernel, layer.geometry.channels
        filters = weight.reshape(-1, kernel, kernel, channels)
        return builder.add("Conv2d", x, {"weight": (filters, dtype)}, label="conv")
    if len(builder.tensor(x).shape) > 1:
        # The hardware streams pixel by pixel, channels innermost: the order of Flatten.
        x = builder.add("Flatten", x, label="flatten")
    return builder.add("Dense", x, {"weight": (weight, dtype)}, label="dense")


def _logits(
    builder: GraphBuilder, x: str, matrix: Matrix, padding: int, counts_matches: bool
) -> str:
    if counts_matches:
        # A padding bit 0 against weight +1 is no match, so padding adds nothing.
        columns = matrix.weight.shape[1]
        return builder.add("IntegerAffine", x, label="logits", mul=1, add=columns, div=2)
    if padding:
        return builder.add("IntegerAffine", x, label="logits", mul=1, add=-padding, div=1)
    return x


def _fixed_point_bounds(thresholds: np.ndarray) -> np.ndarray:
    """Return t' with ``acc >= t'`` where the hardware tests ``acc / 128 > t / 256``.

    Over integers ``acc > t / 2`` is ``acc >= floor(t / 2) + 1``, for even and odd t.
    """
    return thresholds // 2 + 1


def _bounds(matrix: Matrix, padding: int, counts_matches: bool) -> np.ndarray:
    """Return t' with ``dot >= t'`` where the hardware tests ``accumulator > t``.

    A popcount over K columns is (K + dot) / 2, so ``popcount > t`` is ``dot >= 2 t + 2 - K``. A
    dot product over padded columns is ``dot - padding``, so it exceeds t at ``t + 1 + padding``.
    """
    assert matrix.thresholds is not None
    # Thresholds past int32 are out of any accumulator's reach; clipped, the sums below are exact.
    thresholds = np.clip(matrix.thresholds, 2 * _INT32_MIN, 2 * _INT32_MAX)
    if counts_matches:
        thresholds = 2 * thresholds + 1 - matrix.weight.shape[1]
    return np.asarray(thresholds + 1 + (0 if counts_matches else padding))


def _threshold(builder: GraphBuilder, x: str, layer: Layer, bounds: np.ndarray) -> str:
    """Append the comparison; bounds that no sum reaches become the ends of int32."""
    reach = min(layer.columns * 128, _INT32_MAX - 1)
    held = np.where(bounds > reach, _INT32_MAX, np.where(bounds <= -reach, _INT32_MIN, bounds))
    constants = {
        "thresholds": (held, INT32),
        "direction": (np.ones(len(held)), INT8),
    }
    if layer.activation_bits == 1:
        return builder.add("Threshold", x, constants, label="threshold", dtype="bit")
    return builder.add("Threshold", x, constants, label="threshold", dtype="ternary", base=-1)
