"""Trace a module whose forward pass is written as public training code writes it.

`torch.export` follows operators. It does not follow an assignment to ``x.data``, by which such
code replaces activations by their signs and weights by their binarized values, and torch no
longer calls an autograd function as ``Function()(x)``. Both are given their plain meaning here
while a module runs; nothing is written to the module by an assignment.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any


def as_written(module: Any) -> Any:
    """Return a module that runs ``module`` so that ``torch.export`` sees what it assigns.

    Parameters
    ----------
    module : torch.nn.Module

    Returns
    -------
    torch.nn.Module
        Same inputs and outputs; its state has the names of ``module`` behind ``inner.``.
    """
    from torch.nn import Module

    class AsWritten(Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, x: Any) -> Any:
            with _assignments(), legacy_functions():
                return self.inner(x)

    return AsWritten().train(module.training)


@contextlib.contextmanager
def legacy_functions() -> Iterator[None]:
    """Let ``Function()(x)`` run the forward pass of an autograd function, as torch 0.4 did."""
    from torch.autograd import Function

    before = Function.__call__
    Function.__call__ = lambda self, *args: self.forward(*args)  # type: ignore[method-assign]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*should not be instantiated", DeprecationWarning)
            yield
    finally:
        Function.__call__ = before  # type: ignore[method-assign]


def _assignments() -> Any:
    """Return a mode in which a tensor means what was last assigned to its ``data``."""
    from torch import Tensor
    from torch.overrides import TorchFunctionMode
    from torch.utils._pytree import tree_map

    class Assignments(TorchFunctionMode):
        def __init__(self) -> None:
            super().__init__()
            self.now: dict[int, tuple[Any, Any]] = {}  # holding a tensor keeps its id its own

        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if func == Tensor.data.__set__:  # type: ignore[attr-defined]
                self.now[id(args[0])] = (args[0], self._meant(args[1]))
                return None
            args, kwargs = tree_map(self._meant, (args, kwargs or {}))
            if func == Tensor.data.__get__:  # type: ignore[attr-defined]
                return args[0].detach()
            return func(*args, **kwargs)

        def _meant(self, value: Any) -> Any:
            return self.now.get(id(value), (None, value))[1]

    return Assignments()
