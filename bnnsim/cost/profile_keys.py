"""Every key of a profile: its form, what holds if it is left out, and what it means.

docs/authoring.md prints this table and `profiles new` writes it beside the values; a test holds it
against the JSON Schema, so no key is without a word. ``*`` stands for a name of the author's
choice, ``[]`` for the entries of a list; the five keys of provenance are the same wherever a price,
a power or a rate stands.
"""

from __future__ import annotations

from typing import NamedTuple


class Key(NamedTuple):
    """One row: where the key stands, its form, what holds without it, its meaning."""

    path: str
    form: str
    default: str
    meaning: str


REQUIRED = "required"
PROVENANCE_KEYS = (
    Key("*.status", "measured, published, derived, scaled, assumed", REQUIRED,
        "how the number is known"),
    Key("*.source", "id under `sources`", REQUIRED, "what it rests on"),
    Key("*.at", "text", REQUIRED, "table, figure or key in the source; the formula if derived"),
    Key("*.band", "number from 1", "by status: 1.1, 1.3, 2, 2, 3",
        "90 % factor: the truth is within value / band and value x band"),
    Key("*.note", "text", "-", "for the reader"),
)  # fmt: skip
KEYS = (
    Key("schema", "bnnsim/profile/1", REQUIRED, "the form of the file"),
    Key("name", "text", REQUIRED, "how reports call it; use the file's name"),
    Key("extends", "name", "-", "profile to start from, beside this file or packaged"),
    Key("description", "text", "-", "one line for lists"),
    Key("kind", "asic, fpga, mcu, cpu, gpu", REQUIRED, "what it is; sets the structural band"),
    Key("scope", "chip, arithmetic", "chip", "arithmetic: a table of operators without memories"),
    Key("node", "mapping", REQUIRED, "what the logic is made of"),
    Key("node.process", "length", REQUIRED, "feature size; 7 to 130 nm where prices are derived"),
    Key("node.vdd", "voltage", REQUIRED, "supply of the logic"),
    Key("node.clock", "frequency", REQUIRED, "of the array and of the memories on chip"),
    Key("latency_model", "array, pipeline", "array",
        "how time is counted: see docs/cost.md; pipeline has `pipeline` and no array, no memories"),
    Key("calibrated_on", "list of ids", "[]", "published points that a constant was tuned to"),
    Key("pipeline", "mapping", "required for latency_model pipeline",
        "streaming stages, one for each layer"),
    Key("pipeline.bus", "bits", REQUIRED, "of an image in, and of a result out, per cycle"),
    Key("pipeline.encode", "host, chip", "host", "where pixels are encoded: who streams what"),
    Key("pipeline.operands", "parallel, serial", "parallel",
        "an activation of k bits takes one cycle, or k"),
    Key("pipeline.weight_bits", "integer", REQUIRED, "widest integer weights of a stage"),
    Key("pipeline.activation_bits", "integer", REQUIRED, "widest integer activations of a stage"),
    Key("pipeline.lanes", "integer", REQUIRED, "largest sum of PE x SIMD, if folding is derived"),
    Key("pipeline.memory", "bytes or bits", REQUIRED, "on chip, for weights and line buffers"),
    Key("array", "mapping", "required but for latency_model pipeline",
        "the processing elements (PEs)"),
    Key("array.rows", "integer", REQUIRED, "PEs that add up one output"),
    Key("array.columns", "integer", REQUIRED, "output channels side by side"),
    Key("array.accumulators", "integer", "1", "output pixels whose sums one column keeps"),
    Key("array.unroll", "mapping", "as below", "what runs along rows and columns"),
    Key("array.unroll.rows", "K, C_in", "K", "the whole dot product, or channels of one tap"),
    Key("array.unroll.columns", "C_out", "C_out", "output channels"),
    Key("array.first_layer", "planes, wider", "wider", "pixels by bits: bit planes, or wider type"),
    Key("array.emulate", "wider, error", "wider", "what an unlisted pair of types does"),
    Key("array.ops_per_pe", "mapping", REQUIRED, "MACs per cycle and PE by pair of types"),
    Key("array.ops_per_pe.*", "number above 0", "-",
        "`\"activation x weight\": rate`; below 1 means several cycles a MAC"),
    Key("array.reference_activity", "mapping or null", "none: energies do not depend on data",
        "activity at which operators' energies hold"),
    Key("array.reference_activity.toggles", "number above 0, to 1", REQUIRED,
        "share of product bits that toggle between successive pixels"),
    Key("datapath", "mapping", "as below", "how arithmetic is priced"),
    Key("datapath.accumulator", "exact, or mapping", "exact",
        "adders as wide as the dot product needs, or a type by pair"),
    Key("datapath.accumulator.*", "bit, int8 to int32, float types", "`default` is required",
        "type of the adder for this pair; `default` for the others"),
    Key("datapath.bit_mac", "tree, single", "tree",
        "XNOR word and compressor tree, or one XNOR and one adder a bit"),
    Key("overhead", "mapping or null", "of cmos45, if `actions` is left out; else none",
        "factor on every operator: registers, clock, control"),
    Key("overhead.factor", "number from 1", REQUIRED, "the factor"),
    Key("actions", "mapping", "cmos45, scaled to the node", "energy of operators, all or none"),
    Key("actions.*", "mapping", "priced as the next wider type, or refused",
        "`add.`, `mul.` and a type, `gate.bit` (XNOR, AND, OR), `register.bit`"),
    Key("actions.*.energy", "energy/op", REQUIRED, "of one operation"),
    Key("memories", "list", "required for a chip", "nearest to the array first, off chip last"),
    Key("memories[].name", "text", REQUIRED, "a different one for each"),
    Key("memories[].kind", "sram, registers, dram", "sram", "dram is off chip, last, only once"),
    Key("memories[].size", "bytes or bits", "required on chip", "capacity"),
    Key("memories[].word", "bits", "required on chip", "bits that one access moves, used or not"),
    Key("memories[].burst", "bits", "required for dram", "bits that one access moves"),
    Key("memories[].type", "text", "LPDDR4 for a dram", "for the reader, and for the default"),
    Key("memories[].ports", "1RW, 2RW, 1R1W, 2R1W", "1RW", "accesses per cycle and bank"),
    Key("memories[].banks", "integer", "1", "accesses to different banks go in parallel"),
    Key("memories[].holds", "list", "[weights, activations]", "what may live here"),
    Key("memories[].read", "energy/access or energy/bit", "points, law, or from the node",
        "of one read"),
    Key("memories[].write", "energy/access or energy/bit", "as read", "of one write"),
    Key("memories[].points", "mapping", "-", "energy by size: log-log between, widened beyond"),
    Key("memories[].points.*", "energy/access", "-", "`8 KiB: 10 pJ/access`, at least two"),
    Key("memories[].points_word", "bits", "word", "bits of one access in `points`"),
    Key("memories[].law", "mapping", "-", "energy per bit = a (size / at_size)^exponent"),
    Key("memories[].law.a", "energy/bit", REQUIRED, "at `at_size`"),
    Key("memories[].law.at_size", "bytes or bits", REQUIRED, "where `a` holds"),
    Key("memories[].law.exponent", "number", REQUIRED, "growth with size"),
    Key("memories[].bandwidth", "bytes/s, or mapping", "12.8 GB/s for a dram without `read`",
        "off chip; a mapping has its own provenance"),
    Key("memories[].bandwidth.rate", "bytes/s", REQUIRED, "the rate"),
    Key("memories[].leakage", "power, or mapping", "none", "drawn all the time"),
    Key("memories[].leakage.power", "power", REQUIRED, "the power"),
    Key("memories[].standby", "power, or mapping", "20 mW for a dram without `read`",
        "drawn all the time"),
    Key("memories[].standby.power", "power", REQUIRED, "the power"),
    Key("io", "mapping or null", "estimates are refused without it and without a dram",
        "the pins, where no dram is modelled"),
    Key("io.energy", "energy/bit", REQUIRED, "of one bit in or out"),
    Key("static", "mapping or null", "none", "power that is no memory's, drawn all the time"),
    Key("static.*", "mapping", "-", "one source of it"),
    Key("static.*.power", "power", REQUIRED, "the power"),
    Key("rng", "mapping or null", "xorshift32 from the node, if `actions` is left out",
        "random bits of stochastic modes"),
    Key("rng.generator", "text", REQUIRED, "for the reader"),
    Key("rng.bits", "1, 2, 4, 8, 16", "8", "bits per draw"),
    Key("rng.lazy", "true, false", "false", "compare bit by bit, stop at the first difference"),
    Key("rng.energy", "energy/randbit", "of the named generator", "of one random bit"),
    Key("rng.skip_saturated", "true, false", "false", "draw nothing where the outcome is certain"),
    Key("rng.unsaturated", "0 to 1", "0.6827", "share of draws whose outcome is not certain"),
    Key("structural", "mapping", "as below", "what no count covers: wiring, clock, control"),
    Key("structural.band", "number from 1", "1.5", "90 % factor on everything on chip"),
    Key("sources", "mapping", "none", "what numbers rest on"),
    Key("sources.*", "mapping", "-", "an id that `source` names"),
    Key("sources.*.cite", "text", REQUIRED, "authors, title, venue, year"),
    Key("sources.*.kind", "published, measured, tool, derived, choice", REQUIRED, "what it is"),
    *PROVENANCE_KEYS,
)  # fmt: skip
MEANINGS = {key.path: key.meaning for key in KEYS}
SECTIONS = tuple(key.path for key in KEYS if not set(key.path) & set(".*["))
