"""Damaged and hostile .h5 files: each is refused by name, none runs code or allocates much."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from hostile.keras_nets import CONV, H, sound
from hostile.refusals import Mutant, check_refused, each

KERNEL = "model_weights/conv/conv/kernel:0"


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


def packed(file, raw: bytes, chunks=(3, 3, 3, 4)) -> None:
    """Store a kernel whose first chunk is the given bytes."""
    del file[KERNEL]
    made = file.create_dataset(KERNEL, (3, 3, 3, 4), "f4", chunks=chunks, compression="gzip")
    made.id.write_direct_chunk((0, 0, 0, 0), raw)


def bomb(file) -> None:
    packed(file, zlib.compress(bytes(2**26)))


def torn(file) -> None:
    packed(file, b"no gzip" * 9)


def holey(file) -> None:
    packed(file, zlib.compress(bytes(144)), (1, 3, 3, 4))


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


PLAIN = "expected data in the file itself, contiguous or in chunks"
HARD = "expected data in the file itself, and no link"
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
    Mutant("data of another file", hdf5(outside), (f"{CONV}: kernel: got 'another layout", PLAIN)),
    Mutant("virtual data", replaced(layout=h5py.VirtualLayout((3, 3, 3, 4), "f4")),
           (f"{CONV}: kernel: got", PLAIN)),
    Mutant("another compression", replaced(compression="lzf"), (f"{CONV}: kernel: got", PLAIN)),
    Mutant("checksums", replaced(fletcher32=True), (f"{CONV}: kernel: got", PLAIN)),
    Mutant("a chunk that inflates without end", hdf5(bomb),
           (f"{CONV}: kernel: got 'a chunk of other than 432 bytes'",)),
    Mutant("a chunk that is not gzip", hdf5(torn), (f"{CONV}: kernel: got 'a chunk that is not",)),
    Mutant("a chunk that is missing", hdf5(holey), (f"{CONV}: kernel: got '1 chunks of 3'",)),
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
