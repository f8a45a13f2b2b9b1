"""Results as `estimate` and `compare` write them, made up for the tests of pages and tables."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

COMPONENTS = (
    "compute", "elementwise", "normalization", "scaling", "packing", "weights_memory",
    "activations_memory", "io", "rng", "launch", "static",
)  # fmt: skip
SCALES = {"float32": 700.0, "int8": 45.0, "weight-only:fp32": 140.0, "binary": 1.0}
PAIRS = {
    "float32": "float32 x float32", "int8": "int8 x int8", "weight-only:fp32": "float32 x bit",
    "binary": "bit x bit",
}  # fmt: skip


def quantity(value: float, spread: float = 1.5) -> dict[str, float]:
    return {"value": value, "low": value / spread, "high": value * spread}


def estimate(
    mode: str = "binary",
    *,
    layers: int = 5,
    model: str = "net",
    profile: str = "cmos45",
    batch: int = 1,
    seed: int = 0,
    **changed: Any,
) -> dict[str, Any]:
    """Return a consistent estimate: layers sum to components and to the total."""
    rng = np.random.default_rng(seed)
    used = [0, 1, 2, 5, 6, 7, 10]
    energy = np.zeros((layers, len(COMPONENTS)))
    energy[:, used] = rng.lognormal(0, 1.2, (layers, len(used))) * 1e-8 * SCALES[mode] * batch
    seconds = rng.lognormal(0, 1, layers) * 1e-5 * SCALES[mode] ** 0.5 * batch
    pair = PAIRS[mode]
    act, weight = pair.split(" x ")
    rows = [
        {
            "name": f"conv{i}",
            "id": i,
            "op": "Conv2d" if i < layers - 1 else "Dense",
            "act_dtype": act,
            "weight_dtype": weight,
            "out_dtype": "int32",
            "macs": 1000 * (i + 1),
            "macs_valid": 990 * (i + 1),
            "logical_actions": {"mac.bit": 1000},
            "physical_actions": {"gb.read": 10},
            "energy_j": float(energy[i].sum()),
            "energy_by": dict(zip(COMPONENTS, map(float, energy[i]), strict=True)),
            "latency_s": float(seconds[i]),
            "bound_by": ("compute", "gb", "dram")[i % 3],
            "mapping": "weights stationary",
        }
        for i in range(layers)
    ]
    total, macs = float(energy.sum()), 500 * layers * (layers + 1)
    return {
        "schema": 1,
        "model": model,
        "profile": profile,
        "mode": mode,
        "synthetic": False,
        "batch": batch,
        "totals": {
            "energy_j": quantity(total),
            "energy_per_inference_j": quantity(total / batch),
            "latency_s": quantity(float(seconds.sum()), 1.2),
            "throughput_per_s": quantity(batch / float(seconds.sum()), 1.2),
            "power_w": quantity(total / float(seconds.sum()), 1.6),
            "memory": {
                "weights_bytes": int(2000 * SCALES[mode] ** 0.5),
                "parameters_bytes": 512,
                "peak_activation_bytes": 700,
                "scratch_bytes": 0,
            },
            "macs": {pair: macs},
            "macs_valid": {pair: macs * 99 // 100},
            "rng_bits": 0,
            "off_chip_bytes": 4096,
        },
        "energy_by": {
            k: float(v) for k, v in zip(COMPONENTS, energy.sum(axis=0), strict=True)
        },
        "layers": rows,
        "assumptions": [
            assumption("gb.read", 2e-11, "J/access", 0.55, "published"),
            assumption("actions.add.float32", 9e-13, "J/op", 0.05, "published"),
            assumption("overhead", 3.0, "1", 0.4, "derived"),
        ],
        "unpriced": [],
        "record": {
            "version": "0.1.0",
            "commit": "abc",
            "python": "3.11.2",
            "libraries": {"numpy": "2.0"},
            "cpu": "a cpu",
            "isa": "",
            "seed": None,
            "argv": ["bnnsim", "estimate"],
            "input_hashes": {},
        },
        **changed,
    }  # fmt: skip


def assumption(name: str, value: float, unit: str, share: float, status: str) -> dict[str, Any]:
    return {
        "constant": name, "value": value, "unit": unit, "status": status,
        "source": "Horowitz, ISSCC 2014, p. 10-14", "band": 1.3, "share_of_energy": share,
    }  # fmt: skip


def compare(*modes: str, **options: Any) -> dict[str, Any]:
    """Return a comparison of ``modes`` with the ratio of each to every later one."""
    columns = [estimate(mode, **options) for mode in modes]

    def side(column: dict[str, Any]) -> dict[str, str]:
        return {"source": column["model"], "profile": column["profile"], "mode": column["mode"]}

    ratios = [
        {
            "of": side(first),
            "over": side(second),
            "energy": quantity(_times(first, second, "energy_j"), 1.7),
            "latency": quantity(_times(first, second, "latency_s"), 1.1),
            "memory": 12.5,
        }
        for first, second in combinations(columns, 2)
    ]
    return {"schema": 1, "columns": columns, "ratios": ratios}


def _times(first: dict[str, Any], second: dict[str, Any], key: str) -> float:
    return float(first["totals"][key]["value"] / second["totals"][key]["value"])
