"""Activity on packed words against plain loops over unpacked bits, as the docstrings define it."""

from __future__ import annotations

import numpy as np
import pytest
from nets import Builder, mlp

from bnnsim.engine.activity import ActivityCounter, ones_per_channel
from bnnsim.engine.dispatch import available_isas
from bnnsim.engine.execute import Plan
from bnnsim.engine.reference import execute
from bnnsim.graph import bits
from bnnsim.graph.draws import Draws
from bnnsim.graph.dtypes import BIT, DType
from bnnsim.graph.ops import normal_attrs
from bnnsim.passes.lower import lower
from bnnsim.passes.stochastic import stochastic

WIDTHS = (1, 63, 64, 65, 127, 128, 129, 211)


def watched(graph, x, *, threads=1, isa="auto", tile=None, samples=None):
    """Run and return the counter."""
    plan = Plan(graph, isa=isa, threads=threads)
    plan._tile = tile or plan._tile
    counter = ActivityCounter(graph)
    for sample in range(samples or 1):
        draws = None if samples is None else Draws(3, sample)
        plan.run(x, watch=counter, draws=draws)
    return counter


def digits(values, dtype):
    """Return the bits of a tensor, one array of 0 and 1 per digit; none where it has no bits."""
    if dtype == BIT:
        return [values > 0]
    if dtype.kind == "ternary":
        return [values > 0, values != 0]
    if dtype.kind == "unsigned":
        return [values // 2**digit % 2 == 1 for digit in range(dtype.bits)]
    return []


def product_toggles(x, weight, attrs):
    """Walk every output pixel, form every product bit, and compare with the pixel before."""
    if x.ndim == 2:
        x, weight = x[:, None, None, :], weight[:, None, None, :]
    attrs = {"pads": (0,) * 4, "stride": (1, 1), "dilation": (1, 1), "groups": 1, "pad_value": 0,
             **attrs}  # fmt: skip
    (top, left, bottom, right), groups = attrs["pads"], attrs["groups"]
    (sy, sx), (dy, dx) = attrs["stride"], attrs["dilation"]
    n_out, height, width, channels = weight.shape
    rows = (x.shape[1] + top + bottom - (height - 1) * dy - 1) // sy + 1
    columns = (x.shape[2] + left + right - (width - 1) * dx - 1) // sx + 1
    before, changed, compared = {}, 0, 0
    for image in x:
        for i, j in np.ndindex(rows, columns):
            now = {}
            for o, r, s, c in np.ndindex(n_out, height, width, channels):
                y, z = i * sy + r * dy - top, j * sx + s * dx - left
                inside = 0 <= y < x.shape[1] and 0 <= z < x.shape[2]
                if not inside and attrs["pad_value"] == 0:
                    continue
                channel = o // (n_out // groups) * channels + c
                a = image[y, z, channel] if inside else attrs["pad_value"]
                now[o, r, s, c] = bool(a == weight[o, r, s, c])
            both = now.keys() & before.keys()
            changed += sum(now[k] != before[k] for k in both)
            compared += len(both)
            before = now
    return changed, compared


def check(graph, x, counter, values=None):
    """Hold everything that a counter has seen against plain numpy on the reference's tensors."""
    values = execute(graph, x) if values is None else values
    found = {t.tensor: t for t in counter.tensors()}
    expected = {name for name, v in values.items() if digits(v[:1], graph.tensor(name).dtype)}
    assert set(found) == expected
    for name, tensor in found.items():
        planes = digits(values[name], graph.tensor(name).dtype)
        assert tensor.bits == len(planes)
        flat = [p.reshape(-1, p.shape[-1]) for p in planes]
        assert np.array_equal(tensor.ones, [p.sum(axis=0) for p in flat])
        assert tensor.observed == len(flat[0])
        constant = np.all([(p == p[:1]).all(axis=0) for p in flat], axis=0)
        assert tensor.constant_channels == constant.sum()
        assert np.allclose(tensor.p_one, np.mean(flat, axis=(0, 1)), rtol=1e-12)
        by_image = [p[1:] != p[:-1] for p in planes]
        assert tensor.successive.changed == sum(int(d.sum()) for d in by_image)
        assert tensor.successive.compared == sum(d.size for d in by_image)
        rows = [p[:, :, 1:] != p[:, :, :-1] for p in planes if p.ndim == 4]
        assert tensor.adjacent.changed == sum(int(d.sum()) for d in rows)
        assert tensor.adjacent.compared == sum(d.size for d in rows)
    products = {p.name: p.changes for p in counter.products()}
    for node in graph.nodes:
        if node.op not in ("Dense", "Conv2d"):
            continue
        weight = graph.tensor(node.inputs[1])
        is_bits = graph.activation(node).dtype == weight.dtype == BIT
        assert (node.name in products) == is_bits
        if is_bits:
            changes = products[node.name]
            toggles = product_toggles(values[node.inputs[0]], weight.data, normal_attrs(node))
            assert (changes.changed, changes.compared) == toggles


@pytest.mark.parametrize("seed", [0, 1])
def test_mlp_equals_plain_loops(seed):
    net = lower(mlp(seed, widths=(65, 33, 10)))
    x = np.random.default_rng(seed).integers(0, 256, (9, 63), np.uint8)
    check(net, x, watched(net, x, tile=4))


def small_convnet(seed):
    """Return bits under every pad value, groups, strides, dilation, a pool, and a Dense of bits."""
    net = Builder((6, 5, 3), seed=seed).encode()
    net.conv(5, pads=(1, 1, 1, 1)).batch_norm(200).sign()
    net.conv(4, pads=(1, 0, 2, 1), pad_value=-1).batch_norm().sign()
    net.conv(6, (2, 3), pads=(1, 1, 0, 1), pad_value=1, groups=2, dilation=(2, 1))
    net.pool().batch_norm().sign()
    net.conv(4, (2, 1), stride=(2, 1), pads=(1, 0, 1, 0), groups=2).batch_norm().sign()
    return lower(net.add("Flatten").dense(7).batch_norm().sign().dense(3).graph())


@pytest.mark.parametrize("isa", available_isas())
def test_convolutions_equal_plain_loops(isa):
    net = small_convnet(2)
    x = np.random.default_rng(1).integers(0, 256, (3, 6, 5, 3), np.uint8)
    check(net, x, watched(net, x, isa=isa, tile=2))


@pytest.mark.parametrize("channels", WIDTHS)
def test_padded_ragged_convolutions_equal_plain_loops(channels):
    rng = np.random.default_rng(channels)
    net = Builder((4, 3, channels), seed=channels).encode_bits()
    pads, pad_value = tuple(rng.integers(0, 3, 4)), int(rng.integers(-1, 2))
    net.conv(2, (2, 2), pads=tuple(map(int, pads)), pad_value=pad_value, stride=(1, 2))
    graph = net.batch_norm().sign().graph()
    x = net.batch(3)
    check(lower(graph), x, watched(lower(graph), x, tile=1))


def test_kbit_and_ternary_activations_count_their_digits():
    net = Builder((5, 6, 4), seed=3)
    weight = net.rng.integers(-7, 8, (3, 2, 2, 4))
    net.add("Conv2d", {"weight": (weight, DType("signed", 4))}).thresholds(3, "uint2", 0, 4000)
    weight = net.rng.integers(-7, 8, (3, 1, 1, 3))
    net.add("Conv2d", {"weight": (weight, DType("signed", 4))}).thresholds(2, "ternary", -1, 9)
    graph, x = lower(net.graph()), net.batch(5)
    assert [t.bits for t in watched(graph, x).tensors()] == [8, 2, 2]
    check(graph, x, watched(graph, x, tile=2))


@pytest.mark.parametrize(("threads", "tile"), [(1, 1), (1, 5), (3, 2), (4, 1)])
def test_tiles_and_threads_do_not_matter(threads, tile):
    net = small_convnet(1)
    x = np.random.default_rng(7).integers(0, 256, (11, 6, 5, 3), np.uint8)
    whole, parts = watched(net, x), watched(net, x, threads=threads, tile=tile)
    assert parts.products() == whole.products()
    for one, other in zip(whole.tensors(), parts.tensors(), strict=True):
        assert np.array_equal(one.ones, other.ones)
        assert (one.observed, one.adjacent, one.successive) == (
            other.observed, other.adjacent, other.successive
        )  # fmt: skip


def test_samples_add_up_and_never_meet():
    graph = lower(stochastic(mlp(0), bits=4))
    x = np.random.default_rng(2).integers(0, 256, (7, 63), np.uint8)
    both = watched(graph, x, tile=3, samples=2)
    plan = Plan(graph)
    for tensor in both.tensors():
        runs = [plan.run(x, keep=[tensor.tensor], draws=Draws(3, s))[tensor.tensor] for s in (0, 1)]
        planes = [digits(run, graph.tensor(tensor.tensor).dtype) for run in runs]
        changed = sum(int((p[1:] != p[:-1]).sum()) for run in planes for p in run)
        assert tensor.successive.changed == changed
        assert tensor.observed == 14
    for streams in (both._images._edges, both._products._edges):
        assert {place for *_, place in streams} == {0, 7}  # no edge between two tiles is kept
    drawn = [t for t in both.tensors() if t.name != "input"]
    assert drawn
    assert both.products()


def test_one_image_has_no_successor():
    net = lower(mlp(0))
    counter = watched(net, np.zeros((1, 63), np.uint8))
    (first, *_) = counter.tensors()
    assert (first.successive.compared, first.successive.fraction) == (0, None)
    assert counter.products()[0].changes.fraction is None


@pytest.mark.parametrize("rows", [1, 254, 255, 256, 511, 1000])
@pytest.mark.parametrize("channels", [1, 64, 65])
def test_ones_per_channel_never_overflow_a_byte(rows, channels):
    values = np.random.default_rng(rows).choice(np.array([-1, 1, 1, 1], np.int8), (rows, channels))
    values[:, 0] = 1
    assert np.array_equal(ones_per_channel(bits.pack(values), channels), (values > 0).sum(axis=0))
