"""Bytes of one kernel call through each cache level and memory.

A tensor lies in the nearest level that holds it together with all that is used before it is used
again; what passes a level passes all nearer ones. Nearest of all, the tile of sums in registers
reads the operands once for each tile of the other side. At a level further out, the level before
it holds half its size of one operand while the other streams past: the cheaper of both is taken.

    nearest      inputs x ceil(channels / tile)          weights x ceil(pixels / tile)
    further out  inputs x ceil(weights / held), once     or once, weights x ceil(inputs / held)

No factor is above that of the registers, so larger levels never cost more traffic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bnnsim.cost.hardware import KernelLevel, Kernels
from bnnsim.errors import ProfileError, message


@dataclass(frozen=True, slots=True)
class Moved:
    """What a kernel reads and writes, in bytes of one call.

    Parameters
    ----------
    inputs, window_inputs : int
        Activations as they are stored, and as often as windows take them in.
    weights, outputs : int
    parameters, operands : int
        Read once: thresholds and scales; activations that the epilogue adds.
    groups : int
        The first two belong to this many independent products.
    input_passes, weight_passes : int
        How often the tiles in registers take in all inputs and all weights.
    """

    inputs: int
    window_inputs: int
    weights: int
    outputs: int
    parameters: int = 0
    operands: int = 0
    groups: int = 1
    input_passes: int = 1
    weight_passes: int = 1


@dataclass(frozen=True, slots=True)
class Homes:
    """Bytes that must lie together for a tensor to be found again: activations and weights.

    Parameters
    ----------
    activations, constants : int
        While this kernel runs: live feature maps of all images, and its weights and parameters.
    all_activations, all_constants : int
        Of the network: weights are used again in the next inference.
    """

    activations: int
    constants: int
    all_activations: int
    all_constants: int


def home_of(kernels: Kernels, operand: str, homes: Homes, profile: str) -> KernelLevel:
    """Return the nearest level that keeps ``weights`` or ``activations`` until their next use.

    Raises
    ------
    ProfileError
        If no level is large enough.
    """
    own = homes.activations if operand == "activations" else homes.all_constants
    other = homes.constants if operand == "activations" else homes.all_activations
    for level in kernels.chain(operand):
        shared = {"weights", "activations"} <= set(level.holds)
        if level.size_bytes is None or own + shared * other <= level.size_bytes:
            return level
    last = kernels.chain(operand)[-1]
    place = f"profile {profile!r}: kernels.levels"
    remedy = "Add a memory behind it, or lower the batch."
    rule = f"{operand} of at most {last.size_bytes} bytes ({last.name})"
    raise ProfileError(message(place, f"{own} bytes", rule, remedy))


def level_bytes(
    kernels: Kernels, moved: Moved, homes: Homes, profile: str
) -> Mapping[str, tuple[int, int, int]]:
    """Return by level the bytes of activations read, of weights read, and of results written."""
    reach = {
        operand: kernels.levels.index(home_of(kernels, operand, homes, profile))
        for operand in ("activations", "weights")
    }
    found = {}
    for i, level in enumerate(kernels.levels):
        uses_acts = "activations" in level.holds and i <= reach["activations"]
        uses_weights = "weights" in level.holds and i <= reach["weights"]
        passes = _passes(kernels, i, moved, uses_acts, uses_weights)
        found[level.name] = (
            uses_acts * (passes[0] + moved.operands),
            uses_weights * (passes[1] + moved.parameters),
            uses_acts * moved.outputs,
        )
    return found


def _passes(kernels: Kernels, at: int, moved: Moved, acts: bool, weights: bool) -> tuple[int, int]:
    """Return the bytes of inputs and of weights that a level hands on."""
    near = {
        operand: next((n for n in reversed(kernels.levels[:at]) if operand in n.holds), None)
        for operand in ("activations", "weights")
    }
    keeper = near["activations"], near["weights"]
    most = moved.input_passes, moved.weight_passes
    if not (acts and weights) or None in keeper:
        return (
            moved.inputs if keeper[0] is not None else moved.window_inputs * most[0],
            moved.weights if keeper[1] is not None else moved.weights * most[1],
        )
    input_passes = min(most[0], _blocks(moved.weights, moved.groups, keeper[1]))
    weight_passes = min(most[1], _blocks(moved.inputs, moved.groups, keeper[0]))
    streams_inputs = moved.inputs * input_passes, moved.weights
    streams_weights = moved.inputs, moved.weights * weight_passes
    return min(streams_inputs, streams_weights, key=sum)


def _blocks(size: int, groups: int, level: KernelLevel | None) -> int:
    """Return into how many blocks of half a level an operand of one group falls."""
    assert level is not None  # the caller has looked
    assert level.size_bytes is not None  # something lies behind it
    return max(1, -(-2 * size // (groups * level.size_bytes)))
