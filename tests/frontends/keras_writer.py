"""Write files of the form that Keras and larq write; a slow test compares them with real ones."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from frontends.keras_meaning import meaning

ZEROS = {
    "module": "keras.initializers", "class_name": "Zeros", "config": {}, "registered_name": None,
}  # fmt: skip
_KERNEL = {"activity_regularizer": None, "activation": "linear", "use_bias": True} | {
    f"{what}_{part}": ZEROS if part == "initializer" else None
    for what in ("kernel", "bias")
    for part in ("initializer", "regularizer", "constraint")
}
_WINDOW = {
    "kernel_size": [3, 3], "strides": [1, 1], "padding": "valid", "data_format": "channels_last",
    "dilation_rate": [1, 1], "groups": 1,
}  # fmt: skip
_DEPTH = {"depth_multiplier": 1} | {
    f"depthwise_{part}": ZEROS if part == "initializer" else None
    for part in ("initializer", "regularizer", "constraint")
}
_POINT = {key.replace("depth", "point"): v for key, v in _DEPTH.items() if "wise" in key}
_QUANTIZED = {"input_quantizer": None, "kernel_quantizer": None}
_BIASED = {key: value for key, value in _KERNEL.items() if not key.startswith("kernel")}
_POOL = {
    "pool_size": [2, 2], "strides": None, "padding": "valid", "data_format": "channels_last",
}  # fmt: skip
_GLOBAL = {"data_format": "channels_last", "keepdims": False}
_DEPTHWISE = _WINDOW | _BIASED | _DEPTH
_SEPARABLE = _WINDOW | _KERNEL | _DEPTH | _POINT | {"filters": 1}
_BATCH_NORM = {
    "axis": [-1], "momentum": 0.99, "epsilon": 0.001, "center": True, "scale": True,
} | {
    f"{what}_{part}": ZEROS if part == "initializer" else None
    for what, parts in {
        "beta": ("initializer", "regularizer", "constraint"),
        "gamma": ("initializer", "regularizer", "constraint"),
        "moving_mean": ("initializer",),
        "moving_variance": ("initializer",),
    }.items()
    for part in parts
}  # fmt: skip
DEFAULTS: dict[str, dict[str, Any]] = {
    "Dense": {"units": 1} | _KERNEL,
    "QuantDense": {"units": 1} | _KERNEL | _QUANTIZED,
    "Conv2D": {"filters": 1} | _WINDOW | _KERNEL,
    "QuantConv2D": {"filters": 1, "pad_values": 0.0} | _WINDOW | _KERNEL | _QUANTIZED,
    "DepthwiseConv2D": _DEPTHWISE,
    "QuantDepthwiseConv2D": _DEPTHWISE
    | {"input_quantizer": None, "depthwise_quantizer": None, "pad_values": 0.0},
    "SeparableConv2D": _SEPARABLE,
    "QuantSeparableConv2D": _SEPARABLE
    | {"input_quantizer": None, "depthwise_quantizer": None, "pointwise_quantizer": None}
    | {"pad_values": 0.0},
    "BatchNormalization": _BATCH_NORM,
    "MaxPooling2D": _POOL,
    "AveragePooling2D": _POOL,
    "GlobalAveragePooling2D": _GLOBAL,
    "GlobalMaxPooling2D": _GLOBAL,
    "ZeroPadding2D": {"padding": [[1, 1], [1, 1]], "data_format": "channels_last"},
    "Cropping2D": {"cropping": [[0, 0], [0, 0]], "data_format": "channels_last"},
    "Flatten": {"data_format": "channels_last"},
    "Reshape": {"target_shape": [-1]},
    "Activation": {"activation": "linear"},
    "Softmax": {"axis": -1},
    "ReLU": {"max_value": None, "negative_slope": 0.0, "threshold": 0.0},
    "LeakyReLU": {"alpha": 0.3},
    "PReLU": {
        "alpha_initializer": ZEROS, "alpha_regularizer": None, "alpha_constraint": None,
        "shared_axes": [1, 2],
    },
    "Dropout": {"rate": 0.5, "noise_shape": None, "seed": None},
    "SpatialDropout2D": {"rate": 0.5, "noise_shape": None, "seed": None},
    "GaussianNoise": {"stddev": 0.5, "seed": None},
    "Add": {},
    "Multiply": {},
    "Concatenate": {"axis": -1},
    "Rescaling": {"scale": 1.0, "offset": 0.0},
    "SteSign": {"clip_value": 1.0},
    "DoReFa": {"k_bit": 2, "mode": "activations"},
}  # fmt: skip


def quantizer(kind: str, **config: Any) -> dict[str, Any]:
    """Return a quantizer as larq 0.14 serializes it."""
    plain = {"name": kind.lower(), "trainable": True, "dtype": "float32"}
    return {
        "module": "larq.quantizers", "class_name": kind, "config": plain | config,
        "registered_name": kind, "build_config": {"input_shape": [None, 1]},
    }  # fmt: skip


def snake(name: str) -> str:
    split = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", split).lower()


def shapes_of(kind: str, config: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the shapes of a layer's weights, in the order of Keras."""
    plain, channels = kind.removeprefix("Quant"), shape[-1]
    size, bias = config.get("kernel_size", []), config.get("use_bias", False)
    depth = channels * config.get("depth_multiplier", 1)
    out = config.get("units") or config.get("filters") or depth
    found: dict[str, Any] = {}
    if plain == "Dense":
        found["kernel"] = (channels, out)
    elif plain == "Conv2D":
        found["kernel"] = (*size, channels // config["groups"], out)
    elif plain in ("DepthwiseConv2D", "SeparableConv2D"):
        found["depthwise_kernel"] = (*size, channels, config["depth_multiplier"])
        if plain == "SeparableConv2D":
            found["pointwise_kernel"] = (1, 1, depth, out)
    elif plain == "PReLU":
        found["alpha"] = (1, 1, channels)
    elif plain == "BatchNormalization":
        there = {"gamma": config["scale"], "beta": config["center"]}
        names = [name for name, has in there.items() if has] + ["moving_mean", "moving_variance"]
        return dict.fromkeys(names, (channels,))
    return {**found, "bias": (out,)} if bias else found


class Net:
    """A Keras model under construction, evaluated as it grows.

    ``outputs`` holds what each layer gives of ``x``; weights are random, with zeros, and with
    ``ties`` so that sums meet thresholds.
    """

    def __init__(self, x: np.ndarray, seed: int = 0, *, ties: bool = True) -> None:
        self.x = x
        self.ties = ties
        self.rng = np.random.default_rng(seed)
        self.layers: list[dict[str, Any]] = []
        self.weights: dict[str, dict[str, np.ndarray]] = {}
        self.outputs: dict[str, np.ndarray] = {}
        shape = [None, *x.shape[1:]]
        config = {"batch_input_shape": shape, "dtype": str(x.dtype), "sparse": False,
                  "ragged": False}  # fmt: skip
        self._append("InputLayer", "input_1", config, [])
        self.outputs["input_1"] = x

    def add(self, kind: str, *reads: str, name: str = "", **config: Any) -> str:
        """Append a layer that reads the last one, or those named; return its name."""
        reads = reads or (self.layers[-1]["config"]["name"],)
        name = name or f"{snake(kind)}_{len(self.layers)}"
        inputs = [self.outputs[read] for read in reads]
        full = {"trainable": True, "dtype": "float32"} | DEFAULTS[kind] | config
        shapes = shapes_of(kind, full, inputs[0].shape)
        self.weights[name] = {w: self._random(w, kind, shape) for w, shape in shapes.items()}
        self._append(kind, name, full, reads)
        y = meaning(kind, full, inputs, self.weights[name])
        self.outputs[name] = y if y.dtype == np.uint8 else y.astype(np.float32)
        return name

    def _append(self, kind: str, name: str, config: dict[str, Any], reads: Any) -> None:
        links = [[[read, 0, 0, {}] for read in reads]] if reads else []
        self.weights.setdefault(name, {})
        self.layers.append({
            "module": "keras.layers", "class_name": kind, "config": {"name": name} | config,
            "registered_name": None, "name": name, "inbound_nodes": links,
        })  # fmt: skip

    def _random(self, name: str, kind: str, shape: tuple[int, ...]) -> np.ndarray:
        value = self.rng.normal(0, 0.5, shape)
        if name == "moving_variance":
            value = self.rng.uniform(0.3, 3, shape)
        elif "kernel" in name and kind.startswith("Quant"):
            value[self.rng.random(shape) < 0.1] = 0
            value[self.rng.random(shape) < 0.1] = -0.0
        elif name in ("moving_mean", "bias") and self.ties:
            value = self.rng.integers(-3, 4, shape)
        elif name == "beta" and self.ties:
            value[self.rng.random(shape) < 0.5] = 0
        return value.astype(np.float32)

    @property
    def expected(self) -> np.ndarray:
        return self.outputs[self.layers[-1]["config"]["name"]]

    def config(self, *, functional: bool = True) -> dict[str, Any]:
        """Return the model's config, as a functional or a sequential model."""
        first, last = self.layers[0], self.layers[-1]
        if functional:
            ends = {
                "input_layers": [[first["name"], 0, 0]],
                "output_layers": [[last["name"], 0, 0]],
            }
            return {
                "class_name": "Functional",
                "config": {"name": "net", "layers": self.layers} | ends,
            }
        layers = [{k: v for k, v in layer.items() if k in ("class_name", "config")}
                  for layer in self.layers]  # fmt: skip
        return {"class_name": "Sequential", "config": {"name": "net", "layers": layers}}

    def save(self, path: Path, *, functional: bool = True) -> Path:
        """Write .h5, .keras or .json, as the suffix says; a new copy of the config each time."""
        config = self.config(functional=functional)
        if path.suffix == ".json":
            path.write_text(json.dumps(config))
        elif path.suffix == ".keras":
            path.write_bytes(keras_bytes(config, self.weights))
        else:
            with h5py.File(path, "w") as file:
                write_whole(file, config, self.weights)
        return path


Weights = dict[str, dict[str, np.ndarray]]


def write_whole(file: h5py.File, config: dict[str, Any], weights: Weights) -> None:
    """Write a whole model as ``model.save("FILE.h5")`` does."""
    write_versions(file)
    file.attrs["model_config"] = json.dumps(config)
    write_named(file.create_group("model_weights"), weights)


def write_versions(group: h5py.Group) -> None:
    group.attrs["backend"] = "tensorflow"
    group.attrs["keras_version"] = "2.16.0"


def write_named(group: h5py.Group, weights: Weights) -> None:
    """Write weights as ``model.save_weights("FILE.h5")`` does."""
    write_versions(group)
    group.attrs["layer_names"] = list(weights)
    for layer, arrays in weights.items():
        inner = group.create_group(layer)
        names = [f"{layer}/{name}:0" for name in arrays]
        inner.attrs["weight_names"] = names
        for name, array in zip(names, arrays.values(), strict=True):
            inner.create_dataset(name, data=array)


def write_numbered(file: h5py.File, layers: list[dict[str, Any]], weights: Weights) -> None:
    """Write weights as ``model.save_weights("FILE.weights.h5")`` does."""
    counts: dict[str, int] = {}
    file.create_group("vars")
    top = file.create_group("layers")
    for layer in layers:
        slot = snake(layer["class_name"])
        counts[slot] = counts.get(slot, -1) + 1
        inner = top.create_group(f"{slot}_{counts[slot]}" if counts[slot] else slot)
        for part in (key for key in layer["config"] if key.endswith("_quantizer")):
            if isinstance(layer["config"].get(part), dict):
                inner.create_group(f"{part}/vars")
        held = inner.create_group("vars")
        for index, array in enumerate(weights[layer["config"]["name"]].values()):
            held.create_dataset(str(index), data=array)


def numbered_bytes(config: dict[str, Any], weights: Weights) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        write_numbered(file, config["config"]["layers"], weights)
    return buffer.getvalue()


def keras_bytes(config: dict[str, Any], weights: Weights) -> bytes:
    """Return a .keras archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        metadata = {"keras_version": "2.16.0", "date_saved": "2026-11-23@19:15:40"}
        archive.writestr("metadata.json", json.dumps(metadata))
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", numbered_bytes(config, weights))
    return buffer.getvalue()
