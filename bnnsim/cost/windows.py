"""How many taps, pixels and outputs of a sliding window lie inside the image, along one axis.

Tap r of output i reads element i * stride + r * dilation - pad.
"""

from __future__ import annotations


def taps_inside(size: int, out: int, kernel: int, stride: int, dilation: int, pad: int) -> int:
    """Return how many (output, tap) pairs fall inside the image."""
    total = 0
    for r in range(kernel):
        first = max(0, -((r * dilation - pad) // stride))
        last = min(out - 1, (size - 1 + pad - r * dilation) // stride)
        total += max(0, last - first + 1)
    return total


def pixels_inside(size: int, out: int, kernel: int, stride: int, dilation: int, pad: int) -> int:
    """Return how many elements of the image some tap of some output reads."""
    read = {i * stride + r * dilation - pad for i in range(out) for r in range(kernel)}
    return sum(0 <= element < size for element in read)


def outputs_inside(size: int, out: int, kernel: int, stride: int, dilation: int, pad: int) -> int:
    """Return how many outputs have a tap inside the image."""
    taps = range(-pad, kernel * dilation - pad, dilation)
    return sum(any(0 <= i * stride + tap < size for tap in taps) for i in range(out))
