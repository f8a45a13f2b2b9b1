"""An executor that computes with Python numbers, loops over everything, and counts as it goes.

It knows none of the count formulas: each elementary operation is carried out by a ``Tally`` that
adds one to its counter. Slow on purpose; for nets of a few hundred elements.
"""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np

from bnnsim.graph.ir import Graph, Node


class Tally:
    """Counts of elementary operations, and of taps inside the image."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.macs = self.macs_valid = 0

    def one(self, kind: str, value=None):
        self.counts[kind] += 1
        return value


def windows(shape, kernel, stride, pads, dilation):
    """Yield (output position, list of (tap, input position or None)) of a sliding window."""
    rows = (shape[0] + pads[0] + pads[2] - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1
    columns = (shape[1] + pads[1] + pads[3] - dilation[1] * (kernel[1] - 1) - 1) // stride[1] + 1
    for i, j in product(range(rows), range(columns)):
        taps = []
        for r, s in product(range(kernel[0]), range(kernel[1])):
            y = i * stride[0] + r * dilation[0] - pads[0]
            x = j * stride[1] + s * dilation[1] - pads[1]
            inside = 0 <= y < shape[0] and 0 <= x < shape[1]
            taps.append(((r, s), (y, x) if inside else None))
        yield (i, j), taps


def mac(tally: Tally, kind: tuple[str, ...], planes: int, total, a, w):
    """Do one multiply-accumulate in the way that its operands ask for."""
    tally.macs += 1
    if planes:
        for _ in range(planes):
            tally.one("mac.bit")
        return total + a * w
    product_ = a * w
    for name in kind:
        tally.one(name)
    return total + product_


def run_dense(tally, x, w, kind, planes):
    out = np.zeros(w.shape[0])
    for n in range(w.shape[0]):
        for k in range(w.shape[1]):
            out[n] = mac(tally, kind, planes, out[n], x[k], w[n, k])
            tally.macs_valid += 1
    return out


def run_conv(tally, x, w, attrs, kind, planes):
    groups = attrs["groups"]
    per_in, per_out = w.shape[3], w.shape[0] // groups
    out = {}
    for (i, j), taps in windows(x.shape, w.shape[1:3], attrs["stride"], attrs["pads"],
                                attrs["dilation"]):  # fmt: skip
        for n in range(w.shape[0]):
            total, first = 0.0, n // per_out * per_in
            for (r, s), place in taps:
                for c in range(per_in):
                    a = attrs["pad_value"] if place is None else x[(*place, first + c)]
                    tally.macs_valid += place is not None
                    total = mac(tally, kind, planes, total, a, w[n, r, s, c])
            out[i, j, n] = total
    return as_array(out)


def run_pool(tally, x, attrs, name):
    out = {}
    for (i, j), taps in windows(x.shape, attrs["kernel"], attrs["stride"], attrs["pads"], (1, 1)):
        for c in range(x.shape[2]):
            best = None
            for _, place in taps:
                if place is None:
                    continue
                value = x[(*place, c)]
                best = value if best is None else tally.one(name, max(best, value))
            out[i, j, c] = best
    return as_array(out)


def run_average(tally, x, attrs, kinds):
    """Sum the taps of each window one by one, then multiply by the reciprocal of their number."""
    out = {}
    for (i, j), taps in windows(x.shape, attrs["kernel"], attrs["stride"], attrs["pads"], (1, 1)):
        inside = [place for _, place in taps if place is not None]
        number = len(taps) if attrs["count_include_pad"] else len(inside)
        for c in range(x.shape[2]):
            total = x[(*inside[0], c)]
            for place in inside[1:]:
                total = tally.one(kinds[0], total + x[(*place, c)])
            out[i, j, c] = tally.one(kinds[1], total * (1 / number))
    return as_array(out)


def run_input_scale(tally, x, attrs, kinds):
    """Sum magnitudes over the channels of each pixel that a window needs, then over the windows."""
    image = x.reshape((1, 1, *x.shape)[-3:])
    groups = attrs["groups"]
    per, sums, out = image.shape[2] // groups, {}, {}

    def pixel_sum(place, g):
        if (place, g) not in sums:
            values = [tally.one(kinds[0], abs(v)) for v in image[place][g * per : (g + 1) * per]]
            total = values[0]
            for value in values[1:]:
                total = tally.one(kinds[1], total + value)
            sums[place, g] = total
        return sums[place, g]

    for (i, j), taps in windows(image.shape, attrs["kernel"], attrs["stride"], attrs["pads"],
                                attrs["dilation"]):  # fmt: skip
        inside = [place for _, place in taps if place is not None]
        for g in range(groups):
            parts = [pixel_sum(place, g) for place in inside]
            total = parts[0] if parts else 0.0
            for part in parts[1:]:
                total = tally.one(kinds[1], total + part)
            for kind in kinds[2:]:
                total = tally.one(kind, total / (len(taps) * per))
            out[i, j, g] = total
    return as_array(out) if x.ndim == 3 else as_array(out)[0, 0]


def run_product(tally, a, b, kinds):
    out = np.zeros(a.shape)
    factor = np.broadcast_to(b, a.shape)
    for index in np.ndindex(a.shape):
        for kind in kinds:
            out[index] = tally.one(kind, a[index] * factor[index])
    return out


def run_sum(tally, a, b, kinds):
    out = np.zeros(a.shape)
    for index in np.ndindex(a.shape):
        out[index] = tally.one(kinds[0], a[index] + b[index])
    return out


def run_softmax(tally, x, log, name):
    """Of each row the maximum, its distance from each element, powers, their sum and an end."""
    out = np.zeros(x.shape)
    for place in np.ndindex(x.shape[:-1]):
        row = list(x[place])
        top = row[0]
        for value in row[1:]:
            top = tally.one(f"compare.{name}", max(top, value))
        down = [tally.one(f"add.{name}", value - top) for value in row]
        powers = [tally.one(f"exp.{name}", np.exp(value)) for value in down]
        total = powers[0]
        for power in powers[1:]:
            total = tally.one(f"add.{name}", total + power)
        end = tally.one(f"log.{name}" if log else f"divide.{name}", total)
        for c, value in enumerate(down if log else powers):
            how = f"add.{name}" if log else f"mul.{name}"
            out[(*place, c)] = tally.one(how, value - np.log(end) if log else value / end)
    return out


def run_slice(x, attrs):
    """Copy, without arithmetic."""
    places = zip(attrs["start"], attrs["stop"], attrs["step"], strict=True)
    return x[tuple(slice(*place) for place in places)]


def as_array(values: dict) -> np.ndarray:
    shape = tuple(1 + max(key[a] for key in values) for a in range(3))
    out = np.zeros(shape)
    for key, value in values.items():
        out[key] = value
    return out


def per_element(tally: Tally, x: np.ndarray, kinds: list[str]) -> np.ndarray:
    out = np.array(x, dtype=float)
    for index in np.ndindex(out.shape):
        for kind in kinds:
            tally.one(kind)
        out[index] = out[index] * 0.5
    return out


def execute(graph: Graph, rng: np.random.Generator, how: dict[int, dict]) -> dict[int, Tally]:
    """Run the graph on random values; ``how`` says by node id which operations an element takes."""
    values = {t.name: rng.standard_normal(t.shape) for t in graph.tensors.values()
              if t.constant or t.name in graph.inputs}  # fmt: skip
    tallies = {}
    for node in graph.nodes:
        tally = tallies[node.id] = Tally()
        values[node.output] = run(node, values, tally, how.get(node.id, {}))
        assert values[node.output].shape == graph.result(node).shape
    return tallies


PAIRS = {"Add": run_sum, "Mul": run_product}
MEANS = {"AvgPool": run_average, "InputScale": run_input_scale}


def pad_channels(x, attrs):
    return np.pad(x, (*[(0, 0)] * (x.ndim - 1), (attrs["before"], attrs["after"])))


def shuffle(x, attrs):
    return x.reshape(*x.shape[:-1], attrs["groups"], -1).swapaxes(-1, -2).reshape(x.shape)


MOVES = {
    "Slice": run_slice,
    "PadChannels": pad_channels,
    "ChannelShuffle": shuffle,
    "Flatten": lambda x, _: x.reshape(-1),
    "Reshape": lambda x, attrs: x.reshape(attrs["shape"]),
}


def run(node: Node, values, tally: Tally, how: dict) -> np.ndarray:
    x = values[node.inputs[0]]
    if node.op == "Dense":
        return run_dense(tally, x, values[node.inputs[1]], how["kind"], how["planes"])
    if node.op == "Conv2d":
        w = values[node.inputs[1]]
        return run_conv(tally, x, w, node.attrs, how["kind"], how["planes"])
    if node.op == "MaxPool":
        return run_pool(tally, x, node.attrs, how["kind"])
    if node.op in PAIRS:
        return PAIRS[node.op](tally, x, values[node.inputs[1]], how["kinds"])
    if node.op in MEANS:
        return MEANS[node.op](tally, x, node.attrs, how["kinds"])
    if node.op == "GlobalAvgPool":
        window = {"kernel": x.shape[:2], "stride": (1, 1), "pads": (0,) * 4}
        return run_average(tally, x, {**window, "count_include_pad": False}, how["kinds"])
    if node.op == "Softmax":
        return run_softmax(tally, x, node.attrs["log"], how["name"])
    if node.op == "Concat":
        return np.concatenate([values[name] for name in node.inputs], axis=-1)
    if node.op in MOVES:
        return MOVES[node.op](x, node.attrs)
    return per_element(tally, x, how["kinds"])
