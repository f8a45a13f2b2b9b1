"""XNOR-Net's formula in torch's float64 convolutions, and what float32 rounding may add to it."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

# Float32 roundings between the exact formula and the twin: K, alpha, and the two products. Each is
# at most half a unit in the last place, and the sum of signs is exact.
ROUNDING = 4 * 2.0**-24 * (1 + 1e-6)


def paper_conv(x: np.ndarray, weight: np.ndarray, *, k: bool = True, **window) -> np.ndarray:
    """Return ``(sign(I) conv sign(W)) . K alpha`` in float64: I (N, H, W, C), W (n, r, s, C)."""
    stride, dilation, groups = window["stride"], window["dilation"], window["groups"]
    top, left, bottom, right = window["pads"]
    image = torch.tensor(x, dtype=torch.float64).permute(0, 3, 1, 2)
    filters = torch.tensor(weight, dtype=torch.float64).permute(0, 3, 1, 2)
    border = (left, right, top, bottom)

    def conv(data, kernels, groups):
        padded = torch.nn.functional.pad(data, border)
        return torch.nn.functional.conv2d(padded, kernels, None, stride, 0, dilation, groups)

    plus, minus = torch.tensor(1.0, dtype=torch.float64), torch.tensor(-1.0, dtype=torch.float64)
    signs, bits = torch.where(image >= 0, plus, minus), torch.where(filters >= 0, plus, minus)
    result = conv(signs, bits, groups) * filters.abs().mean((1, 2, 3))[:, None, None]
    if k:
        split = image.abs().unflatten(1, (groups, -1)).mean(2)
        rows, columns = weight.shape[1:3]
        box = torch.full((groups, 1, rows, columns), 1 / (rows * columns), dtype=torch.float64)
        result = result * conv(split, box, groups).repeat_interleave(len(weight) // groups, 1)
    return result.permute(0, 2, 3, 1).numpy()


def assert_rounded(found: np.ndarray, exact: np.ndarray) -> None:
    """Assert that float32 rounding, and nothing else, lies between the two."""
    assert found.shape == exact.shape
    assert found.dtype == np.float32
    assert (np.abs(found - exact) <= ROUNDING * np.abs(exact) + 1e-300).all()
    assert np.abs(exact).max() > 0
