"""Damaged and hostile Keras files: each is refused by name, none runs code or allocates much."""

from __future__ import annotations

import functools
import io
import json
import os
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from frontends.keras_writer import Net, keras_bytes, quantizer, write_whole
from hostile.refusals import Mutant, check_refused, each

SIGN = {"input_quantizer": quantizer("SteSign"), "kernel_quantizer": quantizer("SteSign")}
CONV, DENSE = "layer 'conv' (QuantConv2D)", "layer 'dense' (Dense)"
KERNEL = "model_weights/conv/conv/kernel:0"


@functools.cache
def sound() -> Net:
    net = Net(np.random.default_rng(0).normal(size=(2, 6, 5, 2)).astype(np.float32))
    net.add("Conv2D", filters=3, name="stem")
    net.add("QuantConv2D", filters=4, padding="same", name="conv", **SIGN)
    net.add("BatchNormalization", name="norm")
    net.add("Add", "conv", "norm", name="sum")
    net.add("Flatten", name="flat")
    net.add("Dense", units=3, name="dense")
    return net


# --- the file itself ---------------------------------------------------------------------------


def instead(make):
    """Return a change that puts something else where net.h5 was."""

    def change(path: Path) -> None:
        path.unlink()
        make(path)

    return change


def data(edit):
    """Return a change of the bytes of net.h5."""
    return lambda path: path.write_bytes(edit(path.read_bytes()))


def hdf5(edit):
    """Return a change of net.h5 as an HDF5 file."""

    def change(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            edit(file)

    return change


def replaced(**options):
    """Return a change that writes the kernel in another way."""

    def edit(file) -> None:
        values = file[KERNEL][()]
        del file[KERNEL]
        shape = options.pop("shape", values.shape)
        if "link" in options:
            file[KERNEL] = options["link"]
        elif "layout" in options:
            file.create_virtual_dataset(KERNEL, options["layout"])
        elif options.get("empty"):
            file.create_dataset(KERNEL, shape, "f4")
        else:
            held = np.resize(values, shape).astype(options.pop("dtype", "f4"))
            file.create_dataset(KERNEL, data=held, **options)

    return hdf5(edit)


def unlimited(file) -> None:
    del file[KERNEL]
    file.create_dataset(KERNEL, (2**20, 2**20, 2**10), "f4", chunks=(1, 1, 1))


def attribute(place: str, name: str, value):
    def edit(file) -> None:
        group = file[place] if place else file
        del group.attrs[name]
        if value is not None:
            group.attrs[name] = value

    return hdf5(edit)


def cycle(file) -> None:
    del file["model_weights/conv"]
    file["model_weights/conv"] = h5py.SoftLink("/model_weights/loop")
    file["model_weights/loop"] = h5py.SoftLink("/model_weights/conv")


def group_cycle(file) -> None:
    del file["model_weights/conv/conv"]
    file["model_weights/conv/conv"] = file["model_weights/conv"]  # a hard link to itself


def outside(file) -> None:
    Path("secret.bin").write_bytes(bytes(432))
    del file[KERNEL]
    file.create_dataset(KERNEL, (3, 3, 3, 4), "f4", external=[("secret.bin", 0, 432)])


def poisoned(value: float):
    def edit(file) -> None:
        file[KERNEL][0, 0, 0, 0] = value

    return hdf5(edit)


def many_uses(file) -> None:
    """Many layers on one stored array: the sum of what is read stays below the file's size."""
    config = json.loads(file.attrs["model_config"])
    layers = config["config"]["layers"]
    dense = layers[-1]
    for index in range(400):
        name = f"again_{index}"
        before = layers[-1]["name"]
        inner = dense["config"] | {"name": name, "units": 64, "use_bias": False}
        layers.append(dense | {"name": name, "config": inner,
                               "inbound_nodes": [[[before, 0, 0, {}]]]})  # fmt: skip
        group = file.create_group(f"model_weights/{name}")
        group.attrs["weight_names"] = [f"{name}/kernel:0".encode()]
        if index == 1:
            file["big"] = np.ones((64, 64), np.float32)
        if index == 0:
            group.create_dataset(f"{name}/kernel:0", data=np.ones((3, 64), np.float32))
        else:
            file[f"model_weights/{name}/{name}/kernel:0"] = file["big"]
    config["config"]["output_layers"] = [["again_399", 0, 0]]
    file.attrs["model_config"] = json.dumps(config)


PLAIN = "expected plain contiguous data in the file itself"
HARD = "expected data in the file itself, and no link"
H = "net.h5: "
FILES = [
    Mutant("no file", lambda path: path.unlink(), (f"{H}got 'No such file",)),
    Mutant("a folder", instead(Path.mkdir), (f"{H}got 'Is a directory'",)),
    Mutant("a pipe", instead(os.mkfifo), (f"{H}got 'a pipe or device'",)),
    Mutant("a device", instead(lambda p: p.symlink_to("/dev/zero")), (f"{H}got 'a pipe or dev",)),
    Mutant("empty", data(lambda b: b""), (H, "expected a sound HDF5 file")),
    Mutant("text", data(lambda b: b"hello" * 99), (H, "expected a sound HDF5 file")),
    Mutant("cut off", data(lambda b: b[: len(b) // 2]), (H, "expected a sound HDF5 file")),
    Mutant("a byte short", data(lambda b: b[:-1]), (H, "expected a sound HDF5 file")),
    Mutant("a head that is lost", data(lambda b: bytes(512) + b[512:]), (H, "expected a sound")),
    Mutant("weights alone", attribute("", "model_config", None),
           (f"{H}got 'weights alone', expected a whole model", "--weights")),
    Mutant("a config of numbers", attribute("", "model_config", 7), (f"{H}model_config: got",)),
    Mutant("a config of many strings", attribute("", "model_config", ["a", "b"]),
           (f"{H}model_config: got", "of shape (2,)', expected one string")),
    Mutant("no JSON", attribute("", "model_config", "{"), (f"{H}config: got", "expected JSON")),
    Mutant("JSON too deep", attribute("", "model_config", "[" * 200_000),
           (f"{H}config: got", "expected JSON")),
    Mutant("a number of 9999 digits", attribute("", "model_config", "9" * 9999),
           (f"{H}config: got", "expected JSON")),
    Mutant("JSON that is a list", attribute("", "model_config", "[]"),
           (f"{H}config: got 'list', expected an object",)),
    Mutant("no weights", hdf5(lambda f: f.pop("model_weights")),
           (f"{H}got 'nothing', expected the path 'model_weights'",)),
    Mutant("weights that are no group", hdf5(lambda f: (f.pop("model_weights"),
           f.create_dataset("model_weights", data=1.0))), (f"{H}got 'Dataset', expected a group",)),
    Mutant("no group of a layer", hdf5(lambda f: f.pop("model_weights/conv")),
           (f"{CONV}: got 'nothing', expected the path 'conv'",)),
    Mutant("no list of names", attribute("model_weights/conv", "weight_names", None),
           (f"{CONV}: weight_names: got 'nothing'",)),
    Mutant("names that are numbers", attribute("model_weights/conv", "weight_names", [1.5]),
           (f"{CONV}: weight_names: got",)),
    Mutant("ten thousand names", attribute("model_weights/conv", "weight_names",
           np.full(10_000, b"a")), (f"{CONV}: weight_names: got", "at most 4096 names")),
    Mutant("a name too few", attribute("model_weights/conv", "weight_names", [b"conv/kernel:0"]),
           (f"{CONV}: got ['kernel'], expected the weights kernel, bias",)),
    Mutant("a name twice", attribute("model_weights/conv", "weight_names",
           [b"conv/kernel:0", b"kernel:0"]), (f"{CONV}: weight_names: got 'kernel:0'",)),
    Mutant("a name that climbs", attribute("model_weights/conv", "weight_names",
           [b"../../norm/kernel:0", b"conv/bias:0"]), (f"{CONV}: got 'nothing'",)),
    Mutant("a name of a thousand steps", attribute("model_weights/conv", "weight_names",
           [b"conv/" * 1000 + b"kernel:0", b"conv/bias:0"]), (f"{CONV}: path: got 'conv/",)),
    Mutant("a weight of a layer that has none, which is never read", hdf5(lambda f:
           f["model_weights/flat"].attrs.__setitem__("weight_names", ["kernel"]))),
    Mutant("a bias that the config denies", attribute("model_weights/conv", "weight_names",
           [b"conv/kernel:0", b"conv/bias:0", b"conv/conv:0"]), (f"{CONV}: got 'nothing'",)),
    Mutant("soft links in a circle", hdf5(cycle), (f"{CONV}: conv: got 'SoftLink'", HARD)),
    Mutant("a group inside itself", hdf5(group_cycle), (f"{CONV}: got 'nothing'",)),
    Mutant("a soft link", replaced(link=h5py.SoftLink("/model_weights/stem/stem/kernel:0")),
           (f"{CONV}: conv/kernel:0: got 'SoftLink'", HARD)),
    Mutant("a link to another file", replaced(link=h5py.ExternalLink("/etc/passwd", "/")),
           (f"{CONV}: conv/kernel:0: got 'ExternalLink'", HARD)),
    Mutant("data of another file", hdf5(outside), (f"{CONV}: kernel: got 'chunked, comp", PLAIN)),
    Mutant("virtual data", replaced(layout=h5py.VirtualLayout((3, 3, 3, 4), "f4")),
           (f"{CONV}: kernel: got", PLAIN)),
    Mutant("compressed data", replaced(compression="gzip"), (f"{CONV}: kernel: got", PLAIN)),
    Mutant("chunked data", replaced(chunks=(1, 1, 3, 4)), (f"{CONV}: kernel: got", PLAIN)),
    Mutant("scaled data", replaced(scaleoffset=3), (f"{CONV}: kernel: got", PLAIN)),
    Mutant("a petabyte of nothing", hdf5(unlimited),
           (f"{CONV}: kernel: got 'float32 of shape (1048576, 1048576, 1024)'",)),
    Mutant("data never written", replaced(empty=True),
           (f"{CONV}: kernel: got '0 bytes stored', expected 432 bytes",)),
    Mutant("another shape", replaced(shape=(3, 3, 4, 3)),
           (f"{CONV}: kernel: got 'float32 of shape (3, 3, 4, 3)', expected",)),
    Mutant("fewer axes", replaced(shape=(27, 4)),
           (f"{CONV}: kernel: got 'float32 of shape (27, 4",)),
    Mutant("doubles", replaced(dtype="f8"), (f"{CONV}: kernel: got 'float64 of shape",)),
    Mutant("whole numbers", replaced(dtype="i4"), (f"{CONV}: kernel: got 'int32 of shape",)),
    Mutant("the other byte order", replaced(dtype=">f4"), (f"{CONV}: kernel: got '>f4 of shape",)),
    Mutant("a weight that is a group", hdf5(lambda f: (f.pop(KERNEL), f.create_group(KERNEL))),
           (f"{CONV}: kernel: got 'Group', expected a dataset",)),
    Mutant("NaN", poisoned(np.nan), (f"{CONV}: kernel: got nan, expected finite numbers",)),
    Mutant("infinity", poisoned(-np.inf), (f"{CONV}: kernel: got -inf",)),
    Mutant("a negative variance", hdf5(lambda f: f["model_weights/norm/norm/moving_variance:0"]
           .__setitem__(0, -1.0)), ("layer 'norm'", "moving_variance: got -0.99")),
    Mutant("one array for 400 layers", hdf5(many_uses),
           ("bytes that no other weight uses", "layer 'again_")),
    Mutant("an attribute more", hdf5(lambda f: f.attrs.__setitem__("mine", 1))),
    Mutant("an optimizer beside it", hdf5(lambda f: f.create_group("optimizer_weights"))),
]  # fmt: skip


@pytest.fixture
def net(work) -> Path:
    return sound().save(work / "net.h5")


@each(FILES)
def test_hdf5(bnnsim, net, mutant):
    if not mutant.says:
        bnnsim("lower", "net.h5", "-o", "sound.bnn")
    mutant.change(net)
    said = bnnsim("lower", "net.h5", "-o", "net.bnn")
    if mutant.says:
        check_refused(said, "net.h5", mutant.says)
        assert not Path("net.bnn").exists()
    else:
        assert (said.status, said.err) == (0, "")
        assert Path("net.bnn").read_bytes() == Path("sound.bnn").read_bytes()


# --- its config --------------------------------------------------------------------------------


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
S, N, D = "layer 'stem' (Conv2D)", "layer 'norm' (BatchNormalization)", DENSE
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


# --- archives ----------------------------------------------------------------------------------


def archive(how=zipfile.ZIP_STORED, drop=(), **entries: bytes) -> bytes:
    """Return the sound archive with other entries, or some dropped."""
    net, buffer = sound(), io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(keras_bytes(net.config(), net.weights))) as old,
        zipfile.ZipFile(buffer, "w", how) as new,
    ):
        held = {info.filename: old.read(info) for info in old.infolist()} | entries
        for name, content in held.items():
            if name not in drop:
                new.writestr(name, content)
    return buffer.getvalue()


def twice() -> bytes:
    buffer = io.BytesIO(archive())
    with zipfile.ZipFile(buffer, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("config.json", "{}")
    return buffer.getvalue()


def encrypted() -> bytes:
    content = bytearray(archive())
    for mark in (b"PK\x03\x04", b"PK\x01\x02"):
        place = content.index(mark)
        content[place + (6 if mark[2] == 3 else 8)] |= 1
    return bytes(content)


BOMB = bytes(2**24)
K = "net.keras: "
ARCHIVES = [
    Mutant("empty", lambda: b"", (f"{K}got", "expected a .keras archive")),
    Mutant("text", lambda: b"PK no archive", (f"{K}got", "expected a .keras archive")),
    Mutant("cut off", lambda: archive()[:-30], (f"{K}got", "expected a .keras archive")),
    Mutant("no config", lambda: archive(drop=["config.json"]), (f"{K}got 'no config.json'",)),
    Mutant("no weights", lambda: archive(drop=["model.weights.h5"]),
           ("got 'no model.weights.h5'",)),
    Mutant("no metadata", lambda: archive(drop=["metadata.json"])),
    Mutant("a name that climbs", lambda: archive(**{"../../sprung": b"x"}),
           ("net.keras: '../../sprung': got 'another entry'",)),
    Mutant("an asset that climbs", lambda: archive(**{"assets/../../sprung": b"x"}),
           ("'assets/../../sprung': got 'another entry'",)),
    Mutant("a name from the root", lambda: archive(**{"/sprung": b"x"}), ("'/sprung': got",)),
    Mutant("an asset", lambda: archive(**{"assets/words.txt": b"x"})),
    Mutant("a pickle", lambda: archive(**{"model.pkl": b"x"}), ("'model.pkl': got 'another ent",)),
    Mutant("a bomb", lambda: archive(zipfile.ZIP_DEFLATED, **{"model.weights.h5": BOMB}),
           ("got 'compressed or encrypted', expected entries stored as they are",)),
    Mutant("a password", encrypted, ("got 'compressed or encrypted'",)),
    Mutant("two configs", twice, (f"{K}got 'entries of one name'",)),
    Mutant("a config of 17 MB", lambda: archive(**{"config.json": b" " * (17 * 2**20)}),
           (f"{K}got 'config.json of more than",)),
    Mutant("a config too deep", lambda: archive(**{"config.json": b"[" * 200_000}),
           (f"{K}config: got", "expected JSON")),
    Mutant("weights that are text", lambda: archive(**{"model.weights.h5": b"x" * 999}),
           ("net.keras: model.weights.h5: got", "expected a sound HDF5 file")),
    Mutant("other weights", lambda: archive(**{"model.weights.h5": numbered({})}),
           ("layer 'stem' (Conv2D): got 'nothing', expected the path 'conv2d/vars'",)),
    Mutant("a weight too few", lambda: archive(**{"model.weights.h5": numbered({"conv2d": 1})}),
           ("layer 'stem' (Conv2D): weights: got 1, expected 2: kernel, bias",)),
    Mutant("a weight in an odd place", lambda: archive(**{"model.weights.h5": numbered(
           {"conv2d": -1})}), ("layer 'stem' (Conv2D): got 'nothing', expected the path '0'",)),
]  # fmt: skip


def numbered(counts: dict[str, int]) -> bytes:
    """Return weights with so many arrays of each layer; -1 is one with a wrong number."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_group("layers")
        for slot, count in counts.items():
            for index in range(abs(count)):
                name = f"layers/{slot}/vars/{index if count > 0 else index + 7}"
                file.create_dataset(name, data=np.ones(3, np.float32))
    return buffer.getvalue()


@each(ARCHIVES)
def test_archives(bnnsim, work, mutant):
    Path("net.keras").write_bytes(mutant.change())
    said = bnnsim("lower", "net.keras", "-o", "net.bnn")
    if mutant.says:
        check_refused(said, "net.keras", mutant.says)
        assert [path.name for path in work.iterdir()] == ["net.keras"]
    else:
        assert (said.status, said.err) == (0, "")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ("net.json", "net.json: got 'no weights', expected weights beside an architecture"),
        ("net.json --weights gone.h5", "gone.h5: got 'No such file or directory'"),
        ("net.json --weights net.json", "net.json: got"),
        ("net.h5 --weights /dev/zero", "/dev/zero: got 'a pipe or device'"),
        ("net.h5 --input-shape 6,5",
         "input_shape: got (6, 5), expected a shape that fits [6, 5, 2]"),
        ("net.h5 --network a", "--network: got 'net.h5'"),
    ],
)  # fmt: skip
def test_options(bnnsim, net, argv, says):
    sound().save(Path("net.json"))
    check_refused(bnnsim("inspect", *argv.split()), "", (says,))
