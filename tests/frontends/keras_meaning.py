"""What layers of Keras and larq compute, in numpy and as their sources state it: slow and obvious.

float64 throughout but where a rounding decides; test_larq_real.py holds the real larq against the
same graphs.
"""

from __future__ import annotations

import numpy as np

F = np.float32


def larq_sign(x):
    return np.sign(np.sign(x) + F(0.1))


def ternary(x, threshold_value=0.05, ternary_weight_networks=False):
    t = F(0.7) * np.abs(x).mean(dtype=np.float64) if ternary_weight_networks else threshold_value
    return np.sign(np.sign(x + F(t)) + np.sign(x - F(t)))


def dorefa(x, k_bit=2, mode="activations"):
    n = F(2**k_bit - 1)
    if mode == "activations":
        return np.rint(np.clip(x, F(0), F(1)) * n) / n
    limited = np.tanh(x)
    return 2 * np.rint((limited / (2 * np.abs(limited).max()) + F(0.5)) * n) / n - 1


QUANTIZERS = {
    "SteSign": larq_sign,
    "ApproxSign": larq_sign,
    "SwishSign": larq_sign,
    "MagnitudeAwareSign": lambda x: (
        larq_sign(x) * np.abs(x).mean(axis=tuple(range(x.ndim - 1)), dtype=np.float64)
    ),
    "SteHeaviside": lambda x: np.sign(np.maximum(x, 0)),
    "SteTern": ternary,
    "DoReFa": dorefa,
    "NoOp": lambda x, **_: x,
}
ALIASES = {
    "ste_sign": "SteSign", "approx_sign": "ApproxSign", "swish_sign": "SwishSign",
    "magnitude_aware_sign": "MagnitudeAwareSign", "ste_heaviside": "SteHeaviside",
    "ste_tern": "SteTern", "dorefa_quantizer": "DoReFa", "DoReFaQuantizer": "DoReFa",
}  # fmt: skip
_MEANINGFUL = ("threshold_value", "ternary_weight_networks", "k_bit", "mode")


def quantized(x, quantizer):
    """Return values after a quantizer as a config names it."""
    if quantizer is None:
        return x
    name, config = quantizer, {}
    if isinstance(quantizer, dict):
        name, config = quantizer["class_name"], quantizer["config"]
        if name == "function":
            name, config = config, {}
    name = name.removeprefix("Larq>")
    options = {key: config[key] for key in _MEANINGFUL if key in config}
    return QUANTIZERS[ALIASES.get(name, name)](x.astype(F), **options)


def function(x, name):
    if isinstance(name, dict) or name in ALIASES:
        return quantized(x, name)
    if name == "softmax":
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)
    return {
        "linear": lambda: x,
        "relu": lambda: np.maximum(x, 0),
        "relu6": lambda: np.clip(x, 0, 6),
        "hard_tanh": lambda: np.clip(x, -1, 1),
        "sigmoid": lambda: 1 / (1 + np.exp(-x.astype(np.float64))),
    }[name]()


def windows(x, kernel, stride, dilation=(1, 1)):
    """Return (N, H, W, C, R, S): every window of a padded image."""
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    view = np.lib.stride_tricks.sliding_window_view(x, reach, axis=(1, 2))
    return view[:, :: stride[0], :: stride[1], :, :: dilation[0], :: dilation[1]]


def same(x, kernel, stride, *, value, dilation=(1, 1)):
    """Return an image padded as TensorFlow's 'same' does, by the formula of its documentation."""
    borders = []
    for size, k, s, d in zip(x.shape[1:3], kernel, stride, dilation, strict=True):
        reach = (k - 1) * d + 1
        total = max(reach - s, 0) if size % s == 0 else max(reach - size % s, 0)
        borders.append((total // 2, total - total // 2))
    return np.pad(x, ((0, 0), *borders, (0, 0)), constant_values=value)


def convolved(x, kernel, config, *, depthwise=False):
    x = quantized(x, config.get("input_quantizer")).astype(np.float64)
    size, stride, dilation = kernel.shape[:2], config["strides"], config["dilation_rate"]
    if config["padding"] == "same":
        x = same(x, size, stride, value=config.get("pad_values", 0), dilation=dilation)
    taps, kernel = windows(x, size, stride, dilation), kernel.astype(np.float64)
    if depthwise:
        y = np.einsum("nhwcrs,rscm->nhwcm", taps, kernel)
        return y.reshape(*y.shape[:3], -1)
    per, each = kernel.shape[2], kernel.shape[3] // config["groups"]
    parts = [
        np.einsum("nhwcrs,rsco->nhwo", taps[..., g * per : (g + 1) * per, :, :],
                  kernel[..., g * each : (g + 1) * each])
        for g in range(config["groups"])
    ]  # fmt: skip
    return np.concatenate(parts, axis=-1)


def pooled(x, config, reduce, border):
    kernel, stride = config["pool_size"], config["strides"] or config["pool_size"]
    x = x.astype(np.float64)
    if config["padding"] == "same":
        x = same(x, kernel, stride, value=border)
    return reduce(windows(x, kernel, stride), axis=(-2, -1))


def meaning(kind, config, inputs, weights):
    """Return what a layer gives, in float64 or as its inputs are."""
    x = inputs[0]
    w = {name: array.astype(np.float64) for name, array in weights.items()}
    bias = w.get("bias", 0)
    kind = kind.removeprefix("Larq>")
    plain = kind.removeprefix("Quant")
    if plain == "Dense":
        kernel = quantized(weights["kernel"], config.get("kernel_quantizer")).astype(np.float64)
        y = quantized(x, config.get("input_quantizer")).astype(np.float64) @ kernel + bias
        return function(y, config["activation"])
    if plain == "Conv2D":
        kernel = quantized(weights["kernel"], config.get("kernel_quantizer"))
        return function(convolved(x, kernel, config) + bias, config["activation"])
    if plain == "DepthwiseConv2D":
        kernel = quantized(weights["depthwise_kernel"], config.get("depthwise_quantizer"))
        return function(convolved(x, kernel, config, depthwise=True) + bias, config["activation"])
    if plain == "SeparableConv2D":
        depth = quantized(weights["depthwise_kernel"], config.get("depthwise_quantizer"))
        point = quantized(weights["pointwise_kernel"], config.get("pointwise_quantizer"))
        between = convolved(x, depth, config, depthwise=True)
        return function(between @ point[0, 0].astype(np.float64) + bias, config["activation"])
    if kind == "BatchNormalization":
        scale = w.get("gamma", 1) / np.sqrt(w["moving_variance"] + config["epsilon"])
        return (x - w["moving_mean"]) * scale + w.get("beta", 0)
    if kind in QUANTIZERS:
        return quantized(x, {"class_name": kind, "config": config})
    return _without_weights(kind, config, inputs, w)


def _without_weights(kind, config, inputs, w):
    x = inputs[0]
    borders = lambda key: ((0, 0), *map(tuple, config[key]), (0, 0))  # noqa: E731
    flat = lambda y: y if config["keepdims"] else y.reshape(len(y), -1)  # noqa: E731
    if kind == "Cropping2D":
        (top, bottom), (left, right) = config["cropping"]
        return x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]
    if kind == "AveragePooling2D":
        total = pooled(x, config, np.sum, 0)
        return total / pooled(np.ones_like(x), config, np.sum, 0)
    if kind == "ReLU":
        top = np.inf if config["max_value"] is None else config["max_value"]
        return np.clip(x, 0, top)
    return {
        "MaxPooling2D": lambda: pooled(x, config, np.max, -np.inf),
        "GlobalAveragePooling2D": lambda: flat(x.mean(axis=(1, 2), keepdims=True, dtype=float)),
        "GlobalMaxPooling2D": lambda: flat(x.max(axis=(1, 2), keepdims=True)),
        "ZeroPadding2D": lambda: np.pad(x, borders("padding")),
        "Flatten": lambda: x.reshape(len(x), -1),
        "Reshape": lambda: x.reshape(len(x), *config["target_shape"]),
        "Activation": lambda: function(x, config["activation"]),
        "Softmax": lambda: function(x, "softmax"),
        "LeakyReLU": lambda: np.where(x >= 0, x, x * F(config["alpha"])),
        "PReLU": lambda: np.where(x >= 0, x, x * w["alpha"]),
        "Dropout": lambda: x,
        "SpatialDropout2D": lambda: x,
        "GaussianNoise": lambda: x,
        "Add": lambda: sum(inputs[1:], x.astype(np.float64)),
        "Multiply": lambda: np.prod(np.broadcast_arrays(*inputs), axis=0),
        "Concatenate": lambda: np.concatenate(inputs, axis=-1),
        "Rescaling": lambda: x.astype(F) * F(config["scale"]) + F(config["offset"]),
    }[kind]()
