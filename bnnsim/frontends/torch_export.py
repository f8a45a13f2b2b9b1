"""Import a trained torch module through ``torch.export``.

Layers are recognised by their operators and by the values of their folded weights, not by their
class. torch is imported when a function is called, not before.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import math
import os
import pickle
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bnnsim.errors import SourceError, message, nearest
from bnnsim.frontends.builder import GraphBuilder
from bnnsim.frontends.importer import Importer
from bnnsim.frontends.torch_trace import as_written
from bnnsim.frontends.torch_walk import fingerprint, walk
from bnnsim.graph.dtypes import FLOAT32, UINT8
from bnnsim.graph.io import open_regular
from bnnsim.graph.ir import Graph
from bnnsim.graph.shape_rules import MAX_ELEMENTS

_SIGN_ZERO = ("plus", "error")
_BATCH = 2
_SHAPES = ("view", "reshape", "flatten", "permute", "unsqueeze", "squeeze", "detach", "alias")
_TO_FLOAT = ("to", "_to_copy", "type_as", "_assert_tensor_metadata")
_WRAPPER = "module."  # what torch.nn.DataParallel puts before every key


def from_torch(
    module_or_program: Any,
    input_shape: Sequence[int] | None = None,
    *,
    example: Any = None,
    name: str | None = None,
    sign_zero: str = "plus",
) -> Graph:
    """Lower a module, or a program that ``torch.export`` made, to a graph.

    Parameters
    ----------
    module_or_program : torch.nn.Module or torch.export.ExportedProgram
        One input (uint8 or float32) and one output. A module is exported in eval mode.
    input_shape : sequence of int, optional
        Of one input in torch's order, (features,) or (C, H, W). A module that converts its
        input to float before anything else takes uint8; every other one float32, unless only
        uint8 has a meaning here (``x > 127``).
    example : torch.Tensor or ndarray, optional
        A batch to export with, instead of ``input_shape``.
    name : str, optional
        Of the graph; default: the module's class.
    sign_zero : str
        ``plus``: a sign that is not +1 at 0 (``torch.sign``) becomes one that is, with an entry
        in the graph's ``notes``. ``error``: it is refused.

    Returns
    -------
    Graph
        Images are (H, W, C) where torch has (C, H, W). Sums of integers are exact; float layers
        are rounded once per output. ``notes`` names what may differ from torch in the last bit;
        ``meta["torch"]`` says which node's value each tensor equals (`bnnsim.frontends.pairs`).

    Raises
    ------
    SourceError
        Naming the torch node, its operator and its line.
    """
    from torch.export import ExportedProgram
    from torch.nn import Module

    import bnnsim.torch_ops  # noqa: F401  (registers the operators that programs may hold)

    if sign_zero not in _SIGN_ZERO:
        raise SourceError(message("sign_zero", sign_zero, f"one of {', '.join(_SIGN_ZERO)}"))
    if isinstance(module_or_program, ExportedProgram):
        name = name or "program"
        program = module_or_program
    else:
        name = name or type(module_or_program).__name__
        if not isinstance(module_or_program, Module):
            rule = "a torch.nn.Module or a program of torch.export"
            raise SourceError(message(name, type(module_or_program).__name__, rule))
        programs = _exported(module_or_program, input_shape, example, name)
        return _first_lowered(programs, name, sign_zero)
    return _lowered(program, name, sign_zero)


def from_pt2(path: str | Path, *, trust: bool = False, sign_zero: str = "plus") -> Graph:
    """Lower a ``.pt2`` archive.

    Parameters
    ----------
    path : path
    trust : bool
        Loading an archive may run code that it holds: True says that its origin is trusted.
    sign_zero : str
        See `from_torch`.
    """
    return from_torch(pt2_program(path, trust=trust), name=Path(path).stem, sign_zero=sign_zero)


def pt2_program(path: str | Path, *, trust: bool = False) -> Any:
    """Return the exported program of a ``.pt2`` archive (see `from_pt2`)."""
    path = Path(path)
    _require_trust(str(path), "torch evaluates what it holds, pickles and size expressions", trust)
    if not path.is_file():
        raise SourceError(message(str(path), "no such file", "a .pt2 archive"))
    import torch

    import bnnsim.torch_ops  # noqa: F401  (archives may hold its operators)

    try:
        with _without_logs():
            return torch.export.load(path)
    except Exception as error:
        raise SourceError(message(str(path), _first_line(error), "a .pt2 archive")) from error


def from_python(
    source: str,
    weights: str | Path | None = None,
    input_shape: Sequence[int] | None = None,
    *,
    trust: bool = False,
    sign_zero: str = "plus",
) -> Graph:
    """Lower the module that a Python callable returns.

    Parameters
    ----------
    source : str
        ``module:callable``; the module is looked up in the working directory too.
    weights : path, optional
        A state dict, ``.safetensors`` or what ``torch.save`` wrote (read without pickled code); it
        may stand under the key ``state_dict`` of a checkpoint, its keys may begin with ``module.``.
    input_shape : sequence of int
        See `from_torch`.
    trust : bool
        Importing runs the module's code: True says that it is trusted.
    sign_zero : str
        See `from_torch`.
    """
    module, notes = _built(source, weights, trust=trust)
    graph = from_torch(module, input_shape, name=source.partition(":")[2], sign_zero=sign_zero)
    return graph.with_meta(notes=[*graph.meta["notes"], *notes])


def python_module(source: str, weights: str | Path | None = None, *, trust: bool = False) -> Any:
    """Return the module that a ``module:callable`` source builds (see `from_python`)."""
    return _built(source, weights, trust=trust)[0]


def _built(source: str, weights: str | Path | None, *, trust: bool) -> tuple[Any, list[str]]:
    """Return the module with its weights, and remarks on how the weights were read."""
    _require_trust(f"py:{source}", "the module is imported and its callable called", trust)
    module_name, _, attribute = source.partition(":")
    if not module_name or not attribute:
        raise SourceError(message("py", source, "module:callable"))
    try:
        with _working_directory_importable(), contextlib.redirect_stdout(sys.stderr):
            home = importlib.import_module(module_name)
            module = getattr(home, attribute)() if hasattr(home, attribute) else None
    except (Exception, SystemExit) as error:
        rule = "an importable callable that returns a torch module when called without arguments"
        what = _first_line(error) if isinstance(error, Exception) else f"SystemExit: {error}"
        raise SourceError(message(f"py:{source}", what, rule)) from error
    if not hasattr(home, attribute):
        remedy = nearest(attribute, (name for name in dir(home) if not name.startswith("_")))
        rule = f"the name of a callable in {module_name}"
        raise SourceError(message(f"py:{source}", attribute, rule, remedy))
    if weights is None:
        return module, []
    open_regular(weights, "state dict").close()
    return module, _load_weights(module, Path(weights))


def _require_trust(source: str, why: str, trust: bool) -> None:
    if not trust:
        remedy = "Add --trust (trust=True in Python) if you know where it comes from."
        what = f"loading it runs code ({why}), so it must be trusted"
        raise SourceError(f"{source}: {what}. {remedy}")


@contextlib.contextmanager
def _without_logs() -> Iterator[None]:
    """Keep torch from logging, with tracebacks, the failures that it raises as well."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _working_directory_importable() -> Iterator[None]:
    sys.path.insert(0, os.getcwd())  # noqa: PTH109  (sys.path holds strings)
    try:
        yield
    finally:
        sys.path.pop(0)


def _load_weights(module: Any, path: Path) -> list[str]:
    """Load a state dict and return remarks on what was left out around it."""
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        state, notes = _unwrapped(state, path.name)
        module.load_state_dict(state)
    except pickle.UnpicklingError:
        rule = "a state dict that torch.save wrote, of tensors only"
        raise SourceError(message(str(path), "other content", rule)) from None
    except Exception as error:
        rule = "a state dict of this module"
        raise SourceError(message(str(path), _first_line(error), rule)) from error
    return notes


def _unwrapped(state: Any, where: str) -> tuple[Any, list[str]]:
    """Return the state dict of a checkpoint, and remarks: its nesting, prefixes of its keys."""
    notes = []
    if isinstance(state.get("state_dict"), Mapping):
        others = sorted(str(key) for key in state if key != "state_dict")
        left = f"; left out: {', '.join(others)}" if others else ""
        notes.append(f"{where}: weights are its entry 'state_dict'{left}.")
        state = state["state_dict"]
    if state and all(str(key).startswith(_WRAPPER) for key in state):
        notes.append(f"{where}: the prefix '{_WRAPPER}' of every key was left out.")
        state = {key.removeprefix(_WRAPPER): value for key, value in state.items()}
    return state, notes


def _first_lowered(programs: Sequence[Any], name: str, sign_zero: str) -> Graph:
    """Return the graph of the first program that has one, or raise the first refusal."""
    refusals = []
    for program in programs:
        try:
            return _lowered(program, name, sign_zero)
        except SourceError as error:
            refusals.append(error)
    raise refusals[0]


def _exported(module: Any, input_shape: Sequence[int] | None, example: Any, name: str) -> list[Any]:
    """Return the module's programs for uint8 and float32 inputs, the likelier first."""
    import torch

    if example is None and input_shape is None:
        rule = "the shape of one input, or an example"
        remedy = "Give --input-shape C,H,W or FEATURES (input_shape= or example= in Python)."
        raise SourceError(message(name, "no input shape", rule, remedy))
    if example is not None:
        examples = [torch.as_tensor(example)]
    else:
        shape = (_BATCH, *map(int, input_shape or ()))
        if math.prod(shape) > _BATCH * MAX_ELEMENTS:
            rule = f"at most {MAX_ELEMENTS} elements"
            raise SourceError(message(f"{name}: input_shape", tuple(shape[1:]), rule))
        examples = [torch.zeros(shape, dtype=dtype) for dtype in (torch.uint8, torch.float32)]
    programs, failures = [], []
    was_training = module.training
    module.eval()
    try:
        for batch in examples:
            try:
                with torch.no_grad():
                    as_written(module)(batch)  # the export itself lets some wrong types pass
                    program = export_program(module, batch)
            except Exception as error:
                failures.append(f"{batch.dtype}: {_first_line(error)}")
                continue
            programs.append(program)
            if batch.dtype == torch.uint8 and _converts_bytes(program):
                return programs
    finally:
        module.train(was_training)
    if programs:
        return programs[::-1]
    remedy = "Check the shape, or give example=; control flow on values cannot be exported."
    raise SourceError(message(name, "; ".join(failures), "a module torch.export takes", remedy))


def export_program(module: Any, batch: Any) -> Any:
    """Return a module's program; strict tracing also takes modules that write to their tensors."""
    import torch

    try:
        with _without_logs():
            return torch.export.export(as_written(module), (batch,), strict=False)
    except Exception:
        with contextlib.suppress(Exception), _without_logs(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what the module writes to
            return torch.export.export(module, (batch,), strict=True)
        raise


def _converts_bytes(program: Any) -> bool:
    """Return whether the program turns its input into floats before it computes anything.

    A module meant for pixels says so by that; one meant for floats may run on bytes by accident.
    """
    names = program.graph_signature.user_inputs
    waiting = [node for node in program.graph_module.graph.nodes if node.name in names]
    while waiting:
        for user in waiting.pop().users:
            kind = str(user.target).split(".")[1:2]
            if kind and kind[0] in _SHAPES:
                waiting.append(user)
            elif not (kind and kind[0] in _TO_FLOAT):
                return False
    return True


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"


def _lowered(program: Any, name: str, sign_zero: str) -> Graph:
    import torch

    names = program.graph_signature.user_inputs
    inputs = [n for n in program.graph_module.graph.nodes if n.name in names]
    kinds = {torch.uint8: UINT8, torch.float32: FLOAT32}
    if len(inputs) != 1 or inputs[0].meta["val"].dtype not in kinds:
        got = [f"{n.name}: {getattr(n.meta['val'], 'dtype', None)}" for n in inputs]
        raise SourceError(message(f"{name}: inputs", got, "one tensor of uint8 or float32"))
    value = inputs[0].meta["val"]
    if value.dim() not in (2, 3, 4):
        rule = "(N, features) or (N, C, H, W)"
        raise SourceError(message(f"{name}: input", tuple(map(str, value.shape)), rule))
    shape = tuple(int(size) for size in value.shape[1:])
    ours = (*shape[1:], shape[0]) if len(shape) == 3 else shape
    importer = Importer(
        name=name,
        builder=GraphBuilder(ours, kinds[value.dtype]),
        batch=str(value.shape[0]),
        shape=shape,
        pixels=torch.arange(256, dtype=torch.uint8) if value.dtype == torch.uint8 else None,
        sign_zero=sign_zero,
    )
    with torch.no_grad():
        output, pairs = walk(program, importer)
    if output.order is not None:
        rule = "a dense layer after it: its features would be in another order than torch's"
        raise SourceError(message(f"{name}: output", "a flattened image", rule))
    meta = {
        "source": f"torch:{name}",
        "source_kind": "torch",
        "decision": "argmax",
        "notes": importer.notes,
        "torch": pairs,
        "torch_program": fingerprint(program),
    }
    return importer.builder.graph(name, output.tensor, meta)
