"""Damaged FPGA parameter folders and their foldings."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from frontends.pynq_writer import Net, conv, dense
from hostile.refusals import Mutant, check_refused, each

LAYERS = [
    conv(3, 1, 6, 4, simd=3, pe=2),
    conv(3, 4, 4, 2, simd=4, pe=2),
    dense(8, 16, simd=8, pe=4, api=16),
]


@pytest.fixture
def folder(work) -> Path:
    """Return the folder net/ with its folding.json, in the working folder."""
    net = Net(LAYERS, seed=1)
    path = net.write(work / "net", classes=3)
    (path / "folding.json").write_text(json.dumps(net.folding))
    return path


def without(name: str):
    return lambda folder: (folder / name).unlink()


def cut(name: str, size: int):
    return lambda folder: os.truncate(folder / name, size)


def stray(name: str, data: bytes = bytes(8)):
    return lambda folder: (folder / name).write_bytes(data)


def instead(name: str, make):
    """Return a change that puts something else where the file ``name`` was."""

    def change(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return change


def linked(folder: Path) -> None:
    weights = folder / "0-0-weights.bin"
    weights.rename(folder.parent / "elsewhere")
    weights.symlink_to(folder.parent / "elsewhere")


def folding(change):
    """Return a change of the folding as JSON values."""

    def apply(folder: Path) -> None:
        path = folder / "folding.json"
        plain = json.loads(path.read_text())
        change(plain)
        path.write_text(json.dumps(plain))

    return apply


def layer(name: str, **entries):
    return folding(lambda plain: plain[name].update(entries))


def text(content: str | bytes):
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / "folding.json").write_bytes(data)


W, T = "net: 0-0-weights.bin: got", "net: 0-0-thres.bin: got"
FILES = [
    Mutant("no weights", without("0-0-weights.bin"), (f"{W} 'no such file', expected a file of",)),
    Mutant("no weights of a later element", without("1-1-weights.bin"),
           ("net: 1-1-weights.bin: got",)),
    Mutant("no thresholds", without("0-0-thres.bin"), (f"{T} 'no such file'",)),
    Mutant("empty weights", cut("0-0-weights.bin", 0),
           (f"{W} '0 bytes', expected a file of 48 byt",)),
    Mutant("weights a byte short", cut("0-0-weights.bin", 47),
           (f"{W} '47 bytes', expected a file of",)),
    Mutant("weights a word short", cut("0-0-weights.bin", 40), (f"{W} '40 bytes'",)),
    Mutant("weights a word long", cut("0-0-weights.bin", 56), (f"{W} '56 bytes'",)),
    Mutant("weights of a terabyte", cut("0-0-weights.bin", 2**40), (f"{W} '1099511627776 bytes'",)),
    Mutant("thresholds short", cut("0-0-thres.bin", 8),
           (f"{T} '8 bytes', expected a file of 16 by",)),
    Mutant("thresholds long", cut("0-0-thres.bin", 24), (f"{T} '24 bytes'",)),
    Mutant("a file of a layer too many", stray("3-0-weights.bin"),
           ("net: got '3-0-weights.bin', expected layers up to 2",)),
    Mutant("a file of an element too many", stray("0-2-weights.bin"),
           ("net: got '0-2-weights.bin', expected processing elements up to 1 in this layer",)),
    Mutant("a file of another kind", stray("0-0-bias.bin"),
           ("net: got '0-0-bias.bin', expected L-P-weights.bin or L-P-thres.bin",)),
    Mutant("a number with a zero before it", stray("00-0-weights.bin"),
           ("got '00-0-weights.bin'",)),
    Mutant("a number with a sign", stray("-1-0-weights.bin"), ("got '-1-0-weights.bin'",)),
    Mutant("a number in other digits", stray("\u0663-0-weights.bin"),
           ("got '\u0663-0-weights.bin'",)),
    Mutant("a number of 5000 digits in a short name", stray("9" * 200 + "-0-weights.bin"),
           ("net: got '999", "expected layers up to 2")),
    Mutant("a folder for weights", instead("0-0-weights.bin", Path.mkdir),
           (f"{W} 'no regular file'",)),
    Mutant("a pipe for weights", instead("0-0-weights.bin", os.mkfifo),
           (f"{W} 'no regular file'",)),
    Mutant("a device for weights",
           instead("0-0-weights.bin", lambda p: p.symlink_to("/dev/zero")),
            (f"{W} 'no regular file'",)),
    Mutant("a link to nothing",
           instead("0-0-weights.bin", lambda p: p.symlink_to("gone")), ("No such file",)),
    Mutant("a link to itself", instead("0-0-weights.bin", lambda p: p.symlink_to(p.name)),
           ("net: got", "symbolic links")),
    Mutant("classes too many", stray("classes.txt", b"a\n" * 17),
           ("net/classes.txt: lines: got 17, expected at most 16",)),
    Mutant("no class", stray("classes.txt", b"\n\n"), ("net/classes.txt: got 'no line'",)),
    Mutant("classes of a megabyte", stray("classes.txt", b"a" * 2**20),
           ("net/classes.txt: got 'a larg",)),
    Mutant("classes in a folder", instead("classes.txt", Path.mkdir), ("net/classes.txt: got",)),
    Mutant("classes that are a pipe", instead("classes.txt", os.mkfifo),
           ("net/classes.txt: got 'a pipe or device'",)),
    Mutant("no folding", without("folding.json"),
           ("net: got 'none', expected a folding", "--folding")),
    Mutant("other files", stray("notes.txt", b"mine")),
    Mutant("a link to the weights", linked),
]  # fmt: skip
F = "net/folding.json: "
FOLDINGS = [
    *(Mutant(f"L0 without {key}", folding(lambda f, key=key: f["L0"].pop(key)),
             (f"{F}L0: {key}: got 'nothing', expected an integer",))
      for key in ("IFM_CH", "IFM_DIM", "OFM_CH", "OFM_DIM", "SIMD", "PE", "WPI", "API")),
    *(Mutant(f"L0 with {key} of {value!r}", layer("L0", **{key: value}),
             (f"{F}L0: {key}: got {value!r}",))
      for key in ("K", "IFM_CH", "SIMD", "PE", "WPI", "API")
      for value in (0, -1, 1.5, "3", None, True, 2**40)),
    Mutant("no layer", text("{}"), (f"{F}folding: got {{}}, expected an object of layers",)),
    Mutant("a list", text("[]"), ("net/folding.json: got 'list', expected a JSON object",)),
    Mutant("no JSON", text("{"), ("net/folding.json: got", "expected a JSON file")),
    Mutant("empty", text(""), ("net/folding.json: got", "expected a JSON file")),
    Mutant("no UTF-8", text(b'{"L0": "\xff"}'), ("net/folding.json: got", "expected a JSON file")),
    Mutant("nested too deep", text("[" * 100_000),
           ("net/folding.json: got", "expected a JSON file")),
    Mutant("a megabyte and a byte", text(" " * (2**20 + 1)),
           ("folding.json: got 'a larger file'",)),
    Mutant("a layer that is a list", folding(lambda f: f.update(L1=[])),
           (f"{F}L1: got [], expected",)),
    Mutant("a layer missing", folding(lambda f: f.pop("L1")), (f"{F[:-2]}: got ['L0', 'L2']",)),
    Mutant("a layer too many", folding(lambda f: f.update(L3=f["L2"])),
           (f"{F}L3: MW: got 8, expected 16",)),
    Mutant("a key misspelt", folding(lambda f: f["L0"].update(SIMDD=1)),
           (f"{F}L0: got 'SIMDD'", "Did you mean 'SIMD'?")),
    Mutant("layers swapped", folding(lambda f: f.update(L0=f["L1"], L1=f["L0"])),
           (f"{F}L1: IFM_CH",)),
    Mutant("SIMD that does not divide", layer("L0", SIMD=2),
           (f"{F}L0: SIMD: got 2, expected a divisor",)),
    Mutant("PE that does not divide", layer("L0", PE=3),
           (f"{F}L0: PE: got 3, expected a divisor",)),
    Mutant("SIMD of another split", layer("L0", SIMD=9),
           (f"{W} '48 bytes', expected a file of 16",)),
    Mutant("PE of another split", layer("L0", PE=1), ("net: got '0-1-thres.bin'", W)),
    Mutant("two bits a weight", layer("L0", WPI=2), ("net/0-0-weights.bin: row",)),
    Mutant("three bits a weight", layer("L1", WPI=3),
           (f"{F}L1: WPI: got 3, expected 1 or 2 bits",)),
    Mutant("two bits an activation", layer("L0", API=2),
           (f"{T} '16 bytes', expected a file of 32",)),
    Mutant("an image of another size", layer("L1", IFM_DIM=3, OFM_DIM=1),
           (f"{F}L1: IFM_DIM: got 3",)),
    Mutant("an output of another size", layer("L0", OFM_DIM=5),
           (f"{F}L0: OFM_DIM: got 5, expected IFM",)),
    Mutant("channels that do not follow", layer("L1", IFM_CH=3),
           (f"{F}L1: IFM_CH: got 3, expected 4",)),
    Mutant("a matrix too large", layer("L2", MW=65536, MH=65536, SIMD=1, PE=1),
           (f"{F}L2: got '65536 x 65536', expected at most",)),
    Mutant("two networks, neither named", folding(lambda f: f.update(
           {"folding": {"lfc": dict(f), "cnv": dict(f)}})),
            (f"{F}network: got 'net', expected one of",)),
    Mutant("the folding under its network's name", folding(lambda f: f.update(
           {"folding": {"net": {k: f[k] for k in ("L0", "L1", "L2")}}}))),
]  # fmt: skip


@each([*FILES, *FOLDINGS])
def test_folders(bnnsim, folder, mutant):
    if not mutant.says:
        bnnsim("lower", "pynq:net", "-o", "sound.bnn")
    mutant.change(folder)
    said = bnnsim("lower", "pynq:net", "-o", "net.bnn")
    if mutant.says:
        check_refused(said, "net", mutant.says)
        assert not Path("net.bnn").exists()
    else:
        assert (said.status, said.err) == (0, "")
        assert Path("net.bnn").read_bytes() == Path("sound.bnn").read_bytes()


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ("pynq:", "got 'none', expected a folding"),
        ("pynq:gone", "gone: got 'no such folder', expected a folder of L-P-weights.bin"),
        ("pynq:gone --folding net/folding.json", "gone: got 'no such folder'"),
        ("pynq:net/classes.txt --folding net/folding.json", "classes.txt: got 'no such folder'"),
        ("pynq:net --folding gone.json", "gone.json: got 'No such file or directory'"),
        ("pynq:net --folding net", "net: got 'Is a directory', expected a readable JSON file"),
        ("pynq:net --folding /dev/zero", "/dev/zero: got 'a pipe or device'"),
        ("pynq:net --folding net/0-0-weights.bin", "0-0-weights.bin: got"),
    ],
)
def test_places(bnnsim, folder, argv, says):
    check_refused(bnnsim("inspect", *argv.split()), "", (says,))
