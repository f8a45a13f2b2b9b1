"""Time 3x3 convolutions of few bits by planes, by bytes and by bits, in turns; print ratios."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bnnsim import kernels
from bnnsim.engine import dispatch
from bnnsim.graph.dtypes import DType
from experiments.bench_engine.clock import Call, sampler
from experiments.bench_engine.sampling import quartiles

RESULTS = Path(__file__).parent / "results"
SHAPES = ((28, 64), (28, 128), (14, 256))  # side, channels
PADS = (1, 1, 1, 1)
SEED = 20161205

# Activations, weights, and the pairs of planes that they make.
OPERANDS = (
    ("bit", "ternary", 1), ("uint2", "bit", 2), ("ternary", "ternary", 2),
    ("uint2", "bipolar2", 4), ("uint2", "int3", 4), ("uint4", "bit", 4), ("uint4", "int4", 12),
    ("uint8", "bit", 8),
)  # fmt: skip


def values(rng: np.random.Generator, dtype: DType, *shape: int) -> np.ndarray:
    """Return values of a dtype; signed ones without the lowest, which would take a plane more."""
    step = 2 if dtype.kind == "bipolar" else 1
    low = -dtype.high if dtype.kind == "signed" else dtype.low
    return rng.choice(np.arange(low, dtype.high + 1, step), shape).astype(dtype.numpy)


def contenders(x_name: str, w_name: str, side: int, channels: int) -> dict[str, Call]:
    """Return the same layer by planes and by bytes, and one of its shape in bits."""
    rng = np.random.default_rng(SEED)
    x_type, w_type, bit = (DType.parse(name) for name in (x_name, w_name, "bit"))
    x = values(rng, x_type, 1, side, side, channels)
    w = values(rng, w_type, channels, 3, 3, channels)
    operands = {
        "planes": kernels.pack_planes(x, x_name),
        "bytes": x,
        "bits": kernels.pack(values(rng, bit, 1, side, side, channels)),
    }
    weights = {"planes": w, "bytes": w, "bits": values(rng, bit, channels, 3, 3, channels)}
    packed = {name: kernels.pack_weights(w, operand=name) for name, w in weights.items()}
    return {
        name: partial(kernels.conv2d, operands[name], packed[name], pads=PADS) for name in packed
    }


def ratios(calls: dict[str, Call], rounds: int) -> dict[str, dict[str, float]]:
    """Return the median and quartiles of two ratios, each formed inside a round."""
    samplers = {name: sampler(call) for name, call in calls.items()}
    over_bits, bytes_over = [], []
    for _ in range(rounds):
        seconds = {name: sample() for name, sample in samplers.items()}
        over_bits.append(seconds["planes"] / seconds["bits"])
        bytes_over.append(seconds["bytes"] / seconds["planes"])
    return {"over_bits": quartiles(over_bits), "bytes_over": quartiles(bytes_over)}


def rows(rounds: int, shapes: tuple[tuple[int, int], ...]) -> Iterator[dict[str, Any]]:
    for x_name, w_name, pairs in OPERANDS:
        found = [
            {"side": s, "channels": c, **ratios(contenders(x_name, w_name, s, c), rounds)}
            for s, c in shapes
        ]
        yield {"activations": x_name, "weights": w_name, "pairs": pairs, "shapes": found}


def table(told: dict[str, Any]) -> str:
    """Return a run's medians in Markdown."""
    shapes = told["rows"][0]["shapes"]
    heads = [f"{s['channels']} channels, {s['side']}x{s['side']}" for s in shapes]
    lines = [
        f"| activations x weights | pairs | {' | '.join(heads)} |",
        "|---|---|" + "---|" * len(heads),
    ]
    for row in told["rows"]:
        cells = [
            f"{s['over_bits']['median']:.2f}, {s['bytes_over']['median']:.2f}"
            for s in row["shapes"]
        ]
        name = f"{row['activations']} x {row['weights']}"
        lines.append(f"| {name} | {row['pairs']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.bench_planes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=25, help="each times every contender once")
    parser.add_argument("--out", type=Path, help="file for the JSON")
    parser.add_argument("--smoke", action="store_true", help="small work, 2 rounds: some seconds")
    arguments = parser.parse_args()
    rounds, shapes = (2, ((4, 64),)) if arguments.smoke else (arguments.rounds, SHAPES)
    told = {
        "kernel": dispatch.select("conv2d_planes").symbol,
        "rounds": rounds,
        "load_before": os.getloadavg()[0],
        "rows": list(rows(rounds, shapes)),
    }
    print(f"{told['kernel']}: time over that of bits, and that of bytes over it\n\n{table(told)}")
    if arguments.out:
        arguments.out.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
