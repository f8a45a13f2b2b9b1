"""Text blocks of what a network costs: estimate and compare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bnnsim.report.constants import assumptions_table
from bnnsim.report.network import operands
from bnnsim.report.numbers import (
    JOULES,
    KIBI,
    MICRO,
    MILLI,
    RATES,
    SECONDS,
    WATTS,
    Scale,
    count,
    digits,
    interval,
    share,
    unit_for,
)
from bnnsim.report.tables import Block, Mark, Table, pointer, table
from bnnsim.report.waterfalls import shown, waterfall_table

Result = Mapping[str, Any]
MEMORY_NAMES = {
    "weights_bytes": "weights",
    "parameters_bytes": "other parameters",
    "peak_activation_bytes": "peak activations",
    "scratch_bytes": "scratch",
}
COMPONENT_NAMES = {
    "compute": "compute",
    "elementwise": "elementwise",
    "normalization": "normalization",
    "scaling": "scaling factors",
    "packing": "packing",
    "weights_memory": "weight memory",
    "activations_memory": "activation memory",
    "io": "input and output",
    "rng": "random numbers",
    "launch": "launch",
    "static": "static and idle",
}
NO_ENERGY = "not estimated"


def marks(columns: Sequence[Result]) -> list[Mark]:
    """Return what has to be said before any figure: twins without accuracy, ops without a price."""
    said: dict[str, list[int]] = {}
    for index, column in enumerate(columns):
        for text in _caveats(column):
            said.setdefault(text, []).append(index)
    return [Mark(f"{_which(columns, said[text])}: {text}") for text in said]


def _which(columns: Sequence[Result], chosen: Sequence[int]) -> str:
    """Return the names of some columns: only their modes where that says which they are."""
    modes = dict.fromkeys(str(columns[i]["mode"]) for i in chosen)
    if len(modes) < len(chosen) == sum(column["mode"] in modes for column in columns):
        return ", ".join(modes)
    names = column_names(columns)
    return ", ".join(dict.fromkeys(names[i] for i in chosen))


def _caveats(result: Result) -> Iterator[str]:
    notes = [str(note) for note in result.get("notes", ())]
    yield from notes
    if result["synthetic"] and not any(note.startswith("cost-only twin") for note in notes):
        yield "cost-only twin: some of its values are made up, no accuracy"
    if result["unpriced"]:
        yield f"NOT priced, missing from every total: {', '.join(map(str, result['unpriced']))}"


def title(result: Result) -> str:
    """Return how a column is called."""
    return f"{result['model']} {result['mode']} on {result['profile']}"


def has_energy(result: Result) -> bool:
    """Return whether a column's energy was estimated: some profiles state no power or prices."""
    return not any(str(hole).startswith(f"energy: {NO_ENERGY}") for hole in result["unpriced"])


def energy(result: Result, key: str, unit: float) -> str:
    """Return a total that energies enter with its interval, or that there is none."""
    return interval(result["totals"][key], unit) if has_energy(result) else NO_ENERGY


def memory_bytes(result: Result) -> float:
    """Return all memory that an estimate's network needs at once."""
    return float(sum(result["totals"]["memory"].values()))


def estimate_blocks(result: Result) -> list[Block]:
    """Return the blocks of an `estimate` result."""
    head = f"{title(result)}, batch {result['batch']}"
    return [
        *marks([result]),
        head,
        totals_table(result),
        components_table([result]),
        layers_table(result),
        assumptions_table(result, known=has_energy(result)),
    ]


def compare_blocks(result: Result) -> list[Block]:
    """Return the blocks of a `compare` result."""
    columns = result["columns"]
    blocks: list[Block] = [*marks(columns), *ends_notes(columns), heading(columns)]
    blocks.append(summary_table(columns))
    blocks.append(components_table(columns))
    blocks += ratio_tables(result["ratios"])
    return [*blocks, *map(waterfall_table, shown(result))]


def ends_notes(columns: Sequence[Result]) -> list[str]:
    """Return of which types the first and last layers are, where they differ and some stay float.

    A ratio of such columns is not that of the inner layers' precision alone.
    """
    ends: dict[str, list[str]] = {}
    kept = False
    for name, column in zip(column_names(columns), columns, strict=True):
        weights = [
            str(layer["weight_dtype"]) for layer in column["layers"] if layer["weight_dtype"]
        ]
        if len(weights) > 2:  # something between a first and a last
            types = " and ".join(dict.fromkeys((weights[0], weights[-1])))
            ends.setdefault(types, []).append(name)
            kept |= "float" in types and not any("float" in inner for inner in weights[1:-1])
    if not kept or len(ends) == 1:
        return []
    told = ", ".join(f"{types} in {' and '.join(names)}" for types, names in ends.items())
    return [f"weights of the first and last layer: {told}: --first and --last set them"]


def heading(columns: Sequence[Result]) -> str:
    """Return what all columns of a result are about: models, profiles, batch."""

    def distinct(key: str) -> str:
        return ", ".join(dict.fromkeys(str(column[key]) for column in columns))

    return f"{distinct('model')} on {distinct('profile')}, batch {distinct('batch')}"


def summary_table(columns: Sequence[Result]) -> Table:
    """Return one row per column of a comparison: energy, latency, power, memory."""
    units = [
        unit_for((column["totals"][key]["value"] for column in columns), usual, scale)
        for key, usual, scale in (("energy_per_inference_j", MICRO, JOULES),
                                  ("latency_s", MILLI, SECONDS), ("power_w", MILLI, WATTS))
    ]  # fmt: skip
    (_, energies), (_, times), (_, powers) = units
    heads = ["column", f"energy per inference ({energies})", f"latency ({times})",
             f"power ({powers})", "memory (KiB)", "off-chip (KiB)", "MACs"]  # fmt: skip
    sizes = [size for size, _ in units]
    rows = [
        _summary(name, column, sizes)
        for name, column in zip(column_names(columns), columns, strict=True)
    ]
    names = ("energy_per_inference_j", "latency_s", "power_w", "memory", "off_chip_bytes", "macs")
    keys = ("", *(f"*/totals/{name}" for name in names))
    at = [pointer("columns", i) for i in range(len(columns))]
    return table("Totals [90 % interval]", heads, rows, keys=keys, at=at)


def _summary(name: str, column: Result, sizes: Sequence[float]) -> tuple[str, ...]:
    """Return a column's cells; ``sizes`` are the units of energy, latency and power."""
    totals = column["totals"]
    joule, second, watt = sizes
    return (
        name,
        energy(column, "energy_per_inference_j", joule),
        interval(totals["latency_s"], second),
        energy(column, "power_w", watt),
        digits(sum(totals["memory"].values()) / KIBI),
        digits(totals["off_chip_bytes"] / KIBI),
        count(sum(totals["macs"].values())),
    )


_TOTALS: tuple[tuple[str, str, float, Scale], ...] = (
    ("energy per inference", "energy_per_inference_j", MICRO, JOULES),
    ("energy of the batch", "energy_j", MICRO, JOULES),
    ("latency of the batch", "latency_s", MILLI, SECONDS),
    ("throughput", "throughput_per_s", 1.0, RATES),
    ("power", "power_w", MILLI, WATTS),
)


def _total(result: Result, name: str, key: str, usual: float, scale: Scale) -> tuple[str, str]:
    quantity = result["totals"][key]
    size, unit = unit_for([quantity["value"]], usual, scale)
    known = energy(result, key, size) if scale in (JOULES, WATTS) else interval(quantity, size)
    return f"{name} ({unit})", known


def totals_table(result: Result) -> Table:
    """Return the totals of an estimate, one a row."""
    totals = result["totals"]
    rows = [
        *(_total(result, *shown) for shown in _TOTALS),
        *(
            (f"memory: {name} (KiB)", digits(totals["memory"][key] / KIBI))
            for key, name in MEMORY_NAMES.items()
        ),
        ("off-chip traffic (KiB)", digits(totals["off_chip_bytes"] / KIBI)),
        ("random bits", count(totals["rng_bits"])),
        *((f"MACs {pair}", count(macs)) for pair, macs in totals["macs"].items()),
    ]
    return table("", ("total", "value [90 % interval]"), rows)


def components_table(columns: Sequence[Result]) -> Table:
    """Return energy per inference by component with its share, one column per estimate."""
    names = column_names(columns)
    parts = (part / c["batch"] for c in columns for part in c["energy_by"].values())
    size, unit = unit_for(parts, MICRO, JOULES)
    if len(columns) == 1:
        heads = ["component", f"energy ({unit})", "share (%)"]
    else:
        heads = ["component", *(f"{name} ({unit}, share)" for name in names)]
    rows, at = [], []
    for key, name in COMPONENT_NAMES.items():
        if any(column["energy_by"].get(key) for column in columns):
            cells = [_energy_and_share(column, key, size) for column in columns]
            joined = (f"{own} ({part} %)" if part not in "0-" else own for own, part in cells)
            rows.append([name, *(cells[0] if len(columns) == 1 else joined)])
            at.append(key)
    if not rows:
        rows = [["all", *[NO_ENERGY] * len(columns), *["-"] * (len(columns) == 1)]]
    keys = ("", *(pointer("columns", i, "energy_by", "*") for i in range(len(columns))))
    return table("Energy per inference by component", heads, rows, keys=keys, at=at)


def _energy_and_share(column: Result, key: str, size: float) -> tuple[str, str]:
    if not has_energy(column):
        return NO_ENERGY, "-"
    part, whole = column["energy_by"].get(key, 0.0), column["totals"]["energy_j"]["value"]
    return digits(part / column["batch"] / size), share(part, whole)


def column_names(columns: Sequence[Result]) -> list[str]:
    """Return for each column the shortest name that tells it from the others."""
    keys = [k for k in ("model", "mode", "profile") if len({c[k] for c in columns}) > 1]
    return [" ".join(str(column[key]) for key in keys or ("mode",)) for column in columns]


def seconds_by_bound(layers: Sequence[Result]) -> dict[str, float]:
    """Return the latency of layers by what bounds them, the longest first."""
    found: dict[str, float] = {}
    for layer in layers:
        if layer["latency_s"] > 0:
            bound = str(layer["bound_by"])
            found[bound] = found.get(bound, 0.0) + layer["latency_s"]
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def bounds_table(columns: Sequence[Result]) -> Table:
    """Return the latency of the batch by what bounds the layer that runs, one row per column."""
    found = [seconds_by_bound(column["layers"]) for column in columns]
    bounds = list(dict.fromkeys(bound for by in found for bound in by))
    size, unit = unit_for((sum(by.values()) for by in found), MILLI, SECONDS)
    rows = [
        (name, digits(sum(by.values()) / size), *(_time_and_share(by, b, size) for b in bounds))
        for name, by in zip(column_names(columns), found, strict=True)
    ]
    heads = ("column", f"all ({unit})", *(f"{bound} ({unit}, share)" for bound in bounds))
    keys, at = ("", "*/totals/latency_s/value"), [pointer("columns", i) for i in range(len(found))]
    return table("Latency of the batch by what bounds it", heads, rows, keys=keys, at=at)


def _time_and_share(by: Mapping[str, float], bound: str, size: float) -> str:
    seconds = by.get(bound, 0.0)
    part = share(seconds, sum(by.values()))
    return f"{digits(seconds / size)} ({part} %)" if seconds else "0"


def layers_table(result: Result, index: int = 0) -> Table:
    """Return one row per layer: operands, MACs, energy per inference and what bounds it."""
    total, batch = result["totals"]["energy_j"]["value"], result["batch"]
    known = has_energy(result)
    layers = result["layers"]
    size, unit = unit_for((layer["energy_j"] / batch for layer in layers), MICRO, JOULES)
    tick, time = unit_for((layer["latency_s"] for layer in layers), MILLI, SECONDS)
    rows = [
        (
            layer["name"],
            layer["op"],
            operands(layer),
            count(layer["macs"]),
            digits(layer["energy_j"] / batch / size) if known else "-",
            share(layer["energy_j"], total) if known else "-",
            digits(layer["latency_s"] / tick),
            layer["bound_by"] or "-",
        )
        for layer in result["layers"]
    ]
    heads = ("layer", "op", "operands", "MACs", f"energy ({unit})", "share (%)",
             f"latency ({time})", "bound by")  # fmt: skip
    names = ("name", "op", "", "macs", "energy_j", "", "latency_s", "bound_by")
    keys = [name and f"*/{name}" for name in names]
    at = [pointer("columns", index, "layers", i) for i in range(len(rows))]
    title = "Layers: energy per inference, latency of the batch"
    title += "" if known else f" (energy {NO_ENERGY})"
    return table(title, heads, rows, keys=keys, at=at)


def comparable(ratios: Sequence[Result]) -> list[Result]:
    """Return the ratios of columns that differ in one thing only: source, profile or mode."""
    return [ratio for ratio in ratios if len(_differing(ratio)) <= 1]


def _differing(ratio: Result) -> list[str]:
    return [key for key in _SIDE_KEYS if ratio["of"][key] != ratio["over"][key]]


def ratio_tables(ratios: Sequence[Result]) -> list[Table]:
    """Return how many times each column's cost is that of another, by the one thing that differs.

    Ratios of columns that differ in more are left to the JSON.
    """
    vary = [k for k in _SIDE_KEYS if len({side[k] for side in _sides(ratios)}) > 1]
    found: dict[str, list[int]] = {}
    for i, ratio in enumerate(ratios):
        differing = _differing(ratio) or ["source"]  # columns of equal names: of different sources
        if len(differing) == 1:
            found.setdefault(differing[0], []).append(i)
    tables = []
    for key in sorted(found, key=_SIDE_KEYS.index, reverse=True):
        held = [k for k in vary if k != key]
        chosen = [ratios[i] for i in found[key]]
        tables.append(
            table(
                f"Ratios{f' between {key}s' if len(found) > 1 else ''} [90 % interval]",
                (*held, "of", "over", *_RATIO_HEADS),
                [(*(r["of"][k] for k in held), r["of"][key], r["over"][key], *_ratio_cells(r))
                 for r in chosen],
                keys=("",) * (len(held) + 2) + ("*/energy", "*/latency", "*/memory"),
                at=[pointer("ratios", i) for i in found[key]],
            )
        )  # fmt: skip
    return tables


_SIDE_KEYS = ("source", "profile", "mode")
_RATIO_HEADS = ("energy (x)", "latency (x)", "memory (x)")


def _sides(ratios: Sequence[Result]) -> list[Result]:
    return [ratio[key] for ratio in ratios for key in ("of", "over")]


def _ratio_cells(ratio: Result) -> tuple[str, ...]:
    energies = interval(ratio["energy"]) if ratio["energy"]["value"] else "-"
    return energies, interval(ratio["latency"]), digits(ratio["memory"])


def ratio_names(ratios: Sequence[Result]) -> list[str]:
    """Return for each ratio its shortest name: what differs, then what is the same if others vary.

    ``float32 / binary, cmos45`` where other ratios are of another profile.
    """
    vary = [k for k in _SIDE_KEYS if len({side[k] for side in _sides(ratios)}) > 1]
    names = []
    for ratio in ratios:
        differing = [k for k in vary if k in _differing(ratio)] or ["mode"]
        of, over = (" ".join(str(ratio[side][k]) for k in differing) for side in ("of", "over"))
        held = [str(ratio["of"][k]) for k in vary if k not in differing]
        names.append(", ".join([f"{of} / {over}", *held]))
    return names
