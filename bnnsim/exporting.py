"""Write a network as files of other tools: QONNX, and FPGA parameter folders."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bnnsim.errors import GraphError, InputError, message, nearest
from bnnsim.graph.io import atomic_write
from bnnsim.graph.ir import Graph
from bnnsim.passes.precision import to_mode

FORMATS = ("qonnx", "pynq")


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Parameters
    ----------
    model, mode, to, output : str
    files : tuple of str
        Names of the files inside a folder, or of the one file.
    nodes : int
        Nodes of the graph that was written.
    profile : str
        On which the costs beside the nodes were estimated, or empty.
    notes : tuple of str
    """

    model: str
    mode: str
    to: str
    output: str
    files: tuple[str, ...]
    nodes: int
    profile: str = ""
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "schema": 1,
            "model": self.model,
            "mode": self.mode,
            "to": self.to,
            "output": self.output,
            "files": list(self.files),
            "nodes": self.nodes,
            "profile": self.profile or None,
            "notes": list(self.notes),
        }


def write(graph: Graph, path: str | Path, *, to: str, mode: str, report: Any = None) -> Exported:
    """Write ``graph`` in a mode; ``report`` is its CostReport, for the nodes of a QONNX file.

    Raises
    ------
    InputError, GraphError, SourceError
        If the format, the path or a node cannot be had.
    """
    if to not in FORMATS:
        raise InputError(message("to", to, f"one of {', '.join(FORMATS)}", nearest(to, FORMATS)))
    if not graph.has_weights:
        rule = "a network with weights"
        raise GraphError(message(graph.name, "no weights", rule, "Use zoo:NAME:random."))
    target = Path(path)
    if to == "qonnx":
        return _write_qonnx(graph, target, mode, report)
    if report is not None:
        rule = "--to qonnx: a parameter folder has no place for costs"
        raise InputError(message("profile", report.profile, rule))
    from bnnsim.exports.pynq import to_pynq

    lowered = to_mode(graph, mode)
    files = to_pynq(lowered)
    _make_folder(target)
    for name, data in files.items():
        with atomic_write(target / name) as part:
            part.write_bytes(data)
    return Exported(
        graph.name, mode, to, str(path), tuple(sorted(files)), len(lowered.nodes),
        notes=("Weights of falling channels are negated, so that their thresholds rise.",),
    )  # fmt: skip


def _make_folder(target: Path) -> None:
    """Make a folder, or take one without parameters of another network."""
    try:
        target.mkdir(exist_ok=True)
        held = sorted(entry.name for entry in target.iterdir() if entry.suffix == ".bin")
    except OSError as error:
        raise InputError(message(str(target), error.strerror, "a folder to write to")) from None
    if held:
        raise InputError(message(str(target), held[0], "a folder without .bin files of its own"))


def _write_qonnx(graph: Graph, target: Path, mode: str, report: Any) -> Exported:
    from bnnsim.exports.qonnx import check_path, to_qonnx

    check_path(target)
    twin = to_mode(graph, mode, lowered=False)
    data = to_qonnx(twin, {} if report is None else _costs(report))
    with atomic_write(target.resolve()) as part:
        part.write_bytes(data)
    return Exported(
        graph.name, mode, "qonnx", str(target), (target.name,), len(twin.nodes),
        "" if report is None else str(report.profile),
        ("Images are (1, C, H, W); integers are exact in float32 up to 2^24.",),
    )  # fmt: skip


def _costs(report: Any) -> dict[str, dict[str, str]]:
    """Return, by node, the entries that stand beside it in the file."""
    shared = {"bnnsim.profile": str(report.profile), "bnnsim.batch": str(report.batch)}
    return {
        layer.name: {
            **shared,
            "bnnsim.energy_j": repr(float(layer.energy_j)),
            "bnnsim.latency_s": repr(float(layer.latency_s)),
            "bnnsim.macs": str(layer.macs),
            "bnnsim.bound_by": str(layer.bound_by),
        }
        for layer in report.layers
    }
