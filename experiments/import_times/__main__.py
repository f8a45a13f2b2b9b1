"""Time `bnnsim lower` of large torch networks in processes of their own: CPU, wall, memory."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
LIMITS_S = {"resnet18": 30, "bireal18": 30, "reactnet_a": 60}  # what a user should wait at most
LIMIT_BYTES = 4 * 10**9
SIDE = 224


def lower(net: str, side: int) -> dict[str, float]:
    """Return the CPU seconds, wall seconds and peak bytes of one import from the command line."""
    source = f"py:{__package__}.nets:{net}"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "net.bnn"
        command = [sys.executable, "-m", "bnnsim", "lower", source, "--trust",
                   "--input-shape", f"3,{side},{side}", "-o", str(out)]  # fmt: skip
        begin = time.perf_counter()
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - begin
        if child.returncode or not out.is_file():
            raise SystemExit(f"{' '.join(command)}: exit status {child.returncode}")
    cpu = used.ru_utime + used.ru_stime
    return {"cpu_s": cpu, "wall_s": wall, "peak_bytes": used.ru_maxrss * 1024}


def parts(net: str, side: int) -> dict[str, float]:
    """Return the CPU seconds of an import's parts, measured in a fresh process."""
    command = [sys.executable, "-m", __package__, "--parts", net, "--side", str(side)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _parts_here(net: str, side: int) -> dict[str, float]:
    marks = [time.process_time()]

    def mark() -> float:
        marks.append(time.process_time())
        return marks[-1] - marks[-2]

    import torch

    import bnnsim
    from experiments.import_times import nets

    loaded = mark()
    module = getattr(nets, net)()
    built = mark()
    program = torch.export.export(module, (torch.zeros(2, 3, side, side),))
    exported = mark()
    bnnsim.load(program)
    return {"load_torch": loaded, "build": built, "export": exported, "lower": mark()}


def measured(rounds: int, side: int) -> dict[str, Any]:
    """Return every network's figures, the median of some rounds in turns."""
    samples: dict[str, list[dict[str, float]]] = {net: [] for net in LIMITS_S}
    for _ in range(rounds):
        for net, found in samples.items():
            found.append(lower(net, side))
    rows = {
        net: {key: statistics.median(s[key] for s in found) for key in found[0]}
        | {"most_cpu_s": max(s["cpu_s"] for s in found), "limit_s": LIMITS_S[net]}
        | {"parts": parts(net, side)}
        for net, found in samples.items()
    }
    libraries = {name: version(name) for name in ("torch", "numpy")}
    return {"side": side, "rounds": rounds, "libraries": libraries, "nets": rows}


def table(told: dict[str, Any]) -> str:
    """Return a run in Markdown."""
    lines = [
        "| network | CPU s, median (most) | wall s | peak memory | of that: torch.export | "
        "our lowering |",
        "|---|---|---|---|---|---|",
    ]
    for net, row in told["nets"].items():
        lines.append(
            f"| `{net}` | {row['cpu_s']:.1f} ({row['most_cpu_s']:.1f}) | {row['wall_s']:.1f} | "
            f"{row['peak_bytes'] / 1e9:.2f} GB | {row['parts']['export']:.1f} s | "
            f"{row['parts']['lower']:.1f} s |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.import_times", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="file for the JSON")
    parser.add_argument("--smoke", action="store_true", help="small images, 1 round")
    parser.add_argument("--parts", metavar="NET", help=argparse.SUPPRESS)
    parser.add_argument("--side", type=int, default=SIDE, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.parts:
        print(json.dumps(_parts_here(arguments.parts, arguments.side)))
        return
    told = measured(1, 64) if arguments.smoke else measured(arguments.rounds, SIDE)
    print(table(told), end="")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
