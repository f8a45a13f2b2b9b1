"""Layers against integer arithmetic, batch norm against numpy, and what an export contains."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bnnsim.errors import InputError
from bnnsim.train.layers import BinaryConv2d, BinaryDense, Dropout, InputEncoding
from bnnsim.train.models import convnet, mlp
from bnnsim.train.norm import BatchNorm


def batch_norm_numpy(x, gamma, beta, mean, var, eps):
    """Evaluate the documented expression one float32 operation at a time."""
    shape = (1, -1) + (1,) * (x.ndim - 2)
    root = np.sqrt(var + np.float32(eps))
    scale = gamma / root
    centred = x - mean.reshape(shape)
    scaled = centred * scale.reshape(shape)
    return scaled + beta.reshape(shape)


def adversarial_channels(channels, seed):
    rng = np.random.default_rng(seed)
    gamma = rng.normal(size=channels).astype(np.float32)
    beta = rng.normal(size=channels).astype(np.float32)
    mean = (rng.normal(size=channels) * 10.0 ** rng.integers(-3, 5, channels)).astype(np.float32)
    var = (10.0 ** rng.uniform(-12, 9, channels)).astype(np.float32)
    gamma[:4] = [0.0, -0.0, 1e-38, -3e30]
    var[:4] = [0.0, 1e-45, 3e38, 1.0]
    beta[4:6] = [-0.0, 1e-45]
    return gamma, beta, mean, var


@pytest.mark.parametrize("shape", [(257, 131), (1, 64), (5, 129, 7, 3)])
@pytest.mark.parametrize("eps", [1e-4, 1e-5, 1e-3])
def test_eval_batch_norm_equals_numpy_float32_bit_for_bit(shape, eps):
    rng = np.random.default_rng(11)
    gamma, beta, mean, var = adversarial_channels(shape[1], seed=7)
    x = (rng.normal(size=shape) * 10.0 ** rng.integers(-6, 6, shape)).astype(np.float32)
    x[0] = mean.reshape((-1,) + (1,) * (len(shape) - 2))
    expected = batch_norm_numpy(x, gamma, beta, mean, var, eps)
    found = torch.ops.bnnsim.batch_norm(*map(torch.tensor, (x, gamma, beta, mean, var)), eps)
    assert (found.numpy().view(np.uint32) != expected.view(np.uint32)).sum() == 0


def test_eval_batch_norm_root_is_correctly_rounded():
    var = np.random.default_rng(6).uniform(0, 100, 1 << 14).astype(np.float32)
    zero, one = torch.zeros(len(var)), torch.ones(len(var))
    found = torch.ops.bnnsim.batch_norm(one[None], one, zero, zero, torch.tensor(var), 1e-4)
    root = np.sqrt((var + np.float32(1e-4)).astype(np.float64)).astype(np.float32)
    assert (found.numpy()[0] != np.float32(1) / root).sum() == 0


def test_training_batch_norm_moves_the_running_statistics_by_a_tenth():
    norm = BatchNorm(2)
    x = torch.tensor([[0.0, 10.0], [2.0, 30.0]])
    y = norm(x)
    assert norm.running_mean.tolist() == pytest.approx([0.1, 2.0])
    assert norm.running_var.tolist() == pytest.approx([0.9 + 0.1 * 2, 0.9 + 0.1 * 200])
    assert y[1].tolist() == pytest.approx([1 / np.sqrt(1.0001), 10 / np.sqrt(100.0001)])


@pytest.mark.parametrize("fan_in", [1, 63, 64, 65, 127, 784])
def test_dense_equals_integer_matmul_in_both_modes(fan_in):
    torch.manual_seed(fan_in)
    layer = BinaryDense(fan_in, 13)
    pixels = torch.randint(0, 256, (5, fan_in), dtype=torch.uint8)
    weight = np.where(layer.weight.detach().numpy() >= 0, 1, -1)
    expected = (2 * pixels.numpy().astype(np.int64) - 255) @ weight.T
    for training in (True, False):
        layer.train(training)
        scores = layer(InputEncoding()(pixels)).detach().numpy()
        assert np.array_equal(scores.astype(np.int64), expected)


def convolve_integers(x, weight, *, stride, padding, dilation, groups, pad_value):
    """Sum over taps, one output element at a time."""
    padded = np.pad(x, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2), constant_values=pad_value)
    count, per_group, size, _ = weight.shape
    reach = dilation * (size - 1) + 1
    side = (padded.shape[2] - reach) // stride + 1
    out = np.zeros((len(x), count, side, side), dtype=np.int64)
    for filter_, row, column in np.ndindex(count, side, side):
        first = filter_ // (count // groups) * per_group
        top, left = row * stride, column * stride
        window = padded[
            :,
            first : first + per_group,
            top : top + reach : dilation,
            left : left + reach : dilation,
        ]
        out[:, filter_, row, column] = (window * weight[filter_]).sum((1, 2, 3))
    return out


@pytest.mark.parametrize("pad_value", [-1, 0, 1])
@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"),
    [(1, 1, 1, 1), (2, 1, 1, 1), (1, 2, 2, 3), (2, 0, 1, 3), (3, 2, 1, 1)],
)
def test_conv_equals_integer_loops(pad_value, stride, padding, dilation, groups):
    torch.manual_seed(5)
    geometry = dict(
        stride=stride, padding=padding, dilation=dilation, groups=groups, pad_value=pad_value
    )
    layer = BinaryConv2d(9, 6, 3, **geometry)
    x = torch.randint(0, 2, (2, 9, 11, 11)) * 2 - 1
    weight = np.where(layer.weight.detach().numpy() >= 0, 1, -1)
    expected = convolve_integers(x.numpy(), weight, **geometry)
    for training in (True, False):
        layer.train(training)
        assert np.array_equal(layer(x.float()).detach().numpy().astype(np.int64), expected)


def test_conv_refuses_what_does_not_fit():
    with pytest.raises(InputError, match=r"pad_value: got 2, expected -1, 0 or \+1"):
        BinaryConv2d(3, 4, 3, pad_value=2)
    with pytest.raises(InputError, match=r"groups: got 2, expected a divisor of in_channels=3"):
        BinaryConv2d(3, 4, 3, groups=2)


def test_dropout_is_the_identity_in_eval_mode():
    x = torch.randn(3, 4)
    layer = Dropout(0.5)
    assert set((layer(torch.ones(1000))).tolist()) == {0.0, 2.0}
    assert layer.eval()(x) is x


def exported_ops(model, example):
    with torch.no_grad():
        program = torch.export.export(model.eval(), (example,), strict=False)
    calls = [str(n.target) for n in program.graph.nodes if n.op == "call_function"]
    return [name for name in calls if name != "aten._assert_tensor_metadata.default"]


ENCODE = ["aten.to.dtype", "aten.mul.Tensor", "aten.add.Tensor"]
DENSE = ["bnnsim.sign.default", "aten.linear.default", "bnnsim.batch_norm.default"]
CONV = ["bnnsim.sign.default", "aten.conv2d.default"]
POOL = ["aten.max_pool2d.default"]
NORM_SIGN = ["bnnsim.batch_norm.default", "bnnsim.sign.default"]


def test_mlp_exports_one_operator_per_step():
    model = mlp(hidden=16, input_dropout=0.2, hidden_dropout=0.3)
    found = exported_ops(model, torch.zeros(2, 784, dtype=torch.uint8))
    assert found == ENCODE + [*DENSE, "bnnsim.sign.default"] * 3 + DENSE


def test_convnet_exports_convolution_pool_norm_sign():
    model = convnet(width=4, dense=8, image_size=16)
    found = exported_ops(model, torch.zeros(2, 3, 16, 16, dtype=torch.uint8))
    pair = CONV + NORM_SIGN + CONV + POOL + NORM_SIGN
    dense = [*DENSE, "bnnsim.sign.default"] * 2 + DENSE
    assert found == ENCODE + pair * 3 + ["aten.flatten.using_ints"] + dense


def test_networks_have_the_published_sizes():
    def weights(model):
        binary = (BinaryDense, BinaryConv2d)
        return sum(m.weight.numel() for m in model.modules() if isinstance(m, binary))

    assert weights(mlp()) == 784 * 2048 + 2 * 2048 * 2048 + 2048 * 10
    assert round(weights(convnet()) / 1e6, 3) == 14.022
    assert round(weights(convnet(width=64)) / 1e6, 3) == 6.398
