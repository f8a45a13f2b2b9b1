from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch_nets import Do, assert_exact, batch_for, ops, run  # noqa: E402

from bnnsim.errors import SourceError  # noqa: E402
from bnnsim.frontends.torch_export import from_torch  # noqa: E402
from bnnsim.train.layers import BinaryConv2d, BinaryDense, InputEncoding, Sign  # noqa: E402


@pytest.fixture(autouse=True)
def _seeded(seed: int):
    torch.manual_seed(seed)


@pytest.mark.parametrize(
    "sign",
    [
        lambda x: torch.where(x >= 0, 1.0, -1.0),
        lambda x: torch.where(x >= 0, torch.ones_like(x), -torch.ones_like(x)),
        lambda x: torch.where(x < 0, -1.0, 1.0),
        lambda x: (x >= 0).float() * 2 - 1,
        lambda x: (x >= 0).float() - (x < 0).float(),
        lambda x: (torch.ops.bnnsim.sign(x) - x).detach() + x,
        lambda x: functional.hardtanh(x) + (torch.ops.bnnsim.sign(x) - functional.hardtanh(x)),
        lambda x: torch.ops.bnnsim.sign(functional.dropout(functional.hardtanh(x), 0.5, False)),
        lambda x: torch.where(torch.clamp(x, -1, 1) >= 0, 1.0, -1.0),
    ],
)
def test_forms_of_sign(sign) -> None:
    dense = BinaryDense(9, 16)
    graph = from_torch(nn.Sequential(InputEncoding(), dense, Do(sign)).eval(), (9,))
    plain = nn.Sequential(InputEncoding(), dense, Sign()).eval()
    assert ops(graph) == ["Encode", "Dense", "Quantize"]
    x, ours = batch_for(graph, (9,))
    with torch.no_grad():
        assert (run(graph, ours) == plain(x).numpy()).all()


@pytest.mark.parametrize(
    "sign",
    [
        torch.sign,
        lambda x: torch.where(x > 0, 1.0, -1.0),
        lambda x: torch.where(x <= 0, -1.0, 1.0),
        lambda x: (x > 0).float() - (x < 0).float(),
    ],
)
def test_sign_that_is_not_plus_at_zero_is_noted_or_refused(sign) -> None:
    module = nn.Sequential(BinaryDense(4, 3), Do(sign)).eval()
    graph = from_torch(module, (4,))
    (note,) = graph.meta["notes"]
    assert "a sign that is not +1 at 0; lowered to sign(0) = +1." in note
    assert run(graph, np.zeros((1, 4), np.float32)).tolist() == [[1, 1, 1]]
    with pytest.raises(SourceError, match=r"expected sign\(0\) = \+1\. Use torch\.where"):
        from_torch(module, (4,), sign_zero="error")
    with pytest.raises(SourceError, match=r"sign_zero: got 'maybe', expected one of plus, error"):
        from_torch(module, (4,), sign_zero="maybe")


@pytest.mark.parametrize(("above", "below"), [(1.0, 0.0), (-1.0, 1.0), (0.25, -3.0)])
def test_comparisons_with_other_outcomes_equal_torch(above: float, below: float) -> None:
    step = Do(lambda x: torch.where(x >= 0, above, below))
    graph = assert_exact(nn.Sequential(InputEncoding(), BinaryDense(9, 16), step), (9,))
    assert (str(graph.tensor(graph.outputs[0]).dtype) == "uint1") == (below == 0)


def test_other_comparisons_are_refused() -> None:
    same = Do(lambda x: torch.where(x >= 0, 2.0, 2.0))
    with pytest.raises(SourceError, match=r"got \[2\.0, 2\.0, 2\.0\], expected two outcomes that"):
        from_torch(nn.Sequential(BinaryDense(4, 3), same), (4,))
    with pytest.raises(SourceError, match=r"got 'aten\.ge\.Scalar with anything but 0'"):
        from_torch(nn.Sequential(BinaryDense(4, 3), Do(lambda x: (x >= 1).float())), (4,))


def test_float_layers_get_float_operands() -> None:
    module = nn.Sequential(InputEncoding(), nn.Linear(6, 5), Sign(), nn.Linear(5, 3))
    graph = from_torch(module.eval(), (6,))
    assert ops(graph) == ["Encode", "Cast", "Dense", "Bias", "Quantize", "Cast", "Dense", "Bias"]
    x, ours = batch_for(graph, (6,))
    with torch.no_grad():
        assert np.abs(run(graph, ours) - module(x).numpy()).max() < 1e-5


def test_scaled_weights_are_bits_and_a_scale() -> None:
    layer = nn.Linear(8, 3)
    layer.weight.data.sign_().mul_(torch.tensor([[0.5], [0.25], [2.0]]))
    layer.bias.data.copy_(torch.tensor([1.0, -2.0, 0.5]))
    graph = assert_exact(nn.Sequential(InputEncoding(), layer), (8,))
    assert ops(graph) == ["Encode", "Dense", "Scale", "Bias"]
    assert str(graph.tensor("dense1.weight").dtype) == "bit"
    assert graph.tensor("scale1.scale").data.tolist() == [0.5, 0.25, 2.0]
    assert any("weights are -a and +a" in note for note in graph.meta["notes"])


def test_ternary_weights() -> None:
    layer = nn.Conv2d(2, 3, 2, bias=False)
    layer.weight.data = torch.randint(-1, 2, layer.weight.shape).float()
    graph = assert_exact(nn.Sequential(InputEncoding(), layer), (2, 4, 4))
    assert str(graph.tensor("conv1.weight").dtype) == "ternary"


def test_weights_that_torch_computes_are_folded() -> None:
    class Ste(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.latent = nn.Parameter(torch.randn(4, 6))
            self.alpha = nn.Parameter(torch.tensor(0.5))

        def forward(self, x):
            clipped = self.latent.clamp(-1, 1)
            scaled = self.alpha * torch.sign(self.latent)
            weight = scaled.detach() - clipped.detach() + clipped
            return functional.linear(x.float(), weight)

    graph = assert_exact(Ste(), (6,))
    assert str(graph.tensor("dense1.weight").dtype) == "bit"
    assert any("straight-through" in note for note in graph.meta["notes"])


@pytest.mark.parametrize(
    "function",
    [
        lambda x, w, b: x @ w.T,
        lambda x, w, b: torch.mm(x, w.T),
        lambda x, w, b: torch.addmm(b, x, w.T),
        lambda x, w, b: torch.matmul(x, w.t()) + b,
        lambda x, w, b: b - functional.linear(x, w),
        lambda x, w, b: torch.rsub(functional.linear(x, w), b) * 4,
        lambda x, w, b: -functional.linear(x, w) - 3,
        lambda x, w, b: functional.linear(x, w, b) * b[None],
    ],
)
def test_forms_of_a_dense_layer(function) -> None:
    weight, bias = torch.randn(3, 5).sign(), torch.tensor([1.0, -7.0, 4.0])
    assert_exact(Do(lambda x: function(x.float(), weight, bias)), (5,))


def test_large_sums_are_noted() -> None:
    module = nn.Sequential(Do(lambda x: x.float() * 30000), BinaryDense(40, 2))
    (note,) = from_torch(module.eval(), (40,)).meta["notes"]
    assert "are exact here, rounded in torch" in note


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_must_be_finite(bad: float) -> None:
    layer = nn.Linear(4, 2)
    layer.weight.data[1, 2] = bad
    with pytest.raises(SourceError, match=r"got 'values that are not finite'.*Check the training"):
        from_torch(layer, (4,))


@pytest.mark.parametrize("affine", [True, False])
def test_torch_batch_norm(affine: bool) -> None:
    norm = nn.BatchNorm2d(4, affine=affine)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    module = nn.Sequential(InputEncoding(), BinaryConv2d(3, 4, 3), norm).eval()
    graph = from_torch(module, (3, 5, 5))
    x, ours = batch_for(graph, (3, 5, 5))
    with torch.no_grad():
        expected = module(x).numpy()
    # Two roundings differ in order: a few units in the last place of sums up to 27 * 255.
    assert np.abs(run(graph, ours) - expected).max() <= 2e-6 * np.abs(expected).max()
    assert "rounds in another order" in graph.meta["notes"][0]
    assert graph.nodes[-1].attrs["eps"] == 1e-5


@pytest.mark.parametrize(
    "tail",
    [
        nn.ReLU(),
        nn.ReLU(inplace=True),
        nn.ReLU6(),
        nn.Hardtanh(),
        nn.Hardtanh(-0.5, 2.5, inplace=True),
        Do(lambda x: x.clamp(min=-2)),
        Do(lambda x: x.clamp_max(3)),
        Do(lambda x: x.clamp_min(0)),
        Do(lambda x: x.detach().clone().contiguous().to(torch.float32)),
        nn.Dropout(0.3),
        nn.Identity(),
    ],
)
@pytest.mark.parametrize("after_sign", [False, True])
def test_elementwise_layers(tail: nn.Module, after_sign: bool) -> None:
    body = [BinaryDense(9, 6), Sign()] if after_sign else [BinaryDense(9, 6)]
    assert_exact(nn.Sequential(InputEncoding(), *body, tail, BinaryDense(6, 3)), (9,))


def test_clipping_stays_where_its_value_is_used() -> None:
    clip = nn.Hardtanh(-3, 3)
    module = nn.Sequential(InputEncoding(), BinaryDense(9, 6), clip, BinaryDense(6, 2))
    assert ops(assert_exact(module, (9,))) == ["Encode", "Dense", "Clip", "Dense"]


def test_dynamic_batch() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.dense = BinaryConv2d(3, 4, 3), BinaryDense(16, 2)

        def forward(self, x):
            return self.dense(self.conv(x.float() - 9).view(x.size(0), -1))

    net = Net().eval()
    x = torch.randint(0, 256, (4, 3, 4, 4), dtype=torch.uint8)
    with torch.no_grad():
        dims = ({0: torch.export.Dim("batch")},)
        program = torch.export.export(net, (x,), dynamic_shapes=dims, strict=False)
        expected = net(x).numpy()
    graph = from_torch(program, name="net")
    assert graph.name == "net"
    assert (run(graph, np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy())) == expected).all()


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch warns of its own code
def test_decomposed_programs_are_read_too() -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 3, 2, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(3), Sign(), nn.Flatten(),
        nn.Linear(12, 2),
    ).eval()  # fmt: skip
    module[0].weight.data.sign_()
    with torch.no_grad():
        program = torch.export.export(module, (torch.zeros(2, 1, 5, 5),), strict=False)
    graph = from_torch(program.run_decompositions())
    assert ops(graph) == [
        *("Conv2d", "MaxPool", "BatchNorm", "Quantize", "Flatten", "Cast", "Dense", "Bias")
    ]
    plain = from_torch(program)
    x = torch.randn(6, 5, 5, 1).numpy()
    assert (run(graph, x) == run(plain, x)).all()


@pytest.mark.parametrize("features", [2, 9, 256])
def test_a_constant_per_feature_is_no_function_of_the_pixel_alone(features: int) -> None:
    mean = torch.linspace(3, 250, features)
    module = nn.Sequential(Do(lambda x: x.float() - mean), Sign(), BinaryDense(features, 5))
    graph = from_torch(module.eval(), (features,))
    x, ours = batch_for(graph, (features,))
    with torch.no_grad():
        assert (run(graph, ours) == module(x).numpy()).all()


def test_a_module_for_floats_is_not_taken_for_one_of_pixels() -> None:
    module = nn.Sequential(Do(lambda x: torch.where(x >= 0, 1.0, -1.0)), BinaryDense(9, 5))
    graph = from_torch(module.eval(), (9,))
    assert str(graph.tensor("input").dtype) == "float32"
