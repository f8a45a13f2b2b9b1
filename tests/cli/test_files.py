"""Files in: checked by their header before any data is read. Files out: whole or not at all."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest

from bnnsim.cli.files import check_output, read_json, read_npy, to_json, write_array, write_bytes
from bnnsim.errors import BnnsimError, InputError


def saved(path, array, **options):
    np.save(path, array, **options)
    return str(path)


def header(text: str, version: tuple[int, int] = (1, 0)) -> bytes:
    body = text.encode("latin1") + b"\n"
    size = struct.pack("<H" if version == (1, 0) else "<I", len(body))
    return b"\x93NUMPY" + bytes(version) + size + body


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back(tmp_path, rng, dtype, order):
    array = np.asarray(rng.integers(0, 99, (3, 5, 2)), dtype=dtype, order=order)
    path = saved(tmp_path / "x.npy", array)
    got = read_npy(path, dtypes="uint8 float32", sample=(5, 2), rows=3)
    assert got.dtype == array.dtype
    assert (got == array).all()


@pytest.mark.parametrize(
    ("array", "wanted", "text"),
    [
        (np.zeros((3, 4)), {}, r"x.npy: dtype: got 'float64', expected uint8 or float32\. Convert"),
        (np.zeros((3, 5), np.uint8), {}, r"x.npy: shape: got \(3, 5\), expected \(N, 4\)\."),
        (np.zeros(4, np.uint8), {}, r"got \(4,\), expected \(N, 4\)"),
        (np.zeros((0, 4), np.uint8), {}, r"got \(0, 4\), expected at least one row"),
        (np.uint8(3), {}, r"got \(\), expected at least one row"),
        (np.zeros((3, 4), np.uint8), {"rows": 2}, r"rows: got 3, expected 2, one per image"),
        (np.zeros((3, 4), bool), {"dtypes": "integers"}, r"got 'bool', expected integers\."),
        (np.zeros((3, 4), complex), {"dtypes": "numbers"}, r"got 'complex128', expected numbers"),
    ],
)
def test_unfit_arrays_are_refused(tmp_path, array, wanted, text):
    path = saved(tmp_path / "x.npy", array)
    with pytest.raises(InputError, match=text):
        read_npy(path, **({"dtypes": "uint8 float32", "sample": (4,)} | wanted))


def test_images_are_said_to_be_nhwc(tmp_path):
    path = saved(tmp_path / "x.npy", np.zeros((2, 3, 8, 8), np.uint8))
    with pytest.raises(
        InputError, match=r"expected \(N, 8, 8, 3\)\. Images are NHWC: use x\.transpose"
    ):
        read_npy(path, dtypes="uint8", sample=(8, 8, 3))


def test_objects_are_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    path = saved(tmp_path / "x.npy", np.array([Trap()], object), allow_pickle=True)
    with pytest.raises(InputError, match=r"dtype: got 'object'"):
        read_npy(path, dtypes="numbers")
    assert not (tmp_path / "sprung").exists()


BIG = "{'descr': '|u1', 'fortran_order': False, 'shape': (1099511627776, 4), }"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\xff\xff{}",
        b"\x93NUMPY\x09\x00" + b"\x00" * 40,
        b"PK\x03\x04" + b"\x00" * 60,
        header("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 4"),
        header("__import__('os').getcwd()"),
        header("{'descr': '|u1', 'fortran_order': False}"),
        header("{'descr': 'zz', 'fortran_order': False, 'shape': (2, 4), }"),
        header("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 'a'), }"),
        header("(" * 5000),
        header(BIG + " " * 20000),
        header(BIG.ljust(20000), (2, 0)),
    ],
)
def test_hostile_headers_are_refused(tmp_path, content):
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"x.npy: got .* expected a .npy file\."):
        read_npy(str(tmp_path / "x.npy"), dtypes="uint8 float32", sample=(4,))


@pytest.mark.parametrize("extra", [-1, 1])
def test_files_of_another_length_are_refused(tmp_path, extra):
    path = saved(tmp_path / "x.npy", np.zeros((3, 4), np.uint8))
    size = Path(path).stat().st_size
    os.truncate(path, size + extra)
    with pytest.raises(InputError, match=rf"data: got '{12 + extra} bytes', expected 12 bytes"):
        read_npy(path, dtypes="uint8", sample=(4,))


def test_a_stated_size_is_never_allocated(tmp_path):
    (tmp_path / "x.npy").write_bytes(header(BIG) + b"\x00" * 8)
    with pytest.raises(InputError, match=r"got '8 bytes', expected 4398046511104 bytes"):
        read_npy(str(tmp_path / "x.npy"), dtypes="uint8", sample=(4,))


@pytest.mark.parametrize("name", ["missing.npy", "."])
def test_missing_files_and_folders_are_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"expected a readable \.npy file"):
        read_npy(str(tmp_path / name), dtypes="uint8")


def test_outputs_are_checked_before_the_work(tmp_path):
    with pytest.raises(InputError, match=r"got 'standard output'.*Only --json takes -\."):
        check_output("-")
    check_output(str(tmp_path / "new.json"))
    with pytest.raises(InputError, match=r"got 'a folder', expected a file name"):
        check_output(str(tmp_path))
    with pytest.raises(InputError, match=r"got 'no such folder'.*mkdir -p"):
        check_output(str(tmp_path / "no" / "y.npy"))


def test_writing_replaces_whole_files_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "y.npy"
    for array in (np.arange(5), np.arange(3.0)):
        write_array(path, array)
        assert (np.load(path) == array).all()
    assert [p.name for p in tmp_path.iterdir()] == ["y.npy"]


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "r.json"
    path.write_text("old")

    def full(self, data):
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(type(path), "write_bytes", full)
    with pytest.raises((OSError, BnnsimError)):
        write_bytes(path, b"new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


def test_a_link_is_written_through_and_a_device_is_not_replaced(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    write_bytes("/dev/null", b"x")
    assert not Path("/dev/null").is_file()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"{", r"expected JSON"),
        (b"\xff", r"expected JSON in UTF-8"),
        (b"[NaN]", r"NaN is no JSON number"),
        (b"[" * 100000, r"expected JSON"),
        (b"1" * 5000, r"expected JSON"),
    ],
)
def test_bad_json_is_refused(tmp_path, content, text):
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(InputError, match=text):
        read_json(str(tmp_path / "r.json"))


def test_huge_json_is_refused_unread(tmp_path):
    with (tmp_path / "r.json").open("wb") as file:
        file.truncate(65 * 2**20)
    with pytest.raises(InputError, match=r"expected at most 67108864 bytes"):
        read_json(str(tmp_path / "r.json"))


def test_json_is_ascii_without_nan():
    assert to_json({"a": "ö"}) == '{\n "a": "\\u00f6"\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json(float("nan"))


def test_headers_of_python_2_are_refused(tmp_path):
    (tmp_path / "x.npy").write_bytes(
        header("{'descr': '|u1', 'fortran_order': False, 'shape': (2L, 4L), }") + bytes(8)
    )
    with pytest.raises(InputError, match=r"created on Python 2.*Write it with `numpy.save"):
        read_npy(str(tmp_path / "x.npy"), dtypes="uint8")


def test_pipes_are_never_read(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(InputError, match=r"got 'a pipe or device', expected a regular file"):
        read_npy(str(path), dtypes="uint8")
    with pytest.raises(InputError, match="expected a regular file"):
        read_json(str(path))
    with pytest.raises(InputError, match=r"got 'a pipe or disk', expected a regular file, or a d"):
        check_output(str(path))
    check_output("/dev/null")
    check_output("/dev/stdout")


def test_folders_and_loops_are_no_outputs(tmp_path):
    with pytest.raises(InputError, match=r"new/: got 'a folder', expected a file name"):
        check_output(f"{tmp_path}/new/")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(InputError, match="a loop of links"):
        check_output(str(tmp_path / "loop"))
