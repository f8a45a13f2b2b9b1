"""How many cycles SCALE-Sim counts for the two layers, as JSON: run by a Python that has it.

Needs no bnnsim. A 32x32 array, weight stationary, 1 MiB for each operand, bandwidth as it needs.
"""

from __future__ import annotations

import contextlib
import csv
import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

SETTINGS: dict[str, dict[str, object]] = {
    "general": {"run_name": "run"},
    "architecture_presets": {
        "ArrayHeight": 32, "ArrayWidth": 32, "IfmapSramSzkB": 1024, "FilterSramSzkB": 1024,
        "OfmapSramSzkB": 1024, "IfmapOffset": 0, "FilterOffset": 10**8, "OfmapOffset": 2 * 10**8,
        "Bandwidth": 10, "Dataflow": "ws", "MemoryBanks": 1, "ReadRequestBuffer": 64,
        "WriteRequestBuffer": 64,
    },
    "layout": {
        f"{tensor}{key}": value
        for tensor in ("Ifmap", "Filter")
        for key, value in (("CustomLayout", False), ("SRAMBankBandwidth", 10), ("SRAMBankNum", 10),
                           ("SRAMBankPort", 2))
    },
    "sparsity": {"SparsitySupport": "false", "SparseRep": "ellpack_block", "BlockSize": 8,
                 "OptimizedMapping": "false", "RandomNumberGeneratorSeed": 40},
    "run_presets": {"InterfaceBandwidth": "CALC", "UseRamulatorTrace": False},
}  # fmt: skip
# Padding is part of the picture; GEMMs are M, N, K.
LAYERS = {
    "dense": "Layer,M,N,K,Sparsity,\ndense,1,4096,4096,1:1,\n",
    "conv": "Layer,IH,IW,FH,FW,Channels,Filters,Strides,Sparsity,\nconv,30,30,3,3,128,128,1,1:1,\n",
}


def row(layer: str) -> dict[str, Any]:
    """Return the cycles and the utilisation of one layer."""
    from scalesim.scale_sim import scalesim

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        sections = (
            f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())
            for name, keys in SETTINGS.items()
        )
        (folder / "run.cfg").write_text("".join(sections))
        (folder / "layer.csv").write_text(LAYERS[layer])
        columns = ",".join(["1"] * 20)
        (folder / "layout.csv").write_text(f"Layer,{columns},\n{layer},{columns},\n")
        scalesim(
            save_disk_space=True, verbose=False, config=str(folder / "run.cfg"),
            topology=str(folder / "layer.csv"), layout=str(folder / "layout.csv"),
            input_type_gemm=layer == "dense",
        ).run_scale(top_path=str(folder))  # fmt: skip
        report = next(folder.rglob("COMPUTE_REPORT.csv")).read_text().splitlines()
    told = dict(zip(*(map(str.strip, line) for line in csv.reader(report)), strict=False))
    return {"layer": layer, "cycles": float(told["Total Cycles"]),
            "stalls": float(told["Stall Cycles"]),
            "utilisation": float(told["Overall Util %"]) / 100}  # fmt: skip


def main() -> None:
    with contextlib.redirect_stdout(sys.stderr):
        rows = [row(layer) for layer in LAYERS]
    print(json.dumps({"version": version("scalesim"), "rows": rows}))


if __name__ == "__main__":
    main()
