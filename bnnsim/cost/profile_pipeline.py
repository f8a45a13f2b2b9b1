"""The part of a profile that only ``latency_model: pipeline`` has."""

from __future__ import annotations

from typing import Any

from bnnsim.cost.hardware import Array, Pipeline
from bnnsim.cost.profile_fields import NO_DATAPATH, Fields

_NO_ARRAY = Array(1, 1, "K", 1, "error", False, {})  # nothing runs on it
_REMEDY = "See 'pipeline' in docs/authoring.md."


def read_pipeline(top: Fields) -> dict[str, Any]:
    """Return the parts of a streaming target; an array, operators and memories are unknown keys."""
    if top.raw.get("scope", "chip") != "chip":
        top.note("scope", top.raw["scope"], "chip, for latency_model pipeline")
    if not top.has("pipeline"):
        top.note("pipeline", None, "the stages' bus, lanes and memory", _REMEDY)
    fields = top.child("pipeline")
    pipeline = Pipeline(
        bus_bits=fields.bits("bus"),
        encode=fields.text("encode", choices=("host", "chip"), default="host"),
        operands=fields.text("operands", choices=("parallel", "serial"), default="parallel"),
        weight_bits=fields.integer("weight_bits"),
        activation_bits=fields.integer("activation_bits"),
        lanes=fields.integer("lanes"),
        memory_bytes=fields.size("memory"),
    )
    fields.close()
    return {
        "array": _NO_ARRAY, "datapath": NO_DATAPATH, "overhead": None, "actions": {},
        "memories": (), "io": None, "rng": None, "pipeline": pipeline,
    }  # fmt: skip
