"""How an array runs a dtype pair, and what its arithmetic costs in priced operations.

Integer adders cost their width in full adders; a word of bit-MACs costs its XNOR gates, a
compressor tree that counts them, and one accumulation. Each rule turns logical actions into
counts of the profile's own constants.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from bnnsim.cost.actions import Action, Operands, mac_actions, operands_of
from bnnsim.cost.hardware import Array, HardwareProfile
from bnnsim.errors import ProfileError, message
from bnnsim.graph.dtypes import DType

_INTEGERS = (8, 16, 32)
# Products and additions of one function of a float32: range reduction and polynomial of Moshier's
# Cephes 2.2 (expf.c, logf.c); two steps of Newton from 8 bits to 1 / d, times the numerator.
_SERIES = {
    "exp": (("mul", 11), ("add", 11)),
    "log": (("mul", 14), ("add", 14)),
    "divide": (("mul", 5), ("add", 2)),
}
_WIDER_FLOAT = {"float16": ("float32",), "bfloat16": ("float32",), "float32": ()}


@dataclass(frozen=True, slots=True)
class Execution:
    """The pair that an array really runs and how fast.

    Parameters
    ----------
    pair : str
        As listed in ``ops_per_pe``.
    operands : Operands
        Widened where the array lacks the pair.
    rate : float
        MACs per cycle and PE.
    """

    pair: str
    operands: Operands
    rate: float

    @property
    def lanes(self) -> int:
        """Elements of the dot product that one PE takes per step."""
        return max(1, int(self.rate))

    @property
    def cycles(self) -> int:
        """Cycles of one step."""
        return max(1, round(1 / self.rate))


def execution(profile: HardwareProfile, operands: Operands, fan_in: int, where: str) -> Execution:
    """Return how the profile's array runs MACs of these operands.

    Raises
    ------
    ProfileError
        If the array lacks the pair and ``emulate`` is ``error`` or nothing wider is listed.
    """
    array = profile.array
    if operands.pair in array.ops_per_pe:
        return Execution(operands.pair, operands, array.ops_per_pe[operands.pair])
    if array.planes and operands.planes and "bit x bit" in array.ops_per_pe:
        rate = array.ops_per_pe["bit x bit"] / operands.planes
        return Execution("bit x bit", operands, rate)
    if array.emulate == "wider":
        for act, weight in _wider(operands):
            pair = f"{act} x {weight}"
            if pair in array.ops_per_pe:
                wider = operands_of(act, weight, fan_in)
                return Execution(pair, wider, array.ops_per_pe[pair])
    rule = f"a pair among {', '.join(array.ops_per_pe)}"
    place = f"{where}: profile {profile.name!r}: {_table(profile)}"
    remedy = "List the pair, or set 'emulate: wider' and list a wider one."
    raise ProfileError(message(place, operands.pair, rule, remedy))


def stand_in(profile: HardwareProfile, operands: Operands, fan_in: int, where: str) -> str:
    """Return the wider pair that runs in place of these operands, or "" if they run as they are.

    Bit planes are these operands, not wider ones.
    """
    run = execution(profile, operands, fan_in, where)
    return run.pair if run.operands.pair != operands.pair else ""


def emulation_note(profile: HardwareProfile, pair: str, run_as: str, layers: int) -> str:
    """Return the sentence that says of some layers which pair ran in place of theirs."""
    table = _table(profile).removeprefix("array.")
    verb = f"{layers} layer{'s' * (layers > 1)} of {pair} run{'s' * (layers == 1)}"
    note = f"{verb} as {run_as} on {profile.name}: {table} lacks the pair"
    narrow = "bits" if "bit" in pair or "ternary" in pair else "integers"
    if "float" in run_as and "float" not in pair:
        note += f"; {narrow} on float units cost what floats cost"
    return note


def _table(profile: HardwareProfile) -> str:
    return "array.ops_per_pe" if profile.kernels is None else "kernels.macs"


def _wider(operands: Operands) -> list[tuple[DType, DType]]:
    """Return the pairs that could stand in, narrowest first, with the light weight before."""
    act, weight = operands.act, operands.weight
    if act.is_float or weight.is_float:
        names = [str(max(act, weight, key=lambda d: d.bits if d.is_float else 0))]
        names += _WIDER_FLOAT.get(names[0], ())
    else:
        least = max(
            act.bits, weight.bits
        )  # of levels: what they stand for is a scale and an offset
        names = [f"int{n}" for n in _INTEGERS if n >= least] + ["float32"]
    wide = [DType.parse(name) for name in names]
    return [(d, w) for d in wide for w in ((weight, d) if weight.is_light else (d,))]


def k_steps(array: Array, execution_: Execution, taps: int, channels: int) -> tuple[int, ...]:
    """Return the sizes of the slices in which the rows take one dot product, last one ragged."""
    return slices(array.rows * execution_.lanes, array.unroll_rows == "K", taps, channels)


def slices(size: int, flat: bool, taps: int, channels: int) -> tuple[int, ...]:
    """Return the slices of at most ``size`` of a dot product, taken flat or tap by tap."""
    whole, repeats = (taps * channels, 1) if flat else (channels, taps)
    full, rest = divmod(whole, size)
    return ((size,) * full + ((rest,) if rest else ())) * repeats


def popcount_adders(width: int) -> tuple[int, int]:
    """Return (full adders, half adders) of a tree that counts the ones among ``width`` bits."""
    full = half = 0
    column = width
    while column > 1:
        carries = column // 2
        half += 1 - column % 2
        full += carries - (1 - column % 2)
        column = carries
    return full, half


def mac_prices(
    profile: HardwareProfile, execution_: Execution, outputs: int, taps: int, channels: int
) -> Mapping[str, int]:
    """Return counts of priced operations for ``outputs`` dot products of taps x channels."""
    operands = execution_.operands
    is_float = operands.act.is_float or operands.weight.is_float
    if profile.datapath.bit_mac == "serial" and not is_float:
        return _serial(operands, outputs, taps * channels)
    if operands.planes and profile.datapath.bit_mac == "tree":
        lanes = max(1, round(execution_.rate * operands.planes))
        flat = profile.array.unroll_rows == "K"
        words = -(-taps * channels // lanes) if flat else taps * -(-channels // lanes)
        return _tree(profile, lanes, operands, outputs * words * operands.planes)
    priced: Counter[str] = Counter()
    macs = outputs * taps * channels
    for action, count in mac_actions(operands, macs).items():
        for name, factor in action_prices(profile, action, operands.pair):
            priced[name] += factor * count
    return priced


def _tree(
    profile: HardwareProfile, lanes: int, operands: Operands, words: int
) -> Mapping[str, int]:
    full, half = popcount_adders(lanes)
    adders = full + -(-half // 2)  # a half adder is about half of a full one
    return {
        "gate.bit": lanes * words,
        "add.bit": (adders + operands.accumulator_bits) * words,
    }


def _serial(operands: Operands, outputs: int, fan_in: int) -> Mapping[str, int]:
    """Return what it takes to add the weight, as a word, once for each bit of the activation."""
    steps = outputs * fan_in * operands.act.bits
    width = operands.weight.bits + (fan_in - 1).bit_length()
    return {"gate.bit": steps * operands.weight.bits, "add.bit": steps * width}


def action_prices(
    profile: HardwareProfile, action: Action, pair: str = ""
) -> tuple[tuple[str, int], ...]:
    """Return the priced operations of one logical action, as (name in ``actions``, factor).

    Raises
    ------
    ProfileError
        If the profile has no price that fits, naming the action and the profile.
    """
    fixed = profile.datapath.accumulator
    adder = None if isinstance(fixed, str) else fixed.get(pair, fixed["default"])
    names = tuple(sorted(profile.actions))
    found = _prices(action, adder, names)
    if not found:
        place = f"profile {profile.name!r}: actions"
        rule = f"a price for {action}"
        raise ProfileError(message(place, ", ".join(names), rule, "Add it with a source."))
    return found


@lru_cache(maxsize=4096)
def _prices(
    action: Action, adder: str | None, names: tuple[str, ...]
) -> tuple[tuple[str, int], ...]:
    verb, dtype = action.verb, action.dtype
    if verb == "mac":
        chosen = [("gate.bit", 1), ("add.bit", 1)]
    elif verb == "gate" or (verb == "abs" and dtype.startswith(("float", "bfloat"))):
        chosen = [("gate.bit", 1)]  # the magnitude of a float: its sign bit is cleared
    elif verb == "pack":
        chosen = [("register.bit", 1)]
    elif verb in _SERIES:
        chosen = [(_at_least(kind, dtype, names), number) for kind, number in _SERIES[verb]]
    elif verb == "mul":
        chosen = [(_at_least("mul", dtype, names), 1)]
    elif dtype.startswith(("float", "bfloat")):
        chosen = [(_at_least("add", dtype, names), 1)]
    elif adder is None:
        chosen = [("add.bit", _bits(dtype))]
    else:
        chosen = [(_at_least("add", adder, names), 1)]
    return tuple(chosen) if all(name in names for name, _ in chosen) else ()


def _bits(dtype: str) -> int:
    return DType.parse(dtype).bits


def _at_least(verb: str, dtype: str, names: tuple[str, ...]) -> str:
    """Return the narrowest listed operation that is at least as wide, or an unlisted name."""
    if dtype.startswith(("float", "bfloat")):
        wider = (dtype, *_WIDER_FLOAT.get(dtype, ()))
    else:
        wider = tuple(f"int{n}" for n in _INTEGERS if n >= _bits(dtype))
    return next((f"{verb}.{d}" for d in wider if f"{verb}.{d}" in names), f"{verb}.{dtype}")
