"""Write small FPGA parameter folders, and compute what the hardware would give.

`simulate` works as the hardware does, on fields and bits: popcounts of xnor on 0/1 lists for
1-bit networks, strict comparisons, fixed-point pixels as fractions. It shares nothing with the
front end but the format.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np


def dense(columns: int, rows: int, *, simd: int, pe: int, wpi: int = 1, api: int = 1) -> dict:
    return {"MW": columns, "MH": rows, "SIMD": simd, "PE": pe, "WPI": wpi, "API": api}


def conv(
    kernel: int,
    channels: int,
    size: int,
    out: int,
    *,
    simd: int,
    pe: int,
    wpi: int = 1,
    api: int = 1,
) -> dict:
    shape = {"K": kernel, "IFM_CH": channels, "IFM_DIM": size, "OFM_CH": out}
    shape["OFM_DIM"] = size - kernel + 1
    return {**shape, "SIMD": simd, "PE": pe, "WPI": wpi, "API": api}


def matrix_shape(layer: dict) -> tuple[int, int]:
    """Return (rows, columns)."""
    if "K" in layer:
        return layer["OFM_CH"], layer["K"] ** 2 * layer["IFM_CH"]
    return layer["MH"], layer["MW"]


class Net:
    """A random network: weights and thresholds per layer, as the FPGA holds them."""

    def __init__(self, layers: Sequence[dict], *, seed: int, rows: int | None = None) -> None:
        self.layers = list(layers)
        self.rng = np.random.default_rng(seed)
        self.weights, self.thresholds = [], []
        dense_net = "K" not in layers[0]
        self.ternary = any(
            layer["WPI"] == 2 or (layer["API"] == 2 and layer is not layers[-1]) for layer in layers
        )
        for index, layer in enumerate(self.layers):
            height, width = matrix_shape(layer)
            is_last = index == len(layers) - 1
            height = rows if is_last and rows else height
            values = [-1, 1] if layer["WPI"] == 1 else [-1, 0, 1]
            self.weights.append(self.rng.choice(values, (height, width)))
            has_bits = layer["API"] in (1, 2)
            thresholded = not is_last or (dense_net and has_bits)
            self.thresholds.append(self._draw(index, height, width) if thresholded else None)

    def _draw(self, index: int, height: int, width: int) -> np.ndarray:
        per_row = self.layers[index]["API"]
        spread = max(2, int(np.sqrt(width)))
        centre = 0 if self.ternary else width // 2
        if index == 0 and "K" in self.layers[0]:
            centre, spread = 0, 128 * spread  # fixed point with 8 fractional bits
        drawn = self.rng.integers(centre - spread, centre + spread + 1, (height, per_row))
        if height > 3:
            drawn[0], drawn[1] = 2**62, -(2**62)  # never and always
        return drawn

    @property
    def folding(self) -> dict:
        return {f"L{i}": layer for i, layer in enumerate(self.layers)}

    def write(self, folder: Path, classes: int | None = None) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for index, layer in enumerate(self.layers):
            for element in range(layer["PE"]):
                rows = self.weights[index][element :: layer["PE"]]
                if not len(rows):
                    continue
                words = _words(rows.reshape(-1), layer["SIMD"], layer["WPI"])
                words.tofile(folder / f"{index}-{element}-weights.bin")
                if self.thresholds[index] is not None:
                    own = self.thresholds[index][element :: layer["PE"]]
                    own.astype("<i8").tofile(folder / f"{index}-{element}-thres.bin")
        if classes is not None:
            lines = "".join(f"class {i}\n" for i in range(classes))
            (folder / "classes.txt").write_text(lines.rstrip("\n"))
        return folder

    def simulate(self, pixels: np.ndarray) -> list[int]:
        """Return what the hardware prints for one uint8 image (H, W, C) or vector."""
        first = self.layers[0]
        if "K" in first:
            image = np.vectorize(_fixed_point, otypes=[object])(pixels)
        else:
            image = np.vectorize(lambda p: 1 if p >= 128 else -1, otypes=[object])(pixels)
            padding = first["MW"] - len(pixels)
            image = np.concatenate([image, np.full(padding, -1, object)])
        for index, layer in enumerate(self.layers):
            image = self._layer(index, layer, image)
        return [int(v) for v in image.reshape(-1)]

    def _layer(self, index: int, layer: dict, image: np.ndarray) -> np.ndarray:
        if "K" not in layer:
            return np.array(self._neurons(index, list(image.reshape(-1))), object)
        size, kernel = layer["OFM_DIM"], layer["K"]
        out = np.empty((size, size), object)
        for y, x in np.ndindex(size, size):
            window = image[y : y + kernel, x : x + kernel, :]
            out[y, x] = self._neurons(index, list(window.reshape(-1)))
        image = np.array([[out[y, x] for x in range(size)] for y in range(size)], object)
        return _pooled(image) if self._pooled_after(index) else image

    def _pooled_after(self, index: int) -> bool:
        if index + 1 == len(self.layers):
            return False
        here, after = self.layers[index], self.layers[index + 1]
        if "K" in after:
            return after["IFM_DIM"] != here["OFM_DIM"]
        return after["MW"] != here["OFM_DIM"] ** 2 * here["OFM_CH"]

    def _neurons(self, index: int, inputs: list) -> list[int]:
        fixed_point = index == 0 and "K" in self.layers[0]
        results = []
        for row, weights in enumerate(self.weights[index].tolist()):
            if self.ternary or fixed_point:
                total = sum(w * x for w, x in zip(weights, inputs, strict=True))
            else:
                # bits: 1 stands for +1; the hardware counts where xnor gives 1
                pairs = zip(weights, inputs, strict=True)
                total = sum(1 - ((w > 0) ^ (x > 0)) for w, x in pairs)
            if self.thresholds[index] is None:
                results.append(total)
                continue
            bounds = self.thresholds[index][row].tolist()
            if fixed_point:
                bounds = [Fraction(t, 256) for t in bounds]
            level = sum(total > t for t in bounds)
            results.append(2 * level - 1 if len(bounds) == 1 else level - 1)
        return results


def _fixed_point(pixel: int) -> Fraction:
    """Return 2p/255 - 1 rounded half up to 1/128 and saturated to 8 bits, as a fraction."""
    scaled = (Fraction(int(pixel) * 2, 255) - 1) * 128 + Fraction(1, 2)
    return Fraction(max(-128, min(127, scaled.__floor__())), 128)


def _pooled(image: np.ndarray) -> np.ndarray:
    height, width, channels = image.shape
    cells = image.reshape(height // 2, 2, width // 2, 2, channels)
    return cells.max(axis=(1, 3))


def _words(fields: np.ndarray, simd: int, bits: int) -> np.ndarray:
    """Pack weights into words of ``simd`` fields, least significant first, one word at a time."""
    words = []
    for start in range(0, len(fields), simd):
        word = 0
        for i, value in enumerate(fields[start : start + simd].tolist()):
            field = (value > 0) if bits == 1 else value & 3
            word |= int(field) << (i * bits)
        words.append(word)
    return np.array(words, dtype="<u8")
