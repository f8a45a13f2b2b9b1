"""The part of a profile that only ``latency_model: kernels`` has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bnnsim.cost.hardware import OPERANDS, Array, Constant, KernelLevel, Kernels
from bnnsim.cost.profile_array import check_pair
from bnnsim.cost.profile_fields import NO_DATAPATH, Fields

OPERATIONS = ("bit", "int8", "int16", "int32", "float16", "bfloat16", "float32")
BIT_PAIR = "bit x bit"
DEFAULT_LINE_BITS = 512
_REMEDY = "See 'kernels' in docs/authoring.md."


def read_kernels(top: Fields, clock_hz: float) -> dict[str, Any]:
    """Return the parts of a processor; an array, operators and memories are unknown keys."""
    if top.raw.get("scope", "chip") != "chip":
        top.note("scope", top.raw["scope"], "chip, for latency_model kernels")
    if not top.has("kernels"):
        top.note("kernels", None, "rates, levels and launch of the kernels", _REMEDY)
    fields = top.child("kernels")
    emulate = fields.text("emulate", choices=("wider", "error"), default="wider")
    first = fields.text("first_layer", choices=("planes", "wider"), default="wider")
    kernels = _kernels(fields, clock_hz)
    kernels = replace(kernels, energies=_energies(fields, kernels))
    _check_bits(fields, kernels)
    _check_energy(top, fields, kernels)
    fields.close()
    rates = {pair: constant.value_si for pair, constant in kernels.macs.items()}
    array = Array(1, kernels.units, "K", 1, emulate, first == "planes", rates)
    return {
        "array": array, "datapath": NO_DATAPATH, "overhead": None, "actions": {},
        "memories": (), "io": None, "rng": None, "kernels": kernels,
    }  # fmt: skip


def _kernels(fields: Fields, clock_hz: float) -> Kernels:
    tile = fields.child("tile")
    pixels, channels = tile.integer("pixels", 1), tile.integer("channels", 1)
    tile.close()
    granules: dict[str, int] = {}
    macs = _rates(fields, "macs", granules)
    if not macs:
        fields.note("macs", None, "MACs per cycle and unit by pair of types")
    return Kernels(
        units=fields.integer("units", 1),
        tile_pixels=pixels,
        tile_channels=channels,
        bit_products=fields.text("bit_products", choices=("xor", "and", "emulated"), default="xor"),
        convolution=fields.text("convolution", choices=("direct", "im2col"), default="direct"),
        epilogue=fields.text("epilogue", choices=("fused", "separate"), default="fused"),
        batching=fields.text("batching", choices=("together", "single"), default="together"),
        energy=fields.text("energy", choices=("none", "power", "actions"), default="none"),
        launch=_launch(fields),
        macs=macs,
        depthwise=_rates(fields, "depthwise"),
        granules=granules,
        operations=_operations(fields.child("operations")),
        randbits=_randbits(fields),
        levels=_levels(fields, clock_hz),
        energies={},
    )


def _rate(entry: Fields, name: str, dimension: str) -> Constant:
    """Return ``per_cycle`` with the provenance beside it."""
    rate = entry.number("per_cycle")
    if entry.has("per_cycle") and rate <= 0:
        entry.note("per_cycle", entry.raw["per_cycle"], "a rate above 0")
    return entry.provenance(name, rate or 1.0, dimension)


def _rates(fields: Fields, key: str, granules: dict[str, int] | None = None) -> dict[str, Constant]:
    table = fields.child(key)
    found = {}
    for pair in table.raw:
        entry = table.child(pair)
        check_pair(table, pair)
        found[pair] = _rate(entry, f"{key}.{pair}", "MAC/cycle")
        if granules is not None:
            granules[pair] = entry.integer("granule", 1)
        entry.close()
    return found


def _operations(table: Fields) -> dict[str, Constant]:
    table.known.update(OPERATIONS)
    found = {}
    for dtype in OPERATIONS:
        if table.has(dtype):
            entry = table.child(dtype)
            found[dtype] = _rate(entry, f"operations.{dtype}", "op/cycle")
            entry.close()
    table.close()
    return found


def _launch(fields: Fields) -> Constant | None:
    if not fields.has("launch"):
        return None
    entry = fields.child("launch")
    constant = entry.constant("time", "s", "launch")
    entry.close()
    return constant


def _randbits(fields: Fields) -> Constant | None:
    if not fields.has("randbits"):
        return None
    entry = fields.child("randbits")
    constant = _rate(entry, "randbits", "randbit/cycle")
    entry.close()
    return constant


def _levels(fields: Fields, clock_hz: float) -> tuple[KernelLevel, ...]:
    fields.known.add("levels")
    listed = fields.raw.get("levels")
    if not isinstance(listed, list) or not listed:
        got = None if listed is None else listed or type(listed).__name__
        fields.note("levels", got, "a list of caches and memories, nearest first")
        return ()
    entries = [
        Fields(item, f"{fields.path('levels')}[{i}]", fields.problems, fields.sources)
        for i, item in enumerate(listed)
    ]
    levels = tuple(_level(entry, clock_hz) for entry in entries)
    names = [level.name for level in levels]
    if len(set(names)) < len(names):
        fields.note("levels", names, "a different name for each level")
    for operand in OPERANDS:
        chain = [level for level in levels if operand in level.holds]
        sizes = [level.size_bytes for level in chain]
        if not chain:
            fields.note("levels", names, f"a level that holds {operand}")
        if None in sizes[:-1]:
            fields.note("levels", names, "no level behind one that holds everything")
        known = [size for size in sizes if size is not None]
        if known != sorted(known):
            fields.note("levels", names, f"levels of {operand} that grow: nearest first")
    return levels


def _level(fields: Fields, clock_hz: float) -> KernelLevel:
    name = fields.text("name")
    kind = fields.text("kind", choices=("cache", "sram", "flash", "dram"), default="cache")
    size = fields.size("size") if kind != "dram" or fields.has("size") else None
    level = KernelLevel(
        name=name,
        kind=kind,
        size_bytes=size,
        line_bits=fields.bits("line", DEFAULT_LINE_BITS),
        holds=fields.texts("holds", OPERANDS, OPERANDS),
        bandwidth=_bandwidth(fields, name, clock_hz),
    )
    fields.close()
    return level


def _bandwidth(fields: Fields, name: str, clock_hz: float) -> Constant:
    """Return bytes per second: as stated, or bytes per cycle x clock."""
    by_cycle = fields.has("bytes_per_cycle")
    if by_cycle and fields.has("bandwidth"):
        fields.note("bandwidth", fields.raw["bandwidth"], "either this or bytes_per_cycle")
    if not by_cycle:
        rate = fields.quantity("bandwidth", "B/s")
        if fields.has("bandwidth") and rate <= 0:
            fields.note("bandwidth", fields.raw["bandwidth"], "a rate above zero")
        return fields.provenance(f"{name}.bandwidth", rate or 1.0, "B/s")
    number = fields.number("bytes_per_cycle")
    if number <= 0:
        fields.note("bytes_per_cycle", fields.raw["bytes_per_cycle"], "a rate above zero")
    stated = fields.provenance(f"{name}.bandwidth", (number or 1.0) * (clock_hz or 1.0), "B/s")
    return replace(stated, at=f"{stated.at}; {number:g} bytes per cycle")


def _check_bits(fields: Fields, kernels: Kernels) -> None:
    """Note a fact about bit products that the listed rates contradict."""
    listed = BIT_PAIR in kernels.macs
    if kernels.bit_products == "emulated" and listed:
        rule = f"no {BIT_PAIR} under 'macs' where bits are emulated by a wider pair"
        fields.note("bit_products", "emulated", rule)
    if fields.has("bit_products") and kernels.bit_products != "emulated" and not listed:
        fields.note("bit_products", kernels.bit_products, f"a rate of {BIT_PAIR} under 'macs'")


def _energies(fields: Fields, kernels: Kernels) -> dict[str, Constant]:
    """Return the energies of actions, by what each is of."""
    names = {
        **dict.fromkeys((*kernels.macs, *kernels.operations, "launch"), "J/op"),
        **{level.name: "J/bit" for level in kernels.levels}, "randbit": "J/randbit",
    }  # fmt: skip
    table = fields.child("energies")
    table.known.update(names)
    found = {}
    for name in (name for name in table.raw if name in names):
        entry = table.child(name)
        found[name] = entry.constant("energy", names[name], f"energies.{name}")
        entry.close()
    table.close()
    return found


def _check_energy(top: Fields, fields: Fields, kernels: Kernels) -> None:
    """Note powers and energies that ``energy`` does not ask for, or asks for in vain."""
    powers, stated = top.raw.get("static"), bool(fields.raw.get("energies"))
    if kernels.energy == "none" and powers:
        fields.note("energy", "none", "power or actions, where 'static' states a power")
    if kernels.energy == "power" and not powers:
        fields.note("energy", "power", "a power under 'static', measured while kernels run")
    if kernels.energy == "actions" and not stated:
        fields.note("energies", None, "energies of rates and levels, for energy: actions")
    if kernels.energy != "actions" and stated:
        fields.note("energy", kernels.energy, "actions, where 'energies' states any")
