"""The machine of a hardware profile, as plain data and as tables: what computes, what stores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bnnsim.report.numbers import digits
from bnnsim.report.tables import Block, table
from bnnsim.units import format_bytes, format_si

if TYPE_CHECKING:
    from bnnsim.cost.hardware import Array, Constant, HardwareProfile, Kernels, Memory

Result = Mapping[str, Any]


def machine_dict(profile: HardwareProfile) -> dict[str, Any]:
    """Return the machine as JSON: an array with its memories, a pipeline, or kernels."""
    if profile.pipeline is not None:
        return {"pipeline": asdict(profile.pipeline)}
    if profile.kernels is not None:
        return {"kernels": _kernels(profile.kernels, profile.array)}
    array, accumulator, rng = profile.array, profile.datapath.accumulator, profile.rng
    return {
        "array": {
            "rows": array.rows,
            "columns": array.columns,
            "accumulators": array.accumulators,
            "unroll": {"rows": array.unroll_rows, "columns": "C_out"},
            "first_layer": "planes" if array.planes else "wider",
            "emulate": array.emulate,
            "ops_per_pe": dict(array.ops_per_pe),
        },
        "datapath": {
            "accumulator": accumulator if isinstance(accumulator, str) else dict(accumulator),
            "bit_mac": profile.datapath.bit_mac,
        },
        "memories": [_memory(memory) for memory in profile.memories],
        "rng": None if rng is None else {
            key: getattr(rng, key)
            for key in ("generator", "bits", "lazy", "skip_saturated", "unsaturated")
        },
    }  # fmt: skip


_FACTS = ("units", "tile_pixels", "tile_channels", "bit_products", "convolution", "epilogue",
          "batching", "energy")  # fmt: skip


def _kernels(kernels: Kernels, array: Array) -> dict[str, Any]:
    rates = {
        table: {key: constant.value_si for key, constant in getattr(kernels, table).items()}
        for table in ("macs", "depthwise", "operations")
    }
    return {
        **{key: getattr(kernels, key) for key in _FACTS},
        "first_layer": "planes" if array.planes else "wider",
        "emulate": array.emulate,
        "launch_s": None if kernels.launch is None else kernels.launch.value_si,
        "randbits": None if kernels.randbits is None else kernels.randbits.value_si,
        **rates,
        "granules": dict(kernels.granules),
        "levels": [
            {
                "name": level.name, "kind": level.kind, "size_bytes": level.size_bytes,
                "line_bits": level.line_bits, "holds": list(level.holds),
                "bytes_per_s": level.bandwidth.value_si,
            }
            for level in kernels.levels
        ],
    }  # fmt: skip


def _memory(memory: Memory) -> dict[str, Any]:
    return {
        "name": memory.name,
        "kind": memory.kind,
        "size_bytes": memory.size_bytes,
        "word_bits": memory.word_bits,
        "ports": _ports(memory),
        "banks": memory.banks,
        "holds": list(memory.holds),
        "read": _energy(memory.read),
        "write": _energy(memory.write),
    }


def _ports(memory: Memory) -> str:
    if memory.shared_ports:
        return f"{memory.shared_ports}RW"
    return f"{memory.read_ports}R{memory.write_ports}W"


def _energy(constant: Constant) -> dict[str, Any]:
    return {"value": constant.value_si, "unit": constant.dimension}


def machine_blocks(machine: Result) -> list[Block]:
    """Return the tables of a machine: keys of the profile, pairs of types, memories."""
    if "pipeline" in machine:
        rows = [(key, str(value)) for key, value in machine["pipeline"].items()]
        return [table("Pipeline", ("key", "value"), rows)]
    if "kernels" in machine:
        return _kernel_blocks(machine["kernels"])
    rates = machine["array"]["ops_per_pe"]
    blocks: list[Block] = [
        table("Machine", ("key", "value"), _settings(machine)),
        table("Pairs of types: MACs per cycle and PE", ("activation x weight", "rate"),
              [(pair, digits(rate)) for pair, rate in rates.items()]),
    ]  # fmt: skip
    if machine["memories"]:
        heads = ("memory", "kind", "size", "word (bit)", "ports", "banks", "holds", "read", "write")
        cells = [_memory_row(memory) for memory in machine["memories"]]
        blocks.append(table("Memories, nearest to the array first", heads, cells))
    return blocks


def _kernel_blocks(kernels: Result) -> list[Block]:
    """Return the tables of a processor: facts, rates, levels."""
    facts = [(key, str(kernels[key])) for key in (*_FACTS, "first_layer", "emulate")]
    launch = kernels["launch_s"]
    facts.append(("launch", "none" if launch is None else format_si(launch, "s")))
    tables = {"MACs": "macs", "MACs, depthwise": "depthwise", "operations": "operations"}
    rates = [(of, key, digits(rate)) for of, table_ in tables.items()
             for key, rate in kernels[table_].items()]  # fmt: skip
    rates += [("random bits", "-", digits(rate)) for rate in [kernels["randbits"]] if rate]
    levels = [
        (
            level["name"],
            level["kind"],
            "-" if level["size_bytes"] is None else format_bytes(level["size_bytes"]),
            str(level["line_bits"]),
            ", ".join(level["holds"]),
            format_si(level["bytes_per_s"], "B/s"),
        )
        for level in kernels["levels"]
    ]
    heads = ("level", "kind", "size", "line (bit)", "holds", "bandwidth")
    return [
        table("Kernels", ("key", "value"), facts),
        table("Rates: per cycle and unit", ("of", "types", "rate"), rates),
        table("Caches and memories, nearest first", heads, levels),
    ]


def _settings(machine: Result) -> list[tuple[str, str]]:
    array, datapath, rng = machine["array"], machine["datapath"], machine["rng"]
    fixed = datapath["accumulator"]
    rows = [(f"array.{key}", str(array[key])) for key in ("rows", "columns", "accumulators")]
    rows += [(f"array.unroll.{key}", value) for key, value in array["unroll"].items()]
    rows += [(f"array.{key}", array[key]) for key in ("first_layer", "emulate")]
    if isinstance(fixed, str):
        rows.append(("datapath.accumulator", fixed))
    else:
        rows += [(f"datapath.accumulator.{pair}", width) for pair, width in fixed.items()]
    rows.append(("datapath.bit_mac", datapath["bit_mac"]))
    if rng is None:
        return [*rows, ("rng", "none")]
    return rows + [(f"rng.{key}", _word(value)) for key, value in rng.items()]


def _word(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return digits(value) if isinstance(value, float) else str(value)


def _memory_row(memory: Result) -> tuple[str, ...]:
    size = memory["size_bytes"]
    return (
        memory["name"],
        memory["kind"],
        "-" if size is None else format_bytes(size),
        str(memory["word_bits"]),
        memory["ports"],
        str(memory["banks"]),
        ", ".join(memory["holds"]),
        *(format_si(memory[key]["value"], memory[key]["unit"]) for key in ("read", "write")),
    )
