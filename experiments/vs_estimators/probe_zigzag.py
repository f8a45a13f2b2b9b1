"""What ZigZag says of the two layers on its example tpu_like, as JSON: run by a Python that has it.

Needs no bnnsim. Mappings are searched by LOMA for the least energy; energies are picojoules.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

BITS = {"int8": (8, 8), "1w8a": (1, 8), "binary": (1, 1)}  # of weights and activations
SUM_BITS = 16


def workload(layer: str, weight: int, act: int) -> dict[str, Any]:
    """Return a layer as the tool's workload files have it."""
    precision = {"W": weight, "I": act, "O": SUM_BITS, "O_final": act}
    common = {"id": 0, "name": layer, "operand_precision": precision,
              "operand_source": {"I": 0, "W": 0}}  # fmt: skip
    if layer == "dense":
        return common | {
            "operator_type": "Gemm", "equation": "O[b][k]+=W[k][c]*I[b][c]",
            "dimension_relations": [], "loop_dims": ["B", "K", "C"], "loop_sizes": [1, 4096, 4096],
        }  # fmt: skip
    return common | {
        "operator_type": "Conv",
        "equation": "O[b][k][oy][ox]+=W[k][c][fy][fx]*I[b][c][iy][ix]",
        "dimension_relations": ["ix=1*ox+1*fx", "iy=1*oy+1*fy"],
        "loop_dims": ["B", "K", "C", "OY", "OX", "FY", "FX"],
        "loop_sizes": [1, 128, 128, 28, 28, 3, 3],
        "pr_loop_dims": ["IX", "IY"], "pr_loop_sizes": [28, 28], "padding": [[1, 1], [1, 1]],
    }  # fmt: skip


def row(layer: str, precision: str) -> dict[str, Any]:
    """Return energies by memory (innermost first) and operand, and cycles, of one layer."""
    import yaml
    from zigzag.api import get_hardware_performance_zigzag

    base = files("zigzag") / "inputs"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "workload.yaml"
        path.write_text(yaml.safe_dump([workload(layer, *BITS[precision])], sort_keys=False))
        energy, cycles, found = get_hardware_performance_zigzag(
            str(path), str(base / "hardware" / "tpu_like.yaml"),
            str(base / "mapping" / "tpu_like.yaml"), opt="energy", dump_folder=folder,
            loma_show_progress_bar=False,
        )  # fmt: skip
    best = found[0][1][0][0]
    memories = best.mem_energy_breakdown.items()
    levels = {str(operand): [float(each) for each in by] for operand, by in memories}
    return {
        "layer": layer, "precision": precision, "energy": float(energy), "cycles": float(cycles),
        "mac": float(best.mac_energy), "levels": levels, "compute_cycles": float(best.ideal_cycle),
    }  # fmt: skip


def main() -> None:
    answer, sys.stdout = sys.stdout, sys.stderr
    logging.disable(logging.WARNING)
    rows = [row(layer, precision) for layer in ("dense", "conv") for precision in BITS]
    print(json.dumps({"version": version("zigzag-dse"), "rows": rows}), file=answer)


if __name__ == "__main__":
    main()
