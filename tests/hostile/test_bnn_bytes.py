"""Damaged ``.bnn`` files: their bytes, and the header of the container."""

from __future__ import annotations

import json
import struct

import pytest
from hostile import bnn_files
from hostile.bnn_files import check
from hostile.refusals import Mutant, each

LENGTH = ("header length: got",)
UNREADABLE = ("expected a safetensors file",)


# --- bytes -------------------------------------------------------------------------------------


def header_end(file: bytes) -> int:
    return 8 + struct.unpack("<Q", file[:8])[0]


def length(value: int):
    return lambda f: struct.pack("<Q", value) + f[8:]


BYTES = [
    Mutant("empty", lambda f: b"", (*LENGTH, "got 0", "file of 0 bytes")),
    Mutant("4 bytes", lambda f: f[:4], (*LENGTH, "file of 4 bytes")),
    Mutant("length alone", lambda f: f[:8], (*LENGTH, "file of 8 bytes", "truncated")),
    Mutant("half a header", lambda f: f[: header_end(f) // 2], (*LENGTH, "truncated")),
    Mutant("no data", lambda f: f[: header_end(f)], UNREADABLE),
    Mutant("half the data", lambda f: f[: (header_end(f) + len(f)) // 2], UNREADABLE),
    Mutant("a byte short", lambda f: f[:-1], UNREADABLE),
    Mutant("a byte long", lambda f: f + b"\0", UNREADABLE),
    Mutant("length 0", length(0), (*LENGTH, "got 0")),
    Mutant("length 1", length(1), (*LENGTH, "got 1")),
    Mutant("length 2^62", length(2**62), (*LENGTH, str(2**62))),
    Mutant("length of the file", lambda f: length(len(f) - 7)(f), LENGTH),
    Mutant("length too short", lambda f: length(header_end(f) - 16)(f), ("header: got",)),
    Mutant("zeros", lambda f: bytes(len(f)), (*LENGTH, "got 0")),
    Mutant("a zip archive", lambda f: b"PK\x03\x04" + f, LENGTH),
    Mutant("a pickle", lambda f: b"\x80\x04cos\nsystem\n(S'id'\ntR." + f, LENGTH),
    Mutant("text", lambda f: b"this is no network at all", LENGTH),
    Mutant("the first tensor's byte flipped",
           lambda f: f[: header_end(f)] + bytes([f[header_end(f)] ^ 1]) + f[header_end(f) + 1 :],
           ("sha256: got", "changed or damaged")),
    Mutant("the last byte flipped", lambda f: f[:-1] + bytes([f[-1] ^ 1]), ("sha256: got",)),
]  # fmt: skip


@each(BYTES)
def test_bytes(bnnsim, kept, work, mutant):
    check(bnnsim, kept, work, mutant.change((kept / "net.bnn").read_bytes()), mutant.says)


# --- the header of the container -----------------------------------------------------------------

MEAN = "batchnorm2.mean"


def entry(**change):
    return lambda h: h[MEAN].update(change)


def meta(**change):
    return lambda h: h["__metadata__"].update(change)


def swapped_offsets(h):
    a, b = h[MEAN], h["batchnorm2.beta"]
    a["data_offsets"], b["data_offsets"] = b["data_offsets"], a["data_offsets"]


def renamed(h):
    h["batchnorm2.maen"] = h.pop(MEAN)


OFFSETS = (f"header: '{MEAN}': data_offsets: got",)
SHAPE = f"header: '{MEAN}': shape: got"
HEADERS = [
    Mutant("unknown dtype", entry(dtype="Q8"), (f"header: '{MEAN}': dtype: got 'Q8'",)),
    Mutant("wider dtype", entry(dtype="F64"), (*OFFSETS, "40 bytes for F64 [5]")),
    Mutant("dtype is a number", entry(dtype=5), (f"header: '{MEAN}': dtype: got 5",)),
    Mutant("another dtype of that width", entry(dtype="I32"), ("sha256: got",)),
    Mutant("longer shape", entry(shape=[6]), (*OFFSETS, "24 bytes for F32 [6]")),
    Mutant("shorter shape", entry(shape=[4]), (*OFFSETS, "16 bytes for F32 [4]")),
    Mutant("another shape of that size", entry(shape=[5, 1]), ("sha256: got",)),
    Mutant("negative shape", entry(shape=[-5]), (f"{SHAPE} [-5]",)),
    Mutant("shape of 2^62", entry(shape=[2**62, 4]), (*OFFSETS, "[4611686018427387904, 4]")),
    Mutant("shape of 2^200", entry(shape=[2**200]), (f"{SHAPE} [16069",)),
    Mutant("no shape", lambda h: h[MEAN].pop("shape"), (f"{SHAPE} None",)),
    Mutant("no dtype", lambda h: h[MEAN].pop("dtype"), (f"header: '{MEAN}': dtype: got None",)),
    Mutant("no offsets", lambda h: h[MEAN].pop("data_offsets"), (*OFFSETS, "got None")),
    Mutant("offsets past the end", entry(data_offsets=[10**6, 10**6 + 20]), UNREADABLE),
    Mutant("offsets backwards", entry(data_offsets=[20, 0]), (*OFFSETS, "[20, 0]")),
    Mutant("offsets of another tensor", lambda h: h[MEAN].update(
        data_offsets=h["batchnorm2.beta"]["data_offsets"]), UNREADABLE),
    Mutant("negative offsets", entry(data_offsets=[-20, 0]), (*OFFSETS, "[-20, 0]")),
    Mutant("fractional offsets", entry(data_offsets=[0.5, 20]), (*OFFSETS, "[0.5, 20]")),
    Mutant("offsets of 2^70", entry(data_offsets=[2**70, 2**70 + 20]), OFFSETS),
    Mutant("tensors swapped", swapped_offsets, ("sha256: got", "changed or damaged")),
    Mutant("tensor renamed", renamed, ("sha256: got",)),
    Mutant("tensor gone", lambda h: h.pop(MEAN), UNREADABLE),
    Mutant("no metadata", lambda h: h.pop("__metadata__"), ("schema: got None",)),
    Mutant("metadata is a list", lambda h: h.update(__metadata__=[]),
           ("header: '__metadata__': got [], expected an object",)),
    Mutant("metadata of numbers", meta(schema=1),
           ("header: __metadata__: schema: got 1, expected a str",)),
    Mutant("no schema", lambda h: h["__metadata__"].pop("schema"), ("schema: got None",)),
    Mutant("schema to come", meta(schema="bnnsim/graph/2"),
           ("schema: got 'bnnsim/graph/2', expected 'bnnsim/graph/1'",)),
    Mutant("no hash", lambda h: h["__metadata__"].pop("sha256"), ("sha256: got None",)),
    Mutant("another hash", meta(sha256="0" * 64), ("sha256: got '000000",)),
    Mutant("no graph", lambda h: h["__metadata__"].pop("graph"), ("graph: got None",)),
    Mutant("another graph", meta(graph="{}"), ("sha256: got",)),
    Mutant("a graph of 9 MB", meta(graph=" " * 9_000_000), ("graph: got 9000000, expected at mo",)),
    Mutant("a key that nobody reads", meta(author="someone")),
    Mutant("entries in another order", lambda h: h.update({MEAN: h.pop(MEAN)})),
]  # fmt: skip


@each(HEADERS)
def test_headers(bnnsim, kept, work, mutant):
    file = bnn_files.with_header((kept / "net.bnn").read_bytes(), mutant.change)
    check(bnnsim, kept, work, file, mutant.says)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "header length: got 0"),
        ("{", "header length: got 1"),
        ("{ ", "header: got"),
        ("[]", "header: got 'list', expected an object of tensors"),
        ("null", "header: got 'NoneType'"),
        ("[" * 100_000, "header: got"),
        ('{"a": 1}', "header: 'a': got 1, expected an object"),
        ('"' + "x" * 50, "header: got 'Unterminated string"),
        ('{"\\ud800": 3}', "header: '\\ud800': got 3"),
    ],
)
def test_headers_that_are_none(bnnsim, kept, work, text, says):
    check(bnnsim, kept, work, bnn_files.join(text, b""), (says,))


def test_a_header_in_another_encoding(bnnsim, kept, work):
    file = (kept / "net.bnn").read_bytes()
    end = header_end(file)
    check(bnnsim, kept, work, file[: end - 1] + b"\xff" + file[end:], ("header: got",))


def test_a_header_with_spaces_is_the_same_network(bnnsim, kept, work):
    header, data = bnn_files.split((kept / "net.bnn").read_bytes())
    check(bnnsim, kept, work, bnn_files.join(json.dumps(header, indent=2), data), ())
