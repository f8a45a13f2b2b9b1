from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch_nets import Do  # noqa: E402

from bnnsim.errors import SourceError  # noqa: E402
from bnnsim.frontends.torch_export import from_torch  # noqa: E402
from bnnsim.train.layers import BinaryConv2d, BinaryDense  # noqa: E402


@pytest.fixture(autouse=True)
def _seeded(seed: int):
    torch.manual_seed(seed)


def _write_a_column(x):
    x[:, 0] = 1.0
    return x


def after_dense(function) -> nn.Module:
    return nn.Sequential(BinaryDense(4, 6), Do(function)).eval()


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (
            lambda x: x.erf(),
            r"'erf' at torch_nets\.py:\d+: got 'aten\.erf",
        ),
        (lambda x: x / x, r"got 'aten\.div\.Tensor of two activations'"),
        (lambda x: torch.add(x, x, alpha=2), r"got 'aten\.add\.Tensor that is not plain float32'"),
        (lambda x: x + x[:, :1], r"got 'aten\.slice\.Tensor along axis 1', expected a slice of"),
        (lambda x: x.mean(1), r"got 'aten\.mean\.dim other than over height and width'"),
        (lambda x: functional.linear(x, x), r"got 'aten\.linear\.default of two activations'"),
        (lambda x: x.view(3, 4), r"got \('3', '4'\), expected a result whose first axis"),
        (lambda x: x.view(2, 2, 3), r"got 'channels viewed as groups', expected a tr"),
        (lambda x: x.double(), r"got 'torch\.float64', expected float32 throughout"),
        (lambda x: functional.pad(x, (1, 1)), r"other than a constant border of an image"),
        (lambda x: x.chunk(2, 1)[0], r"got 'aten\.chunk"),
        (lambda x: functional.dropout(x, 0.5, True), r"got 'dropout', expected eval mode"),
        (lambda x: x + torch.rand(6), r"got 'aten\.rand"),
        (lambda x: (torch.relu_(x.view(-1)), x)[1], r"'aten\.relu_\.default', expected no use of"),
        (_write_a_column, r"'aten\.fill_\.Tensor', expected no use of its operand after"),
        (lambda x: x * torch.arange(12.0).view(2, 6), r"expected a scalar or one value per chann"),
        (lambda x: torch.zeros(2), r"output: got '1 values', expected one output that depends"),
        (lambda x: (x, x), r"output: got '2 values'"),
    ],
)
def test_refusals_name_the_place(function, expected: str) -> None:
    with pytest.raises(SourceError, match=expected):
        from_torch(after_dense(function), (4,))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: functional.pad(x, (1, 1), value=0.5), r"got 0\.5, expected a padding value of"),
        (lambda x: functional.pad(x, (-1, 1)), r"constant_pad_nd|that crops"),
        (
            lambda x: functional.pad(x, (1, 1, 1, 1), mode="circular"),
            r"other than a constant border",
        ),
        (lambda x: torch.relu(functional.pad(x, (1, 1))), r"expected a convolution right after"),
        (lambda x: functional.max_pool2d(x, 2, dilation=2), r"max_pool2d\.default with dilation"),
        (
            lambda x: functional.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
            r"aten\.avg_pool2d\.default with",
        ),
        (
            lambda x: x.view(-1, 2, 1, 6, 5).transpose(2, 3).reshape(x.shape),
            r"transpose\.int other than of groups",
        ),
        (
            lambda x: x.view(-1, 2, 1, 6, 5).reshape(-1, 1, 2, 6, 5).reshape(x.shape),
            r"got \(1, 2, 6, 5\), expected the view back to \(2, 6, 5\)",
        ),
        (
            lambda x: torch.cat([x[:, :1], torch.ones(2, 1, 6, 5)], 1),
            r"cat\.default other than of the chann",
        ),
        (lambda x: torch.cat([x, x], 2), r"cat\.default other than of the channels of activations"),
        (lambda x: functional.prelu(x, x.mean((0, 2, 3))), r"mean\.dim"),
        (lambda x: x.softmax(3), r"softmax\.int other than over channels"),
        (lambda x: functional.adaptive_avg_pool2d(x, 4), r"got \(4, 4\), .* divides .*\(6, 5\)"),
        (lambda x: x + x[:, :1], r"of \(2, 6, 5\) and \(1, 6, 5\)', expected one shape"),
        (
            lambda x: functional.conv_transpose2d(x, torch.ones(2, 2, 2, 2)),
            r"got 'aten\.conv_transpose2d",
        ),
        (lambda x: x.transpose(2, 3), r"got 'aten\.transpose"),
    ],
)
def test_refusals_of_image_operators(function, expected: str) -> None:
    module = nn.Sequential(Do(function), BinaryConv2d(2, 3, 2)).eval()
    with pytest.raises(SourceError, match=expected):
        from_torch(module, (2, 6, 5), example=torch.zeros(2, 2, 6, 5))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x[:, :, 4:2], r"slice\.Tensor of no element', expected a slice of at least one"),
        (lambda x: x[:1], r"got \('1', '2', '6', '5'\), expected a result whose first axis"),
        (lambda x: functional.pad(x, (1, 0, 0, 0, 0, 1)), r"other than zero channels or a border"),
        (lambda x: functional.pad(x, (0, 0, 0, 0, 0, 1), value=1), r"other than zero channels or"),
        (lambda x: x.flatten(1) + x.permute(0, 2, 3, 1).flatten(1), r"got 'aten\.permute"),
    ],
)
def test_refusals_of_slices_and_channel_pads(function, expected: str) -> None:
    with pytest.raises(SourceError, match=expected):
        from_torch(Do(function), example=torch.zeros(2, 2, 6, 5))


def test_padding_values_do_not_mix() -> None:
    module = nn.Sequential(nn.ConstantPad2d(1, 1.0), nn.Conv2d(2, 3, 2, padding=1))
    with pytest.raises(SourceError, match=r"no zero padding on top of another padding value"):
        from_torch(module, (2, 4, 4))


def test_dense_layer_needs_vectors() -> None:
    with pytest.raises(SourceError, match=r"expected \(N, features\): flatten images first"):
        from_torch(BinaryDense(5, 3), (2, 4, 5))


def test_batch_statistics_are_refused() -> None:
    class Net(nn.Module):
        def forward(self, x):
            return functional.batch_norm(x, None, None, training=True)

    with pytest.raises(SourceError, match=r"got 'batch statistics', .* Call module\.eval\(\)"):
        from_torch(Net(), (4,), example=torch.zeros(2, 4))


def test_inputs_must_be_one_tensor_of_a_known_type() -> None:
    with pytest.raises(SourceError, match=r"inputs: got \['x: torch\.int64'\], expected one"):
        from_torch(Do(lambda x: x.float()), example=torch.zeros(2, 4, dtype=torch.int64))
    with pytest.raises(SourceError, match=r"got 'no input shape', .* an example\. Give --input"):
        from_torch(nn.Linear(2, 2))
    with pytest.raises(SourceError, match=r"expected \(N, features\) or \(N, C, H, W\)"):
        from_torch(Do(lambda x: x.float()), example=torch.zeros(2))


def test_failed_export_is_reported_and_the_mode_restored() -> None:
    module = nn.Linear(4, 2).train()
    with pytest.raises(SourceError, match=r"Linear: got 'torch\.uint8: .*; torch\.float32: "):
        from_torch(module, (5,))
    assert module.training
