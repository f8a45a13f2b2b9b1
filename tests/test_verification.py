"""Comparing with other executors: tolerance of floats, never of integers, and ties."""

from __future__ import annotations

import numpy as np
import pytest
from nets import Builder

import bnnsim
from bnnsim.errors import InputError
from bnnsim.graph.dtypes import BIT, FLOAT32
from bnnsim.report.network import verify_blocks


@pytest.fixture
def linear():
    net = Builder((63,), dtype=FLOAT32)
    net.add("Dense", {"weight": (np.random.default_rng(0).normal(size=(5, 63)), FLOAT32)})
    return net.graph()


@pytest.fixture
def x():
    return np.random.default_rng(1).normal(size=(300, 63)).astype(np.float32)


def test_floats_may_be_apart_by_a_share_of_the_largest(linear, x):
    outputs = bnnsim.run(linear, x).outputs
    outputs[299, 4] = -64.0  # the largest, in another tile than what differs
    exact = np.array(outputs)
    exact[0] += np.float32(2**-7)
    allowed = np.abs(exact[0] - outputs[0]).max() / 64

    def wrong(tolerance):
        result = bnnsim.verify(linear, x, against=exact, tolerance=tolerance)
        return [layer.mismatches for layer in result.layers], result

    assert wrong(0.0)[0] == [6]
    assert wrong(float(allowed) * 1.01)[0] == [1]
    assert wrong(float(allowed) / 1.01)[0] != [1]
    exact[299, 4] = bnnsim.run(linear, x).outputs[299, 4]
    found, result = wrong(1e-1)
    assert (found, result.ok) == ([0], True)
    assert result.layers[0].max_abs_difference > 0  # told although allowed
    assert result.to_dict()["tolerance"] == 1e-1
    head = verify_blocks(result.to_dict())[0]
    assert head.endswith("(floats within 0.1 x the largest, integers and bits by ==)")


def test_integers_and_nan_have_no_tolerance(linear, x):
    net = Builder((63,), seed=2)
    net.add("Dense", {"weight": (np.where(np.eye(5, 63) > 0, 1.0, -1.0), BIT)})
    graph, images = net.graph(), net.batch(20)
    outputs = bnnsim.run(graph, images).outputs
    assert outputs.dtype.kind == "i"
    outputs[3, 2] += 1
    for stored in (outputs, outputs.astype(np.float32)):
        result = bnnsim.verify(graph, images, against=stored, tolerance=0.99)
        assert [layer.mismatches for layer in result.layers] == [1]
    floats = bnnsim.run(linear, x).outputs
    floats[7, 1], floats[8, 1] = np.nan, np.inf
    result = bnnsim.verify(linear, x, against=floats, tolerance=0.99)
    assert [layer.mismatches for layer in result.layers] == [2]


@pytest.mark.parametrize("tolerance", [-1e-9, 1.0, float("nan"), float("inf"), True, "1e-5"])
def test_a_tolerance_is_a_share(linear, x, tolerance):
    with pytest.raises(InputError, match=r"tolerance: got .*, expected a number from 0 to below 1"):
        bnnsim.verify(linear, x, against=x[:, :5], tolerance=tolerance)


def test_the_reference_has_no_tolerance(linear, x):
    with pytest.raises(InputError, match="expected 0: the engine equals the reference exactly"):
        bnnsim.verify(linear, x, tolerance=1e-5)
    (head, *_) = verify_blocks(bnnsim.verify(linear, x).to_dict())
    assert head.endswith("300 images (by ==)")


def test_floats_of_torch_are_judged_within_a_stated_share_by_default(rng):
    """A batch norm's last bit is no difference; a sign or an integer off by one is."""
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.Linear(63, 40), torch.nn.BatchNorm1d(40)).eval()
    graph = bnnsim.load(net, input_shape=(63,))
    x = rng.standard_normal((200, 63)).astype(np.float32)
    result = bnnsim.verify(graph, x, against=net)
    assert (result.ok, result.tolerance) == (True, 1e-5)
    assert 0 < result.layers[0].max_abs_difference < 1e-4
    head, *_ = verify_blocks(result.to_dict())
    assert head.endswith("(floats within 1e-05 x the largest, integers and bits by ==)")
    exact = bnnsim.verify(graph, x, against=net, tolerance=0.0)
    assert not exact.ok
    assert exact.layers[0].mismatches > 0

    class Off(torch.nn.Module):
        def forward(self, x):
            y = torch.where(x >= 0, 1.0, -1.0)
            return torch.where(x == x[0, 0], -y, y)

    class Sign(torch.nn.Module):
        def forward(self, x):
            return torch.where(x >= 0, 1.0, -1.0)

    graph = bnnsim.load(Sign(), input_shape=(63,))
    result = bnnsim.verify(graph, x, against=Off())
    assert (result.ok, result.layers[0].mismatches) == (False, 1)


def test_ties_are_named_where_classes_differ():
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = torch.nn.Linear(4, 2, bias=False)
            self.last.weight.data = torch.tensor([[1.0, 1, 1, 1], [-1, -1, -1, 1.5]])

        def forward(self, x):
            return self.last(torch.sign(x))

    module = Net()
    graph = bnnsim.load(module, input_shape=(4,))
    x = np.array([[0, -1, -2, 1], [0, 0, 0, 1], [-1, -1, -1, -1]], np.float32)
    x[1] = [0, 0, -1, -1]
    same = bnnsim.verify(graph, x[2:], against=module)
    assert same.ok
    result = bnnsim.verify(graph, x, against=module)
    assert (result.ties, result.ok, result.finding) == (3, False, None)
    rows = {layer.name: (layer.mismatches, layer.explained, layer.ties) for layer in result.layers}
    assert rows == {"sign": (3, 3, 3), "scale1": (4, 4, 0), "output": (4, 4, 0)}
    said = [str(getattr(block, "text", block)) for block in verify_blocks(result.to_dict())]
    cause = [line for line in said if "every difference follows from a tie: 3 elements" in line]
    assert len(cause) == 1
    assert result.argmax_agreement < 1
