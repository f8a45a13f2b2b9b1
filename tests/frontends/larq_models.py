"""Build networks with the real larq, save them, and record what every layer gives.

Run by the python of an environment of its own (TensorFlow and larq; see test_larq_real.py), never
imported by ours: ``TF_USE_LEGACY_KERAS=1 python larq_models.py FOLDER``.
"""

import sys
from pathlib import Path

import keras
import larq as lq
import numpy as np
import tensorflow as tf

L, Q = tf.keras.layers, lq.layers
SIGN = {"input_quantizer": "ste_sign", "kernel_quantizer": "ste_sign"}
CLIP = {"kernel_constraint": "weight_clip"}
RNG = np.random.default_rng(2)
IMAGE = (9, 8, 3)


def chain(*layers, shape=IMAGE, dtype=None):
    return tf.keras.Sequential([tf.keras.Input(shape, dtype=dtype), *layers])


def functional(build, shape=IMAGE):
    x = tf.keras.Input(shape)
    return tf.keras.Model(x, build(x))


def mlp():
    return chain(
        Q.QuantDense(33, kernel_quantizer="ste_sign", use_bias=False, **CLIP),
        L.BatchNormalization(scale=False, momentum=0.9),
        Q.QuantDense(65, use_bias=False, **SIGN, **CLIP),
        L.BatchNormalization(center=False),
        L.Dropout(0.3),
        Q.QuantDense(17, **SIGN),
        L.BatchNormalization(scale=False, center=False, epsilon=0.02),
        Q.QuantDense(10, use_bias=False, **SIGN),
        L.BatchNormalization(scale=False),
        L.Activation("softmax"),
        shape=(19,),
    )


def vgg():
    return chain(
        Q.QuantConv2D(8, 3, padding="same", kernel_quantizer="ste_sign", use_bias=False, **CLIP),
        L.BatchNormalization(scale=False),
        Q.QuantConv2D(9, 3, padding="same", pad_values=1.0, use_bias=False, **SIGN),
        L.MaxPooling2D((2, 2), (2, 2)),
        L.BatchNormalization(scale=False),
        Q.QuantConv2D(7, (3, 2), padding="same", pad_values=-1.0, **SIGN),
        L.BatchNormalization(),
        L.Flatten(),
        Q.QuantDense(10, use_bias=False, **SIGN),
        L.BatchNormalization(scale=False),
        L.Activation("softmax"),
    )


def quantized(activation, weight):
    """Return one block whose activations and weights are quantized as told."""
    return chain(
        L.Conv2D(6, 3, use_bias=False),
        L.BatchNormalization(),
        Q.QuantConv2D(5, 3, padding="same", input_quantizer=activation, kernel_quantizer=weight),
        L.BatchNormalization(),
        L.Flatten(),
        Q.QuantDense(4, input_quantizer=activation, kernel_quantizer=weight),
    )


def quantizers():
    dorefa, tern = lq.quantizers.DoReFa, lq.quantizers.SteTern
    pairs = {
        "approx_sign": ("approx_sign", "approx_sign"),
        "swish_sign": (lq.quantizers.SwishSign(beta=4.0), "swish_sign"),
        "magnitude": ("ste_sign", "magnitude_aware_sign"),
        "magnitude_float": (None, lq.quantizers.MagnitudeAwareSign(clip_value=None)),
        "heaviside": ("ste_heaviside", "ste_sign"),
        "heaviside_weights": ("ste_sign", "ste_heaviside"),
        "ternary": ("ste_tern", "ste_tern"),
        "ternary_wide": (tern(threshold_value=0.5), tern(threshold_value=0.4)),
        "ternary_zero": (tern(threshold_value=0.0), tern(threshold_value=0.0)),
        "twn": ("ste_sign", tern(ternary_weight_networks=True)),
        "dorefa_default": ("dorefa_quantizer", dorefa(mode="weights")),
        "dorefa_same": ("dorefa_quantizer", "dorefa_quantizer"),
        "dorefa_1": (dorefa(1, mode="activations"), dorefa(1, mode="weights")),
        "dorefa_4": (dorefa(4, "activations"), dorefa(3, "weights")),
        "dorefa_8": (dorefa(8), dorefa(8, "weights")),
        "dorefa_weights_only": (None, dorefa(4, "weights")),
        "no_op": (None, lq.quantizers.NoOp(precision=1)),
    }
    return {f"quantizer_{name}": quantized(*pair) for name, pair in pairs.items()}


def paddings():
    """Return a network for each kernel, stride, dilation and padding value."""
    nets = {}
    grid = [
        (3, 2, 1, 0.0), (3, 2, 1, 1.0), (3, 2, 1, -1.0), (2, 1, 1, 0.0), (2, 1, 1, 1.0),
        (4, 3, 1, 1.0), (3, 1, 2, 1.0), (3, 1, 2, 0.0), (1, 2, 1, 1.0), (5, 2, 1, 0.0),
        ((3, 1), (1, 2), 1, 1.0), ((2, 3), (2, 1), 1, 0.0),
    ]  # fmt: skip
    for index, (kernel, stride, dilation, value) in enumerate(grid):
        nets[f"padding_{index}"] = chain(
            L.BatchNormalization(),
            Q.QuantConv2D(
                5, kernel, strides=stride, dilation_rate=dilation, padding="same",
                pad_values=value, **SIGN,
            ),
            L.BatchNormalization(),
            Q.QuantDepthwiseConv2D(
                3, padding="same", pad_values=value, input_quantizer="ste_sign",
                depthwise_quantizer="ste_sign",
            ),
        )  # fmt: skip
    return nets


def depthwise():
    return chain(
        L.DepthwiseConv2D(3, padding="same", depth_multiplier=2),
        L.BatchNormalization(),
        Q.QuantDepthwiseConv2D(
            3, strides=2, padding="same", pad_values=1.0, depth_multiplier=2,
            input_quantizer="ste_sign", depthwise_quantizer="magnitude_aware_sign",
            depthwise_constraint="weight_clip",
        ),
        L.BatchNormalization(),
        Q.QuantSeparableConv2D(
            7, 3, padding="same", input_quantizer="ste_sign", depthwise_quantizer="ste_sign",
            pointwise_quantizer="ste_sign", depth_multiplier=2,
        ),
        L.BatchNormalization(),
        Q.QuantConv2D(14, 3, groups=7, activation="relu", **SIGN),
        L.BatchNormalization(),
    )  # fmt: skip


def shapes():
    return chain(
        L.Rescaling(1 / 127.5, offset=-1),
        L.ZeroPadding2D(((1, 0), (2, 1))),
        L.Conv2D(6, 3, strides=2, activation="relu"),
        L.MaxPooling2D(3, strides=1, padding="same"),
        L.AveragePooling2D(2, strides=2, padding="same"),
        L.SpatialDropout2D(0.2),
        L.BatchNormalization(),
        lq.quantizers.SteSign(),
        L.ZeroPadding2D(1),
        Q.QuantConv2D(5, 3, kernel_quantizer="ste_sign", use_bias=False),
        L.ReLU(max_value=6.0),
        L.AveragePooling2D((1, 2)),
        L.Reshape((-1,)),
        L.Activation("hard_tanh"),
        L.Dense(7, activation="relu"),
        L.Dense(4, activation="softmax"),
    )


def padded_sign():
    """A border of zeros that the quantizer of the next layer turns into +1, or leaves 0."""
    return chain(
        L.BatchNormalization(),
        L.ZeroPadding2D(1),
        Q.QuantConv2D(5, 3, **SIGN),
        L.BatchNormalization(),
        L.ZeroPadding2D(((0, 1), (0, 1))),
        Q.QuantConv2D(4, 3, input_quantizer=lq.quantizers.DoReFa(2), kernel_quantizer="ste_sign"),
        L.Activation("relu"),
        L.ZeroPadding2D(1),
        L.MaxPooling2D(3, strides=2),
        L.GlobalMaxPooling2D(),
    )


def pixels():
    return chain(
        L.Rescaling(2.0, offset=-255),
        Q.QuantConv2D(6, 3, kernel_quantizer="ste_sign", use_bias=False),
        L.BatchNormalization(),
        L.Flatten(),
        Q.QuantDense(5, **SIGN),
        dtype="uint8",
    )


def others():
    return chain(
        L.SeparableConv2D(5, 3, depth_multiplier=2),
        L.Cropping2D(((1, 0), (0, 2))),
        L.GaussianNoise(0.1),
        lq.quantizers.DoReFa(3),
        L.MaxPooling2D(2, strides=1),
        Q.QuantConv2D(4, 2, kernel_quantizer="ste_sign"),
        L.GlobalMaxPooling2D(),
        L.Softmax(),
    )


def keras_3():
    """A residual network of floats in the Keras of today, which larq does not work with."""
    new = keras.layers
    x = keras.Input(IMAGE)
    a = new.Conv2D(4, 3, padding="same", name="stem")(x)
    b = new.ReLU()(new.BatchNormalization()(new.Conv2D(4, 1)(x)))
    y = new.Flatten()(new.MaxPooling2D()(new.Add()([a, b])))
    return keras.Model(x, new.Dense(3, activation="softmax")(y))


def quicknet():
    """Blocks as in QuickNet: residual, ReLU before batch norm, +1 padding, blur pool."""

    def build(x):
        x = L.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
        x = L.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
        x = L.Activation("relu")(x)
        x = L.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False)(x)
        x = L.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
        for filters in (8, 12):
            if filters != 8:
                x = L.Activation("relu")(x)
                x = L.MaxPool2D(pool_size=3, strides=1)(x)
                x = L.DepthwiseConv2D(
                    3, strides=2, padding="same", use_bias=False, trainable=False
                )(x)
                x = L.Conv2D(filters, 1, use_bias=False)(x)
                x = L.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
            for _ in range(2):
                y = Q.QuantConv2D(
                    filters,
                    3,
                    activation="relu",
                    padding="same",
                    pad_values=1.0,
                    use_bias=False,
                    **SIGN,
                    **CLIP,
                )(x)
                y = L.BatchNormalization(momentum=0.9, epsilon=1e-5)(y)
                x = L.add([x, y])
        x = L.Activation("relu")(x)
        x = L.GlobalAvgPool2D()(x)
        x = L.Dense(10)(x)
        return L.Activation("softmax", dtype="float32")(x)

    return functional(build, (32, 30, 3))


def densenet():
    """Blocks as in BinaryDenseNet: concatenation, transition without binarization."""

    def build(x):
        x = L.Conv2D(6, 3, padding="same", use_bias=False)(x)
        x = L.BatchNormalization(momentum=0.99, epsilon=1e-5)(x)
        for _ in range(2):
            y = L.BatchNormalization(momentum=0.99, epsilon=1e-5)(x)
            y = Q.QuantConv2D(
                5, 3, dilation_rate=1, padding="same", use_bias=False, **SIGN, **CLIP
            )(y)
            x = L.concatenate([x, y])
        x = L.BatchNormalization(momentum=0.99, epsilon=1e-5)(x)
        x = L.MaxPool2D(2, strides=2)(x)
        x = L.Activation("relu")(x)
        x = L.Conv2D(7, 1, use_bias=False)(x)
        x = L.BatchNormalization(epsilon=1e-5)(x)
        x = L.Activation("relu")(x)
        x = L.GlobalAvgPool2D()(x)
        return L.Dense(6, activation="softmax")(x)

    return functional(build, (12, 10, 3))


def merges():
    def build(x):
        a = L.Conv2D(4, 1)(x)
        b = Q.QuantConv2D(4, 1, **SIGN)(x)
        c = L.Add()([a, b, a])
        d = L.Multiply()([c, b])
        return L.Conv2D(2, 2)(d)

    return functional(build)


def activations():
    def build(x):
        x = L.Conv2D(6, 3)(x)
        x = L.PReLU(shared_axes=[1, 2])(x)
        x = L.Conv2D(6, 1)(x)
        x = L.LeakyReLU(alpha=0.1)(x)
        x = L.Conv2D(6, 1)(x)
        y = L.GlobalAvgPool2D(keepdims=True)(x)
        y = L.Conv2D(6, 1, activation="sigmoid")(y)
        x = L.Multiply()([x, y])
        return L.Conv2D(2, 1, activation="sigmoid")(x)

    return functional(build)


def all_nets():
    plain = (
        mlp, vgg, depthwise, shapes, padded_sign, pixels, others, quicknet, densenet, merges,
        activations, keras_3,
    )  # fmt: skip
    return {**{net.__name__: net() for net in plain}, **quantizers(), **paddings()}


def fill(model):
    """Give every variable random values: latent weights with zeros, batch norms of both signs."""
    for layer in model.layers:
        values = []
        for variable in layer.weights:
            shape, name = variable.shape, variable.name.split("/")[-1].split(":")[0]
            value = RNG.normal(0, 0.5, shape)
            if name in ("moving_variance", "variance"):
                value = RNG.uniform(0.3, 3, shape)
            elif "kernel" in name and type(layer).__name__.startswith("Quant"):
                value[RNG.random(shape) < 0.05] = 0  # a latent weight of 0
                value[RNG.random(shape) < 0.05] = -0.0
                value[RNG.random(shape) < 0.05] = 0.4  # at a ternary threshold
            elif name in ("moving_mean", "bias"):
                value = RNG.integers(-3, 4, shape)
            elif name == "beta":
                value[RNG.random(shape) < 0.5] = 0  # with whole means: sums at the threshold
            values.append(value.astype(np.float32))
        layer.set_weights(values)


def inputs_of(model):
    shape = (6, *model.input_shape[1:])
    if str(model.input.dtype).endswith("uint8") or model.input.dtype == tf.uint8:
        return RNG.integers(0, 256, shape).astype(np.uint8)
    x = RNG.normal(0, 1.5, shape).astype(np.float32)
    x[0] = np.rint(x[0])  # whole numbers: zeros, and sums that meet a threshold
    return x


def record(model, name, folder):
    x = inputs_of(model)
    layers = [layer for layer in model.layers if type(layer).__name__ != "InputLayer"]
    maker = keras.Model if isinstance(model, keras.Model) else tf.keras.Model
    probe = maker(model.inputs, [layer.output for layer in layers])
    outputs = probe(x, training=False)
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    named = {f"out/{layer.name}": np.asarray(y) for layer, y in zip(layers, outputs, strict=True)}
    kernels = {}
    with lq.context.quantized_scope(True):
        for layer in layers:
            for variable in layer.weights:
                short = variable.name.split("/")[-1].split(":")[0]
                kernels[f"weight/{layer.name}/{short}"] = np.asarray(tf.convert_to_tensor(variable))
    np.savez(folder / f"{name}.npz", x=x, **named, **kernels)
    model.save(folder / f"{name}.h5")
    model.save(folder / f"{name}.keras")
    if name == "quicknet":
        (folder / f"{name}.json").write_text(model.to_json())
        model.save_weights(folder / f"{name}_weights.h5")
        model.save_weights(folder / f"{name}.weights.h5")


def compiled(folder):
    """Save a model that was trained a step: its file holds an optimizer and training metrics."""
    with lq.context.metrics_scope(["flip_ratio"]):
        model = mlp()
    model.compile(tf.keras.optimizers.Adam(), "sparse_categorical_crossentropy")
    model.fit(RNG.normal(size=(8, 19)), RNG.integers(0, 10, 8), verbose=0)
    record(model, "trained", folder)


def main(folder):
    for name, model in all_nets().items():
        fill(model)
        record(model, name, folder)
    compiled(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
