"""From a SOURCE string, a path or a torch module to a model graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bnnsim.errors import InputError, SourceError, message
from bnnsim.graph.folding import with_folding
from bnnsim.graph.grids import Grid
from bnnsim.graph.io import load as load_bnn
from bnnsim.graph.ir import Graph
from bnnsim.passes.input_grid import with_input_grid

FORMS = (
    "NET.bnn, NET.onnx, NET.pt2, NET.h5, NET.keras, NET.json, pynq:FOLDER, "
    "zoo:NAME[:trained|:random[,SEED]] or py:MODULE:CALLABLE"
)
KERAS = (".h5", ".hdf5", ".keras", ".json")  # suffixes of its models


def load(
    source: Any,
    *,
    folding: str | Path | dict[str, Any] | None = None,
    network: str | None = None,
    weights: str | Path | None = None,
    input_shape: Sequence[int] | None = None,
    trust: bool = False,
    example: Any = None,
    sign_zero: str = "plus",
    latent: Sequence[str] = (),
    centered: bool = False,
    input_grid: Grid | str | None = None,
) -> Graph:
    """Return the model graph of a network.

    Parameters
    ----------
    source : str, Path, Graph or torch.nn.Module
        ``NET.bnn``, ``NET.onnx``, ``NET.pt2``, ``NET.h5``, ``NET.keras``, ``NET.json`` (with
        weights), ``pynq:FOLDER``, ``py:MODULE:CALLABLE``, ``zoo:NAME[:trained|:random[,SEED]]``,
        or an object.
    folding : str, Path or dict, optional
        How the layers' matrices are spread over processing elements: an FPGA folder needs it, any
        other source may have it for profiles with ``latency_model: pipeline``.
    network : str, optional
        Which entry of the folding file, where the folder's name does not tell.
    weights : str or Path, optional
        Of ``py:`` sources: a state dict as .safetensors or .pth. Of Keras models: a file of
        weights in place of the model's own; ``NET.json`` needs one.
    input_shape : sequence of int, optional
        Of ``py:`` sources, modules, and ``.onnx`` files that leave sizes open: shape of one
        input, without the batch axis. Of Keras models that leave sizes open: (H, W, C).
    example : torch.Tensor or ndarray, optional
        Of modules: a batch to export with, instead of ``input_shape``.
    trust : bool, optional
        Whether ``py:`` and ``.pt2`` sources, which run code, may be loaded.
    sign_zero : str, optional
        Of torch and ONNX sources whose sign(0) is not +1: ``plus`` lowers it to +1 with a note,
        ``error`` refuses it.
    latent : sequence of str, optional
        Layers, by their names in the graph and with wildcards, whose float weights the training
        binarized outside of the source: they become sign(w) times the mean of their magnitudes
        per output channel, with a note.
    centered : bool, optional
        Take the mean over input channels away before that, and clamp to [-1, 1].
    input_grid : Grid or str, optional
        Of a float32 input: the fixed-point grid that its values lie on, such as ``uint8`` (0 to
        255), ``q1.7`` (n / 128) or ``1/255``; layers with integer weights then read its integers.
        See :func:`bnnsim.passes.input_grid.with_input_grid`.

    Raises
    ------
    InputError, SourceError, GraphError
        Naming the file or object, the place, the value, the rule and a remedy.
    """
    if centered and not latent:
        raise InputError(message("centered", True, "layers to binarize", "Name them by latent."))
    options: dict[str, Any] = {
        "weights": weights, "input_shape": input_shape, "trust": trust, "sign_zero": sign_zero
    }  # fmt: skip
    graph = _model(source, folding, network, example, options)
    if latent:
        from bnnsim.frontends.latent import binarize_latent

        graph = binarize_latent(graph, latent, centered=centered, sign_zero=sign_zero)
    return graph if input_grid is None else with_input_grid(graph, input_grid)


def _model(
    source: Any, folding: Any, network: str | None, example: Any, options: dict[str, Any]
) -> Graph:
    if isinstance(source, Graph):
        return source
    if not isinstance(source, (str, Path)):
        from bnnsim.frontends.torch_export import from_torch

        how = {key: options[key] for key in ("input_shape", "sign_zero")}
        return from_torch(source, example=example, **how)
    text = str(source)
    if example is not None:
        rule = "no example for a source that is no torch module"
        raise SourceError(message("example", text, rule, "Give input_shape to py: sources."))
    scheme, _, rest = text.partition(":")
    if scheme == "pynq":
        from bnnsim.frontends.pynq import from_pynq

        return from_pynq(rest, folding, network=network)
    graph = _by_scheme(text, **options)
    return graph if folding is None else _folded(graph, folding, network)


def _folded(graph: Graph, folding: str | Path | dict[str, Any], network: str | None) -> Graph:
    from bnnsim.frontends.pynq_folding import folding_table

    where, table = folding_table(folding, graph.name, network)
    return with_folding(graph, table, where)


def _by_scheme(
    text: str, *, weights: str | Path | None, input_shape: Sequence[int] | None, trust: bool,
    sign_zero: str,
) -> Graph:  # fmt: skip
    scheme, _, rest = text.partition(":")
    if scheme == "zoo":
        return _from_zoo(rest)
    if scheme == "py":
        from bnnsim.frontends.torch_export import from_python

        return from_python(rest, weights, input_shape, trust=trust, sign_zero=sign_zero)
    if Path(text).suffix.lower() in KERAS:
        from bnnsim.frontends.keras import from_keras

        return from_keras(text, weights, input_shape)
    if Path(text).suffix.lower() == ".onnx":
        from bnnsim.frontends.onnx_import import from_onnx

        return from_onnx(text, input_shape=input_shape, sign_zero=sign_zero)
    return _from_file(text, trust=trust, sign_zero=sign_zero)


def load_module(
    source: str,
    *,
    weights: str | Path | None = None,
    trust: bool = False,
) -> Any:
    """Return the module of a ``py:`` or the program of a ``.pt2`` source, to hold the engine to.

    Raises
    ------
    SourceError
        If the source is of another form or cannot be loaded.
    """
    from bnnsim.frontends import torch_export

    text = str(source)
    if text.startswith("py:"):
        return torch_export.python_module(text.removeprefix("py:"), weights, trust=trust)
    if Path(text).suffix.lower() == ".pt2":
        _check_archive(text)
        return torch_export.pt2_program(text, trust=trust)
    rule = "a py:MODULE:CALLABLE or .pt2 source, which has a torch module"
    raise SourceError(message("verify against torch", text, rule, "Use --against reference."))


def load_executor(source: str | Path) -> Any:
    """Return the executor of an ``.onnx`` source, to hold the engine against.

    Raises
    ------
    SourceError
        If the source is of another form, or what could run it is not installed.
    """
    if Path(source).suffix.lower() != ".onnx":
        rule = "an .onnx source"
        raise SourceError(
            message("verify against onnx", str(source), rule, "Use --against reference.")
        )
    from bnnsim.frontends.onnx_execute import OnnxExecutor

    return OnnxExecutor(source)


def _from_file(text: str, *, trust: bool, sign_zero: str) -> Graph:
    suffix = Path(text).suffix.lower()
    if suffix == ".bnn":
        return load_bnn(text)
    if suffix == ".pt2":
        from bnnsim.frontends.torch_export import from_pt2

        _check_archive(text)
        return from_pt2(text, trust=trust, sign_zero=sign_zero)
    raise SourceError(message("source", text, FORMS, "See `bnnsim zoo list` for built-in names."))


def _check_archive(text: str) -> None:
    """Say that a .pt2 is missing before trust in it is asked for."""
    if not Path(text).is_file():
        raise SourceError(message(text, "no such file", "a .pt2 archive"))


def _from_zoo(rest: str) -> Graph:
    from bnnsim import zoo

    name, colon, how = rest.partition(":")
    if how == "trained":
        return zoo.trained(name)
    kind, comma, seed = how.partition(",")
    is_seed = seed.isascii() and seed.isdecimal() and len(seed) <= 20 and int(seed) < 2**64
    if (colon and kind != "random") or (comma and not is_seed):
        rule = "nothing, 'trained', 'random' or 'random,SEED' with a seed below 2^64"
        raise SourceError(message(f"zoo:{rest[:80]}", how[:80], rule))
    return zoo.build(name, seed=int(seed or 0) if colon else None)
