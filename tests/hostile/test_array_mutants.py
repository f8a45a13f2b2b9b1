"""Damaged ``.npy`` files: inputs, labels and stored outputs."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hostile.refusals import Mutant, check_refused, each
from nets import float_residual

from bnnsim import api


def npy(header: str | bytes, data: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    """Return a file with a header of our own making."""
    text = (header if isinstance(header, bytes) else header.encode("latin-1")) + b"\n"
    size = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + size + text + data


def head(descr: str = "'|u1'", shape: str = "(3, 6, 5, 2)", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


PIXELS = bytes(180)


class Trap:
    """Pickled, this makes a folder where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("sprung",)


# A change gets the sound array and returns an array, or the bytes of a file.
SHAPE = "x.npy: shape: got"
DTYPE = "x.npy: dtype: got"
NO_NPY = ("x.npy: got", "expected a .npy file. Write it with `numpy.save")
DATA = "x.npy: data: got"
INPUTS = [
    Mutant("float64", lambda x: x / 255, (f"{DTYPE} 'float64', expected uint8", "multiply values")),
    Mutant("float32", lambda x: x.astype(np.float32), (f"{DTYPE} 'float32', expected uint8",)),
    Mutant("int8", lambda x: x.astype(np.int8), (f"{DTYPE} 'int8'", "x.astype('uint8')")),
    Mutant("int16, big end first", lambda x: x.astype(">i2"), (f"{DTYPE} '>i2'",)),
    Mutant("bool", lambda x: x > 9, (f"{DTYPE} 'bool'",)),
    Mutant("complex", lambda x: x.astype(complex), (f"{DTYPE} 'complex128'",)),
    Mutant("text", lambda x: x.astype(str), (f"{DTYPE} '<U",)),
    Mutant("dates", lambda x: x.astype("M8[s]"), (f"{DTYPE} 'datetime64[s]'",)),
    Mutant("records", lambda x: np.zeros(3, [("a", "u1")]), (DTYPE, "('a', 'u1')")),
    Mutant("objects", lambda x: np.array([Trap()], object), (f"{DTYPE} 'object'",)),
    Mutant("channels first", lambda x: x.transpose(0, 3, 1, 2), (f"{SHAPE} (3, 2, 6, 5)",
           "expected (N, 6, 5, 2). Images are NHWC: use x.transpose(0, 2, 3, 1)")),
    Mutant("flat", lambda x: x.reshape(3, -1), (f"{SHAPE} (3, 60)",)),
    Mutant("one image without its axis", lambda x: x[0], (f"{SHAPE} (6, 5, 2)",)),
    Mutant("no images", lambda x: x[:0], (f"{SHAPE} (0, 6, 5, 2), expected at least one row",)),
    Mutant("a number", lambda x: np.uint8(7), (f"{SHAPE} (), expected at least one row",)),
    Mutant("a row short", lambda x: x[:, :5], (f"{SHAPE} (3, 5, 5, 2)",)),
    Mutant("a channel more", lambda x: np.concatenate([x, x[..., :1]], 3),
           (f"{SHAPE} (3, 6, 5, 3)",)),
    Mutant("an axis more", lambda x: x[..., None], (f"{SHAPE} (3, 6, 5, 2, 1)",)),
    Mutant("column by column", np.asfortranarray),
    Mutant("format 2", lambda x: npy(head(), x.tobytes(), (2, 0))),
    Mutant("no file", None,
           ("x.npy: got 'No such file or directory', expected a readable .npy fi",)),
    Mutant("empty", lambda x: b"", NO_NPY),
    Mutant("magic alone", lambda x: b"\x93NUMPY", NO_NPY),
    Mutant("magic and version", lambda x: b"\x93NUMPY\x01\x00", NO_NPY),
    Mutant("version 9", lambda x: npy(head(), PIXELS, (9, 0)), (*NO_NPY, "version (9, 0)")),
    Mutant("version 3", lambda x: npy(head(), PIXELS, (3, 0)), (*NO_NPY, "version (3, 0)")),
    Mutant("half a header", lambda x: npy(head())[:40], NO_NPY),
    Mutant("header without an end", lambda x: npy(head()[:-3]), NO_NPY),
    Mutant("header of 20,000 bytes", lambda x: npy(head() + " " * 20_000, PIXELS), NO_NPY),
    Mutant("header that calls", lambda x: npy("__import__('os').mkdir('sprung')"), NO_NPY),
    Mutant("header nested too deep", lambda x: npy("(" * 5000), NO_NPY),
    Mutant("header is a list", lambda x: npy("[1, 2]"), NO_NPY),
    Mutant("header without a dtype", lambda x: npy("{'fortran_order': 0, 'shape': (3,)}"), NO_NPY),
    Mutant("header with a key more", lambda x: npy(head()[:-1] + "'a': 1}", PIXELS), NO_NPY),
    Mutant("header of Python 2", lambda x: npy(head(shape="(3L, 6L, 5L, 2L)"), PIXELS), NO_NPY),
    Mutant("header with a byte 0", lambda x: npy(head() + "\0", PIXELS), NO_NPY),
    Mutant("unknown dtype", lambda x: npy(head("'zz'"), PIXELS), NO_NPY),
    Mutant("dtype of no bytes", lambda x: npy(head("'|V0'"), PIXELS), (DTYPE, "V0")),
    Mutant("dtype of None", lambda x: npy(head("None"), PIXELS), NO_NPY),
    Mutant("order is a number", lambda x: npy(head(order="1"), PIXELS), NO_NPY),
    Mutant("shape is a number", lambda x: npy(head(shape="180"), PIXELS), NO_NPY),
    Mutant("shape of words", lambda x: npy(head(shape="(3, 'a')"), PIXELS), NO_NPY),
    Mutant("negative shape", lambda x: npy(head(shape="(-3, 6, 5, 2)"), PIXELS),
           ("x.npy: ", "got", "-")),
    Mutant("shape of 10^12 images", lambda x: npy(head(shape="(1000000000000, 6, 5, 2)"), PIXELS),
           (f"{DATA} '180 bytes', expected 60000000000000 bytes",)),
    Mutant("shape of 5000 digits", lambda x: npy(head(shape=f"({'9' * 5000},)"), PIXELS), NO_NPY),
    Mutant("more images than bytes", lambda x: npy(head(shape="(4, 6, 5, 2)"), PIXELS),
           (f"{DATA} '180 bytes', expected 240 bytes for uint8 (4, 6, 5, 2)",)),
    Mutant("fewer images than bytes", lambda x: npy(head(shape="(2, 6, 5, 2)"), PIXELS),
           (f"{DATA} '180 bytes', expected 120 bytes",)),
    Mutant("no data", lambda x: npy(head()), (f"{DATA} '0 bytes'",)),
    Mutant("a pickle", lambda x: pickle.dumps(Trap()), NO_NPY),
    Mutant("an archive of arrays", lambda x: b"PK\x03\x04" + PIXELS, NO_NPY),
    Mutant("a picture", lambda x: b"\x89PNG\r\n\x1a\n" + PIXELS, NO_NPY),
]  # fmt: skip


def put(path: str, change, sound: np.ndarray) -> None:
    if change is None:
        return
    content = change(sound)
    if isinstance(content, bytes):
        Path(path).write_bytes(content)
    else:
        np.save(path, content, allow_pickle=True)


@each(INPUTS)
def test_inputs(bnnsim, kept, work, mutant):
    put("x.npy", mutant.change, np.load(kept / "x.npy"))
    said = bnnsim("run", kept / "net.bnn", "--input", "x.npy", "-o", "y.npy")
    if mutant.says:
        check_refused(said, "x.npy: ", mutant.says)
        assert {path.name for path in work.iterdir()} <= {"x.npy"}
    else:
        assert (said.status, said.err) == (0, "")
        assert (work / "y.npy").read_bytes() == (kept / "y.npy").read_bytes()


LABELS = [
    Mutant("floats", lambda _: np.array([0.0, 3.0, 1.0]),
           ("l.npy: dtype: got 'float64', expected i",)),
    Mutant("too few", lambda _: np.array([0, 3]),
           ("l.npy: rows: got 2, expected 3, one per image",)),
    Mutant("in a column", lambda _: np.array([[0], [3], [1]]), ("l.npy: shape: got (3, 1)",)),
    Mutant("one hot", lambda _: np.eye(4, dtype=int)[:3], ("l.npy: shape: got (3, 4)",)),
    Mutant("negative", lambda _: np.array([0, -1, 1]), ("l.npy: label: got -1, expected 0 to 3",)),
    Mutant("a class too many", lambda _: np.array([0, 4, 1]), ("l.npy: label: got 4",)),
    Mutant("past int64", lambda _: np.array([0, 2**64 - 1, 1], np.uint64),
           ("l.npy: label: got 18446",)),
    Mutant("truth values", lambda _: np.array([True, False, True]), ("l.npy: dtype: got 'bool'",)),
    Mutant("objects", lambda _: np.array([Trap()] * 3, object), ("l.npy: dtype: got 'object'",)),
    Mutant("words", lambda _: np.array(["a", "b", "c"]), ("l.npy: dtype: got '<U1'",)),
    Mutant("cut off", lambda x: npy(head("'<i8'", "(3,)"), bytes(23)),
           ("l.npy: data: got '23 bytes'",)),
    Mutant("big end first", lambda x: x.astype(">i8")),
    Mutant("of one byte", lambda x: x.astype(np.uint8)),
]  # fmt: skip


@each(LABELS)
def test_labels(bnnsim, kept, work, mutant):
    put("l.npy", mutant.change, np.load(kept / "labels.npy"))
    argv = ("run", kept / "net.bnn", "--input", kept / "x.npy", "-o", "y.npy", "--labels")
    said = bnnsim(*argv, "l.npy")
    if mutant.says:
        check_refused(said, "l.npy: ", mutant.says)
        assert {path.name for path in work.iterdir()} <= {"l.npy"}
    else:
        assert said.status == 0
        with_own = bnnsim(*argv, kept / "labels.npy")
        (line,) = [line for line in with_own.out.splitlines() if "accuracy" in line]
        assert line in said.out


OUTPUTS = [
    Mutant("nan", lambda y: np.where(y == y[0, 0], np.nan, y),
           ("y.npy: value at [0, 0]: got nan",)),
    Mutant("inf", lambda y: y * np.inf, ("y.npy: value at [0, 0]: got", "inf")),
    Mutant("a row short", lambda y: y[:2], ("y.npy: rows: got 2, expected 3, one per image",)),
    Mutant("a class short", lambda y: y[:, :3], ("(3, 3)", "(3, 4)")),
    Mutant("objects", lambda y: np.array([Trap()] * 3, object), ("y.npy: dtype: got 'object'",)),
    Mutant("complex", lambda y: y.astype(complex),
           ("y.npy: dtype: got 'complex128', expected numb",)),
    Mutant("cut off", lambda y: npy(head("'<f4'", "(3, 4)"), bytes(47)),
           ("y.npy: data: got '47 bytes'",)),
    Mutant("of float64", lambda y: y.astype(np.float64)),
]  # fmt: skip


@each(OUTPUTS)
def test_stored_outputs(bnnsim, kept, work, mutant):
    put("y.npy", mutant.change, np.load(kept / "y.npy"))
    argv = ("verify", kept / "net.bnn", "--input", kept / "x.npy", "--against", "y.npy")
    said = bnnsim(*argv)
    if mutant.says:
        check_refused(said, "", mutant.says)
    else:
        assert (said.status, said.err) == (0, "")
    assert [path.name for path in work.iterdir()] == ["y.npy"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_inputs_that_are_no_numbers(bnnsim, work, value):
    graph = float_residual()
    api.save(graph, work / "float.bnn")
    x = np.ones((2, *graph.tensor("input").shape), np.float32)
    x[1, 2, 3, 1] = value
    np.save("x.npy", x)
    said = bnnsim("run", "float.bnn", "--input", "x.npy", "-o", "y.npy")
    check_refused(said, "x.npy: ", (f"value at [1, 2, 3, 1]: got {value}, expected a finite numb",))
    assert not (work / "y.npy").exists()


def test_nothing_was_unpickled(work):
    """Every trap above makes this folder where it is read; each test has a folder of its own."""
    np.save("x.npy", np.array([Trap()], object), allow_pickle=True)
    np.load("x.npy", allow_pickle=True)
    assert (work / "sprung").is_dir()
