"""Count the instructions of the NEON kernels' inner loops and bound their rate on Arm cores."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
COMPILER = "aarch64-linux-gnu-gcc"
# Core of llvm-mca -> the scheduling model that LLVM gives it.
CORES = {
    "cortex-a53": "AArch64SchedA53.td, in order",
    "cortex-a55": "AArch64SchedA55.td, in order",
    "cortex-a72": "AArch64SchedA57.td, out of order",
    "neoverse-n1": "AArch64SchedNeoverseN1.td, out of order",
    "neoverse-v1": "AArch64SchedNeoverseV1.td, out of order",
}
WITHOUT_DOT_PRODUCT = ("cortex-a53", "cortex-a72")
ITERATIONS = 1000  # of a loop in llvm-mca


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel whose innermost loop holds one `mark` instruction per vector of work."""

    op: str
    mark: str
    macs: int  # multiply-accumulates of one such instruction


KERNELS = (Kernel("gemm_bit", "cnt", 128), Kernel("gemm_byte", "sdot", 16))


def run(*command: str | Path, stdin: str = "") -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return done.stdout


def assembly(op: str) -> list[str]:
    """Return the lines that gcc makes of a kernel, with the flags of setup.py."""
    source = REPOSITORY / "csrc" / "arm" / f"{op}_neon.c"
    flags = ("-std=c11", "-O3", "-ffp-contract=off", "-S", "-o", "-")
    return run(COMPILER, *flags, source).splitlines()


def innermost_loops(lines: list[str]) -> list[list[str]]:
    """Return the instructions of every loop that is one basic block."""
    loops, block, label = [], [], ""
    for line in lines:
        if found := re.fullmatch(r"(\.L\w+):", line):
            block, label = [], found[1]
        elif line.startswith("\t") and not line.startswith("\t."):
            block.append(line.strip())
            if re.search(rf"^(b\.?\w+|cbn?z)\t.*{re.escape(label)}$", block[-1]):
                loops.append(list(block))
    return loops


def largest_loop(kernel: Kernel) -> list[str]:
    """Return the inner loop of the largest tile: most vectors of work, then fewest instructions."""

    def size(loop: list[str]) -> tuple[int, int]:
        return sum(line.startswith(kernel.mark + "\t") for line in loop), -len(loop)

    return max(innermost_loops(assembly(kernel.op)), key=size)


def kinds(loop: list[str]) -> Counter[str]:
    """Count a loop's instructions by name; names of scalar ones fall under `other`."""
    names = Counter(line.split("\t")[0] for line in loop)
    shown = ("eor", "cnt", "add", "dup", "ld1r", "ldr", "ldp", "sdot")
    vector = Counter(line.split("\t")[0] for line in loop if re.search(r"\t[vdsq]\d", line))
    vector["ld1r"] = names["ld1r"]
    counts = Counter({name: vector[name] for name in shown if vector[name]})
    counts["other"] = len(loop) - counts.total()
    return counts


def analyser() -> str:
    """Return the newest llvm-mca of this machine."""
    found = [name for n in range(30, 16, -1) if (name := shutil.which(f"llvm-mca-{n}"))]
    if name := shutil.which("llvm-mca"):
        found.append(name)
    if not found:
        raise SystemExit("no llvm-mca of LLVM 17 or newer: apt-get install llvm-19")
    return found[0]


def cycles(loop: list[str], core: str) -> dict[str, float]:
    """Return cycles of one iteration: what the units need at least, and llvm-mca's timeline."""
    options = ("-mtriple=aarch64-linux-gnu", f"-mcpu={core}", f"-iterations={ITERATIONS}")
    said = run(analyser(), *options, stdin="\n".join(loop) + "\n")
    figures = dict(re.findall(r"^([\w ]+):\s+([\d.]+)$", said, re.MULTILINE))
    return {
        "bound_cycles": float(figures["Block RThroughput"]),
        "simulated_cycles": int(figures["Total Cycles"]) / ITERATIONS,
    }


def measure() -> dict[str, Any]:
    """Return counts and bounds of every kernel; rates are MAC per cycle of one core."""
    result: dict[str, Any] = {
        "compiler": run(COMPILER, "--version").splitlines()[0],
        "analyser": re.search(r"LLVM version \S+", run(analyser(), "--version"))[0],  # type: ignore[index]
        "kernels": {},
    }
    for kernel in KERNELS:
        loop = largest_loop(kernel)
        counts = kinds(loop)
        macs = counts[kernel.mark] * kernel.macs
        cores = {}
        for core in CORES:
            if kernel.mark == "sdot" and core in WITHOUT_DOT_PRODUCT:
                continue
            taken = cycles(loop, core)
            cores[core] = {**taken, "bound_macs_per_cycle": macs / taken["bound_cycles"]}
        result["kernels"][kernel.op] = {"macs": macs, "instructions": dict(counts), "cores": cores}
    return result


def table(result: dict[str, Any]) -> str:
    """Return the result as two Markdown tables."""
    lines = ["| loop | MAC | instructions | of which |", "|---|---|---|---|"]
    for op, row in result["kernels"].items():
        counts = row["instructions"]
        parts = ", ".join(f"{n} {name}" for name, n in counts.items())
        lines.append(f"| `{op}` | {row['macs']} | {sum(counts.values())} | {parts} |")
    lines += ["", "| loop | core | bound, cycles | MAC per cycle | llvm-mca's timeline, cycles |"]
    lines.append("|---|---|---|---|---|")
    for op, row in result["kernels"].items():
        for core, c in row["cores"].items():
            rate = f"{c['bound_macs_per_cycle']:.1f}"
            timeline = f"{c['simulated_cycles']:.1f}"
            lines.append(f"| `{op}` | {core} | {c['bound_cycles']:.1f} | {rate} | {timeline} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.neon_bounds", description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the result here")
    arguments = parser.parse_args()
    result = measure()
    print(table(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
