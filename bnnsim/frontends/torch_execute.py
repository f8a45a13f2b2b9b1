"""Run a torch module or an exported program, to hold the engine against it tensor by tensor.

A module gives its outputs as its user runs it. What stands between is taken from its exported
program, node by node, if that is the program that the graph was imported from.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import numpy as np

from bnnsim.errors import InputError, message
from bnnsim.frontends.torch_export import export_program
from bnnsim.frontends.torch_trace import legacy_functions
from bnnsim.frontends.torch_walk import fingerprint, held_tensors


class TorchExecutor:
    """A torch module, or a program that ``torch.export`` made, that can be run with all values.

    Parameters
    ----------
    source : torch.nn.Module or torch.export.ExportedProgram
    images : ndarray, (N, H, W, C) or (N, features)
        The first of those that will be run; a module's program is exported for as many.
    imported : str
        `bnnsim.frontends.torch_walk.fingerprint` of the program whose values are wanted; empty
        where none are.
    """

    name = "torch"

    def __init__(self, source: Any, images: np.ndarray, imported: str) -> None:
        from torch.export import ExportedProgram
        from torch.fx import GraphModule

        self._module, self._program, self.missing = source, None, ""
        if isinstance(source, ExportedProgram):
            self._program, self._module = source, None
        else:
            if not isinstance(source, GraphModule):  # which has one mode only
                source.eval()
            with contextlib.suppress(Exception):  # a module that can only be run
                self._program = export_program(source, _batch(images)) if imported else None
        if self._program is None or imported != fingerprint(self._program):
            self.missing = "this is not the program that the network was imported from"

    def outputs(self, images: np.ndarray) -> np.ndarray:
        """Return the outputs for images as they are given to `bnnsim.run`, in torch's order."""
        if self._module is None:
            return self.values(images, ())[1]
        with legacy_functions():
            found = _guarded(lambda: self._module(_batch(images)).numpy(), images)
        return np.asarray(found)

    def values(
        self, images: np.ndarray, names: Collection[str]
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Return values of the program by the names of its nodes, and its output.

        A program for a fixed number of images is run on as many at a time.
        """
        program = self._program
        assert program is not None
        size = _input_of(program).meta["val"].shape[0]
        size = size if isinstance(size, int) else len(images)
        parts = []
        for start in range(0, len(images), size):
            tile = images[start : start + size]
            filled = np.concatenate([tile, *[tile[-1:]] * (size - len(tile))])
            found = _guarded(partial(_run, program, filled, names), filled)
            parts.append({name: value[: len(tile)] for name, value in found.items()})
        values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return values, values.pop("")


def _input_of(program: Any) -> Any:
    """Return the node of the images."""
    (name,) = program.graph_signature.user_inputs
    return next(node for node in program.graph_module.graph.nodes if node.name == name)


def _batch(images: np.ndarray) -> Any:
    """Return images as torch has them: (N, C, H, W), of its own memory."""
    import torch

    return torch.from_numpy(np.array(images.transpose(0, 3, 1, 2) if images.ndim == 4 else images))


def _run(program: Any, images: np.ndarray, names: Collection[str]) -> dict[str, np.ndarray]:
    """Return the values of some nodes by name, and the output under the empty name."""
    import torch

    found: dict[str, np.ndarray] = {}

    class Watching(torch.fx.Interpreter):
        def run_node(self, node: Any) -> Any:
            value = super().run_node(node)
            if node.name in names:
                found[node.name] = np.array(value.numpy())  # a copy: torch may write to it later
            return value

    held = held_tensors(program)
    held[_input_of(program).name] = _batch(images)
    nodes = program.graph_module.graph.nodes
    given = [held[node.name] for node in nodes if node.op == "placeholder"]
    (output, *_) = Watching(program.graph_module).run(*given)
    found[""] = output.numpy()
    return found


def _guarded(call: Callable[[], Any], images: np.ndarray) -> Any:
    """Return what ``call`` does without gradients; what torch refuses is an InputError."""
    import torch

    try:
        with torch.no_grad():
            return call()
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        shape = images.transpose(0, 3, 1, 2).shape if images.ndim == 4 else images.shape
        rule = f"a module that takes images of shape {shape}"
        remedy = "Export with a dynamic batch size, or compare with stored outputs."
        got = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        raise InputError(message("torch", got, rule, remedy)) from error
