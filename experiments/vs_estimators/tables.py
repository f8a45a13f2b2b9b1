"""The tables of docs/estimators.md: what tools said in a recorded run, and what bnnsim says now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from experiments.vs_estimators.peers import TOOLS
from experiments.vs_estimators.work import CHIPS, LAYERS, TYPES, free_cycles, ours

Told = Mapping[str, Any]
Rows = Iterator[tuple[str, ...]]
# Horowitz, ISSCC 2014, fig. 1.1.9: picojoules of a 64-bit access by size of the cache.
HOROWITZ = {"8 KiB": 10.0, "32 KiB": 20.0, "1 MiB": 100.0}


def number(value: float, digits: int = 4) -> str:
    """Return a figure in so many significant digits, in plain notation."""
    return f"{float(f'{value:.{digits}g}'):,.15g}"


def uj(picojoules: float) -> str:
    return number(picojoules * 1e-6)


def tool_rows(told: Told, name: str) -> dict[tuple[str, str], Any]:
    """Return the rows of a tool; none where it was skipped."""
    rows = told["tools"][name].get("rows", [])
    return {(row["layer"], row.get("precision", "")): row for row in rows}


@cache
def our_rows(chip: str) -> dict[tuple[str, str], Any]:
    """Return what bnnsim says on a profile, by layer and precision."""
    return {(name, kind): ours(name, kind, chip) for name in LAYERS for kind in CHIPS[chip]}


def totals(told: Told) -> Rows:
    """Energy of each layer and precision: the tools, then bnnsim on its profiles."""
    cases = [(layer, precision) for layer in LAYERS for precision in TYPES]
    yield ("uJ", *(f"{layer} {precision}" for layer, precision in cases))
    qtools, zigzag = tool_rows(told, "qtools"), tool_rows(told, "zigzag")
    found: dict[str, dict[tuple[str, str], float]] = {
        f"QTools, weights in {place.upper()}": {
            key: sum(row[place].values()) for key, row in qtools.items()
        }
        for place in ("dram", "sram")
    }
    found["ZigZag, tpu_like"] = {key: row["energy"] for key, row in zigzag.items()}
    for chip in CHIPS:
        rows = our_rows(chip)
        found[f"bnnsim, `{chip}`"] = {key: row["energy"] for key, row in rows.items()}
    for name, energies in found.items():
        if energies:
            yield (name, *(uj(energies[case]) if case in energies else "" for case in cases))


def words(told: Told) -> Rows:
    """Figures of QTools' polynomial, beside Horowitz's figure for 64 bits."""
    yield ("SRAM", "`sram_rd` (pJ)", "x 64", "Horowitz, 64 bits (pJ)",
           "QTools charges for 64 bits (pJ)", "Horowitz / QTools")  # fmt: skip
    tool = told["tools"]["qtools"]
    for size, each in tool.get("sram_rd", {}).items():
        charged = 64 * tool["sram_mul_factor"] * each
        known = HOROWITZ.get(size)
        published, ratio = (number(known), number(known / charged)) if known else ("not given", "")
        yield (size, number(each), number(64 * each), published, number(charged), ratio)


def qtools(told: Told) -> Rows:
    """QTools and bnnsim with the same constants, part by part."""
    yield ("uJ", "accumulator bits", "MACs, QTools", "MACs, bnnsim", "bnnsim / QTools",
           "weights in DRAM, QTools", "weights in DRAM, bnnsim", "weights in SRAM, QTools",
           "weights in SRAM, bnnsim", "bnnsim / QTools")  # fmt: skip
    here, on_chip = our_rows("qtools"), our_rows("qtools-sram")
    for key, row in tool_rows(told, "qtools").items():
        macs, mine = row["dram"]["op_cost"], here[key]["by"]["compute"]
        weights = row["sram"]["parameters"]
        sram = on_chip[key]["by"]["weights_memory"] if key in on_chip else None
        last = (uj(sram), number(sram / weights)) if sram else ("", "")
        yield (" ".join(key), str(row["accumulator_bits"]), uj(macs), uj(mine), number(mine / macs),
               uj(row["dram"]["parameters"]), uj(here[key]["by"]["weights_memory"]), uj(weights),
               *last)  # fmt: skip


def zigzag(told: Told) -> Rows:
    """ZigZag and bnnsim on tpu_like, part by part."""
    yield ("uJ", "MACs and sums, ZigZag", "bnnsim", "on chip, ZigZag", "bnnsim", "DRAM, ZigZag",
           "bnnsim", "all, ZigZag", "bnnsim", "bnnsim / ZigZag")  # fmt: skip
    here = our_rows("zigzag")
    for key, row in tool_rows(told, "zigzag").items():
        levels, mine = row["levels"], here[key]
        parts = {
            "compute": row["mac"] + levels["O"][0],
            "on chip": levels["W"][0] + levels["I"][0] + levels["O"][1],
            "dram": sum(by[-1] for by in levels.values()),
        }
        pairs = [cell for part in parts for cell in (uj(parts[part]), uj(mine["parts"][part]))]
        ratio = number(mine["energy"] / row["energy"])
        yield (" ".join(key), *pairs, uj(row["energy"]), uj(mine["energy"]), ratio)


def cycles(told: Told) -> Rows:
    """Cycles of a 32 x 32 array: with ZigZag's DRAM, and with all the bandwidth it wants."""
    yield ("32 x 32 array, int8", "ZigZag, 64 bits a cycle", "bnnsim, 64 bits a cycle",
           "SCALE-Sim, no stalls", "bnnsim, no stalls", "compute alone")  # fmt: skip
    tool, systolic = tool_rows(told, "zigzag"), tool_rows(told, "scalesim")
    here = our_rows("zigzag")
    for layer in LAYERS:
        key = (layer, "int8")
        theirs = [tool[key]["cycles"] if tool else None, here[key]["ns"],
                  systolic[layer, ""]["cycles"] if systolic else None,
                  free_cycles(layer),
                  tool[key]["compute_cycles"] if tool else None]  # fmt: skip
        yield (layer, *("" if n is None else f"{n:,.0f}" for n in theirs))


def skipped(told: Told) -> Rows:
    """Which tools ran, and why the others did not."""
    yield ("tool", "version, or why it was skipped")
    for name, tool in TOOLS.items():
        found = told["tools"][name]
        yield (tool.title, found.get("version") or f"skipped: {found['skipped']}")


def markdown(rows: Callable[[Told], Rows]) -> Callable[[Told], str]:
    """Return a table's text as a function of the recorded run."""

    def text(told: Told) -> str:
        head, *body = rows(told)
        lines = [head, tuple("---" for _ in head), *body]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)

    return text


TABLES = {
    table.__name__: markdown(table) for table in (skipped, totals, words, qtools, zigzag, cycles)
}
