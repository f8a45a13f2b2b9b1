"""torch operators of residual networks: sums of two activations, averages, slices, channel pads.

They join the operators of ``aten.py``; images are (C, H, W) here and (H, W, C) in the graph.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bnnsim.frontends.aten import HANDLERS, Handler, pool_pads, unsupported
from bnnsim.frontends.importer import (
    Activation,
    Call,
    HalfMean,
    Importer,
    Sliced,
    is_symbolic,
    pair_of,
)

__all__ = ["HANDLERS"]

_AXIS_OF_DIM = {1: 2, 2: 0, 3: 1}  # torch's channels, height and width in (H, W, C)
_constant_sum: Handler = HANDLERS["aten.add"]
_constant_difference: Handler = HANDLERS["aten.sub"]
_border: Handler = HANDLERS["aten.pad"]


def _sum(im: Importer, call: Call) -> Activation:
    """Lower the sum of two activations; a constant summand is a bias."""
    operands = [call.args["self"], call.args["other"]]
    if not all(map(is_symbolic, operands)):
        plain: Activation = _constant_sum(im, call)
        return plain
    if call.args.get("alpha", 1) != 1 or call.dtype != "torch.float32":
        raise unsupported(im, call.place, f"{call.op} that is not plain float32")
    a, b = (im.activation(value, call.place) for value in operands)
    require_alike(im, call, a, b)
    if not (im.dtype(a).is_integer and im.dtype(b).is_integer):
        a, b = im.floats(a, call.place), im.floats(b, call.place)
    return im.add("Add", a, label="add", also=(b.tensor,))


def require_alike(im: Importer, call: Call, a: Activation, b: Activation) -> None:
    """Raise SourceError unless two activations have one shape and one order of features."""
    if a.shape != b.shape:
        raise im.refused(call.place, f"{call.op} of {a.shape} and {b.shape}", "one shape")
    orders = [x.order for x in (a, b) if x.order is not None]
    if len(orders) == 1 or (len(orders) == 2 and (orders[0] != orders[1]).any()):
        got = f"{call.op} of features in two orders"
        remedy = "Add before flattening."
        raise im.refused(call.place, got, "two flattened images of one shape", remedy)


def _average(im: Importer, call: Call, **attrs: Any) -> Activation:
    """Append an average over windows, or over the image where no kernel is given."""
    x = im.floats(call.first, call.place)
    if len(x.shape) != 3:
        raise im.refused(call.place, (im.batch, *x.shape), "(N, C, H, W)")
    im.note_average()
    op = "AvgPool" if attrs else "GlobalAvgPool"
    tensor = im.builder.add(op, x.tensor, label="pool", **attrs)
    height, width, channels = im.builder.tensor(tensor).shape
    return Activation(tensor, (channels, height, width))


def _avg_pool(im: Importer, call: Call) -> Activation:
    args = call.args
    kernel, padding = pair_of(args["kernel_size"]), pair_of(args["padding"])
    stride = pair_of(args["stride"]) if args["stride"] else kernel
    size = im.activation(call.first, call.place).shape
    pads = pool_pads(size, call.shape, kernel, stride, padding)
    counted = bool(args["count_include_pad"]) and any(padding)
    if args["divisor_override"] is not None or (counted and pads != padding * 2):
        what = f"{call.op} with divisor_override, or with ceil_mode and counted padding"
        raise unsupported(im, call.place, what)
    window = {"kernel": kernel, "stride": stride, "pads": pads}
    return _average(im, call, **window, count_include_pad=counted)


def _adaptive_avg_pool(im: Importer, call: Call) -> Activation:
    size = tuple(im.activation(call.first, call.place).shape[1:])
    wanted = pair_of(call.args["output_size"])
    if wanted == (1, 1):
        return _average(im, call)
    if any(s % w for s, w in zip(size, wanted, strict=True)):
        rule = f"an output size that divides the image's {size}"
        raise im.refused(call.place, wanted, rule)
    kernel = (size[0] // wanted[0], size[1] // wanted[1])
    return _average(im, call, kernel=kernel, stride=kernel)


def _mean(im: Importer, call: Call) -> Any:
    """Lower the mean over height and width, at once or one after the other."""
    half = isinstance(call.first, HalfMean)
    rank = 3 if half else 4
    dims = sorted(d % rank for d in call.args["dim"] or ())
    if half and dims == [2] and not call.args["keepdim"]:
        call, dims = replace(call, args={**call.args, "self": call.first.inner}), [2, 3]
    if dims in ([2], [3]) and not call.args["keepdim"] and call.args.get("dtype") is None:
        return HalfMean(im.floats(call.first, call.place))
    if dims != [2, 3] or call.args.get("dtype") is not None:
        raise unsupported(im, call.place, f"{call.op} other than over height and width")
    pooled = _average(im, call)
    if call.args["keepdim"]:
        return pooled
    flat = im.builder.add("Flatten", pooled.tensor, label="flatten")
    return Activation(flat, call.shape)


def _slice(im: Importer, call: Call) -> Any:
    """Lower one axis of x[..., start:stop:step]; axes that follow one another join."""
    args, source = call.args, call.first
    x = source if isinstance(source, Sliced) else _whole(im, call)
    rank = 1 + (len(x.inner.shape) if isinstance(x, Sliced) else len(x.shape))
    dim = int(args["dim"]) % rank
    start, stop = int(args["start"] or 0), args["end"]
    step = int(args["step"])
    whole = start == 0 and step == 1 and (stop is None or int(stop) == 2**63 - 1)
    if whole:
        return source
    if dim == 0 or not isinstance(x, Sliced):
        rule = "a slice of the height, width or channels of an image"
        raise im.refused(call.place, f"{call.op} along axis {dim}", rule)
    axis = _AXIS_OF_DIM[dim]
    size = -(-(x.stop[axis] - x.start[axis]) // x.step[axis])
    first, last, _ = slice(start, None if stop is None else int(stop)).indices(size)
    if first >= last:
        raise im.refused(call.place, f"{call.op} of no element", "a slice of at least one element")
    return replace(
        x,
        start=_with(x.start, axis, x.start[axis] + first * x.step[axis]),
        stop=_with(x.stop, axis, min(x.stop[axis], x.start[axis] + last * x.step[axis])),
        step=_with(x.step, axis, x.step[axis] * step),
    )


def _whole(im: Importer, call: Call) -> Sliced | Activation:
    """Return an image as the slice that leaves nothing out, anything else as it is."""
    x = im.activation(call.first, call.place)
    if len(x.shape) != 3:
        return x
    channels, height, width = x.shape
    return Sliced(x, (0, 0, 0), (height, width, channels), (1, 1, 1))


def _split(im: Importer, call: Call) -> list[Any]:
    """Lower an image's channels, rows or columns in parts, each a slice."""
    name = "split_sizes" if "split_sizes" in call.args else "split_size"
    sizes = call.args.get(name, call.args.get("chunks"))
    dim = int(call.args.get("dim", 0))
    extent = (0, *im.activation(call.first, call.place).shape)[dim]
    if call.kind == "chunk":
        sizes = -(-extent // int(sizes))
    if not isinstance(sizes, list):
        sizes = [int(sizes)] * -(-extent // int(sizes))
    parts, start = [], 0
    for size in sizes:
        args = {"self": call.first, "dim": dim, "start": start, "end": start + size, "step": 1}
        parts.append(_slice(im, replace(call, args=args)))
        start += size
    return parts


def _with(values: tuple[int, int, int], axis: int, value: int) -> tuple[int, int, int]:
    changed = list(values)
    changed[axis] = value
    return (changed[0], changed[1], changed[2])


def _pad(im: Importer, call: Call) -> Any:
    """Lower zero channels beside those of an image; a border joins the next convolution."""
    pads = [int(p) for p in call.args["pad"]]
    if len(pads) != 6:
        return _border(im, call)
    plain = call.args.get("mode", "constant") == "constant" and not call.args.get("value")
    x = im.activation(call.first, call.place)
    if not plain or any(pads[:4]) or min(pads) < 0 or len(x.shape) != 3:
        raise unsupported(im, call.place, f"{call.op} other than zero channels or a border")
    if im.dtype(x).kind == "bipolar":
        x = im.floats(x, call.place)
    before, after = pads[4:]
    tensor = im.builder.add("PadChannels", x.tensor, label="widen", before=before, after=after)
    return Activation(tensor, call.shape)


def _difference(im: Importer, call: Call) -> Activation:
    """Lower the difference of two activations as a sum with the negative, which is exact."""
    a, b = call.args["self"], call.args["other"]
    if not (is_symbolic(a) and is_symbolic(b)):
        plain: Activation = _constant_difference(im, call)
        return plain
    if call.kind == "rsub":
        a, b = b, a
    negative = im.scaled(im.activation(b, call.place), -1.0)
    return _sum(im, replace(call, args={**call.args, "self": a, "other": negative}))


HANDLERS.update(
    {
        "aten.add": _sum,
        "aten.sub": _difference,
        "aten.rsub": _difference,
        "aten.avg_pool2d": _avg_pool,
        "aten.adaptive_avg_pool2d": _adaptive_avg_pool,
        "aten.mean": _mean,
        "aten.slice": _slice,
        **dict.fromkeys(("aten.split", "aten.split_with_sizes", "aten.chunk"), _split),
        "aten.pad": _pad,
        "aten.constant_pad_nd": _pad,
    }
)
