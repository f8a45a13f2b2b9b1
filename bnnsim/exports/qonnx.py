"""Write a model graph as a QONNX file: standard operators, Quant, BipolarQuant, MultiThreshold.

All activations are float32, as QONNX has them; integers are exact there up to 2^24. Images are
(1, C, H, W). A batch norm is written as the subtraction, product and sum that it means here, so
that any executor rounds as this one does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bnnsim.errors import GraphError, SourceError, message
from bnnsim.exports.qonnx_rules import RULES
from bnnsim.exports.qonnx_writer import Writer
from bnnsim.graph.ir import Graph


def to_qonnx(graph: Graph, costs: Mapping[str, Mapping[str, str]] | None = None) -> bytes:
    """Return a model graph as the bytes of a QONNX file.

    Parameters
    ----------
    graph : Graph
        With weights; deterministic, of float32, integers and bits.
    costs : mapping of node name to entries, optional
        Written as ``metadata_props`` of the nodes.

    Raises
    ------
    GraphError
        Naming the first node that QONNX cannot express, and why.
    SourceError
        If the package onnx is not installed.
    """
    try:
        import onnx
    except ImportError:
        remedy = "Install it: pip install 'bnnsim[onnx]'."
        raise SourceError(message("onnx", "not installed", "the package onnx", remedy)) from None

    writer = Writer(graph, onnx, costs or {})
    for node in graph.nodes:
        writer.write(node, RULES.get(node.op))
    return writer.finished()


def check_path(path: str | Path) -> Path:
    """Return the path of a QONNX file, which must end in ``.onnx``."""
    target = Path(path)
    if target.suffix.lower() != ".onnx":
        raise GraphError(message("export --to qonnx", str(path), "a file name that ends in .onnx"))
    return target
