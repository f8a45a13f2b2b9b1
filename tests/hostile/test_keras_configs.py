"""Hostile configs of Keras models: each is refused by layer and entry, and none runs code."""

from __future__ import annotations

import json

import h5py
import pytest
from frontends.keras_writer import quantizer, write_whole
from hostile.keras_nets import CONV, H, sound
from hostile.refusals import Mutant, check_refused, each


def entry(layer: str, **entries):
    """Return a change of entries of one layer's config."""

    def change(config) -> None:
        (found,) = (x for x in config["config"]["layers"] if x["name"] == layer)
        found["config"].update(entries)

    return change


def of_layer(layer: str, **entries):
    """Return a change of a layer's entry: its class, name or links."""

    def change(config) -> None:
        (found,) = (x for x in config["config"]["layers"] if x["name"] == layer)
        found.update(entries)

    return change


def of_model(**entries):
    return lambda config: config["config"].update(entries)


LAMBDA = {
    "class_name": "Lambda",
    "config": {"name": "flat", "function": {"class_name": "__lambda__",
               "config": {"code": "4wEAAAAAAAAAAAAAAAE="}}},
}  # fmt: skip
OWN = {"class_name": "mine>Loud", "module": "os", "config": {"command": "touch sprung"}}
LINK = [[["stem", 0, 0, {}]]]
S, N = "layer 'stem' (Conv2D)", "layer 'norm' (BatchNormalization)"
D = "layer 'dense' (Dense)"
CONFIGS = [
    Mutant("a Lambda layer", of_layer("flat", **LAMBDA),
           ("layer 'flat': got 'Lambda'", "never run")),
    Mutant("a class of one's own", of_layer("flat", class_name="mine>Flat"),
           ("layer 'flat': got 'mine>Flat', expected one of", "Leave it out")),
    Mutant("a class misspelt", of_layer("flat", class_name="Flaten"), ("Did you mean 'Flatten'?",)),
    Mutant("an operator on tensors", of_layer("flat", class_name="TFOpLambda"),
           ("layer 'flat': got 'TFOpLambda'", "Use a layer (Add,")),
    Mutant("a model inside", of_layer("flat", class_name="Sequential"),
           ("layer 'flat': got 'Sequential'", "into the outer one")),
    Mutant("a class that is a number", of_layer("flat", class_name=7), ("class_name: got 7",)),
    Mutant("a subclassed model", lambda c: c.update(class_name="Mine"),
           (f"{H}config: class_name: got 'Mine'", "is code, not data")),
    Mutant("no layers", of_model(layers=[]),
           (f"{H}config: config: layers: got 0, expected a list",)),
    Mutant("layers that are text", of_model(layers="x"), ("layers: got 'x'",)),
    Mutant("a layer that is a number", of_model(layers=[1]), ("layers[0]: got 1",)),
    Mutant("a name twice", of_layer("flat", name="conv"),
           ("name: got 'conv', expected a name of",)),
    Mutant("no links", of_layer("flat", inbound_nodes=None), ("inbound_nodes: got None",)),
    Mutant("a link to nowhere", of_layer("flat", inbound_nodes=[[["gone", 0, 0, {}]]]),
           (f"{H}config: got 'gone[0]', expected a call of a layer",)),
    Mutant("a link to a second output", of_layer("flat", inbound_nodes=[[["sum", 0, 1, {}]]]),
           ("layer 'flat' (Flatten): inbound_nodes: link: got ['sum', 0, 1, {}]",)),
    Mutant("a link to a call that is none", of_layer("flat", inbound_nodes=[[["sum", 3, 0, {}]]]),
           ("got 'sum[3]', expected a call",)),
    Mutant("a negative link", of_layer("flat", inbound_nodes=[[["sum", -1, 0, {}]]]),
           ("link: got ['sum', -1, 0, {}]",)),
    Mutant("layers in a circle", of_layer("stem", inbound_nodes=[[["sum", 0, 0, {}]]]),
           ("inbound_nodes: got", "expected layers that do not read their own output")),
    Mutant("a layer that reads itself", of_layer("stem", inbound_nodes=LINK),
           (f"{S}: inbound_nodes: got 'stem'",)),
    Mutant("a call with a number", of_layer("flat", inbound_nodes=[[["sum", 0, 0, {"x": 2}]]]),
           ("arguments: got {'x': 2}",)),
    Mutant("a link that is text", of_layer("flat", inbound_nodes=["sum"]),
           ("argument: got 'sum'",)),
    Mutant("a tensor without a layer", of_layer("flat", inbound_nodes=[{"args": [{}]}]),
           ("argument: got {}, expected the output of a layer",)),
    Mutant("two inputs read", of_layer("flat", inbound_nodes=[LINK[0] * 2]),
           ("layer 'flat' (Flatten): got '2 inputs', expected one input",)),
    Mutant("a sum of one", of_layer("sum", inbound_nodes=LINK),
           ("got '1 input', expected at least",)),
    Mutant("a sum of two sizes", of_layer("sum", inbound_nodes=[[["stem", 0, 0, {}],
           ["norm", 0, 0, {}]]]), ("layer 'sum' (Add): got", "one shape is needed")),
    Mutant("two outputs", of_model(output_layers=[["flat", 0, 0], ["dense", 0, 0]]),
           ("output_layers: got", "expected one layer")),
    Mutant("an output that is none", of_model(output_layers=[["gone", 0, 0]]), ("got 'gone[0]'",)),
    Mutant("an input that is a layer", of_model(input_layers=[["conv", 0, 0]]),
           (f"{H}inputs: got ['input_1'], expected the one input 'conv'",)),
    Mutant("only an input", of_model(output_layers=[["input_1", 0, 0]]),
           (f"{H}got 'no layer that computes'",)),
    Mutant("an image of three axes", entry("input_1", batch_input_shape=[None, 3, 3]),
           ("layer 'input_1' (InputLayer): batch_input_shape: got [None, 3, 3]",)),
    Mutant("an image of 2^60 pixels", entry("input_1", batch_input_shape=[None, 2**30, 2**30, 2]),
           ("batch_input_shape: got [None, 1073741824",)),
    Mutant("an image too large", entry("input_1", batch_input_shape=[None, 2**16, 2**16, 2]),
           ("expected at most 67108864 elements",)),
    Mutant("an image of -1", entry("input_1", batch_input_shape=[None, 6, -1, 2]),
           ("batch_input_shape: got [None, 6, -1, 2]",)),
    Mutant("an open size", entry("input_1", batch_input_shape=[None, None, 5, 2]),
           ("expected sizes that are all known", "--input-shape")),
    Mutant("an input of doubles", entry("input_1", dtype="float64"), ("dtype: got 'float64'",)),
    *(Mutant(f"{key} of {value!r}", entry("conv", **{key: value}),
           (f"{CONV}: {key}: got {value!r}",))
      for key, value in (
          ("filters", 0), ("filters", -1), ("filters", True), ("filters", 2**40),
          ("filters", "4"), ("filters", None), ("kernel_size", []), ("kernel_size", [3, 0]),
          ("kernel_size", [3.0, 3]), ("kernel_size", [3, 3, 3]), ("strides", [0, 1]),
          ("strides", "x"), ("dilation_rate", [1, -1]), ("padding", "causal"), ("padding", 1),
          ("data_format", "channels_first"), ("groups", 2), ("groups", 0), ("use_bias", "yes"),
          ("pad_values", 0.5), ("pad_values", float("nan")), ("pad_values", "1"),
          ("dtype", "float16"), ("activation", "gelu"), ("activation", 3), ("lora_rank", 4))),
    Mutant("a thousand million filters", entry("conv", filters=10**9),
           (f"{CONV}: kernel: got 'float32 of shape (3, 3, 3, 4)'",)),
    Mutant("a kernel of a million", entry("conv", kernel_size=[10**6, 10**6]),
           (f"{CONV}: kernel: got 'float32 of shape (3, 3, 3, 4)'",)),
    Mutant("a border of 2", entry("conv", pad_values=2.0), (f"{CONV}: got", "pad_value is 2")),
    Mutant("a stem larger than the image", entry("stem", dilation_rate=[9, 9]),
           (f"{S}: got", "does not fit")),
    Mutant("a quantizer of one's own", entry("conv", kernel_quantizer=OWN),
           (f"{CONV}: kernel_quantizer", "got 'mine>Loud'", "never run here")),
    Mutant("a quantizer that is code", entry("conv", input_quantizer=LAMBDA),
           (f"{CONV}: input_quantizer", "got 'Lambda'")),
    Mutant("a quantizer misspelt", entry("conv", input_quantizer="ste_sgn"),
           ("got 'ste_sgn'", "Did you mean 'ste_sign'?")),
    Mutant("a quantizer that is a list", entry("conv", input_quantizer=[]),
           (f"{CONV}: input_quantizer: got []",)),
    Mutant("a quantizer of a whole batch", entry("conv", input_quantizer="magnitude_aware_sign"),
           (f"{CONV}: got 'magnitude_aware_sign of activations'", "whole batch")),
    Mutant("weights' levels for a batch", entry("conv", input_quantizer=quantizer("DoReFa",
           mode="weights")), (f"{CONV}: got 'DoReFa of activations'",)),
    Mutant("a mean threshold for a batch", entry("conv", input_quantizer=quantizer("SteTern",
           ternary_weight_networks=True)), (f"{CONV}: got 'SteTern of activations'",)),
    Mutant("nine bits", entry("conv", kernel_quantizer=quantizer("DoReFa", k_bit=9)),
           (f"{CONV}: kernel_quantizer: config: k_bit: got 9, expected 1 to 8 bits",)),
    Mutant("a mode that is none", entry("conv", kernel_quantizer=quantizer("DoReFa", mode="both")),
           ("mode: got 'both', expected one of 'activations', 'weights'",)),
    Mutant("a threshold of infinity", entry("conv", kernel_quantizer=quantizer("SteTern",
           threshold_value=float("inf"))), ("threshold_value: got inf",)),
    Mutant("a quantizer with more to say", entry("conv", kernel_quantizer=quantizer("SteSign",
           shift=0.5)), ("kernel_quantizer: config: shift: got 0.5",)),
    Mutant("channels first", entry("norm", axis=[1]), (f"{N}: axis: got [1]",)),
    Mutant("an epsilon of text", entry("norm", epsilon="small"), (f"{N}: epsilon: got 'small'",)),
    Mutant("an epsilon of -9", entry("norm", epsilon=-9), (f"{N}: moving_variance: got -",)),
    Mutant("no epsilon of float32", entry("norm", epsilon=10**400), (f"{N}: epsilon: got 1000",)),
    Mutant("no gamma", entry("norm", scale=False),
           (f"{N}: got 'gamma', expected only the weights",)),
    Mutant("a gamma of text", entry("norm", scale="no"), (f"{N}: scale: got 'no'",)),
    Mutant("more units", entry("dense", units=5),
           (f"{D}: kernel: got 'float32 of shape (48, 3)'",)),
    Mutant("names of training", entry("conv", kernel_initializer=OWN, name="x", seed=3)),
]  # fmt: skip


@each(CONFIGS)
@pytest.mark.filterwarnings("error")
def test_configs(bnnsim, work, mutant):
    net = sound()
    config = json.loads(json.dumps(net.config()))
    mutant.change(config)
    with h5py.File("net.h5", "w") as file:
        write_whole(file, config, net.weights)
    said = bnnsim("lower", "net.h5", "-o", "net.bnn")
    if mutant.says:
        check_refused(said, "net.h5", mutant.says)
        assert sorted(path.name for path in work.iterdir()) == ["net.h5"]
    else:
        assert (said.status, said.err) == (0, "")
