"""Wrong command lines: the message names the verb, option, file or environment variable."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile.refusals import check_refused

RUN = "run net.bnn --input x.npy"
ESTIMATE = "estimate net.bnn --profile cmos45"
COMPARE = "compare net.bnn --profile cmos45"
LONG = "a" * 300


@pytest.fixture
def files(kept, work) -> Path:
    """Go to a folder that holds the sound files and a folder called place."""
    for name in ("net.bnn", "x.npy", "y.npy", "labels.npy"):
        (work / name).write_bytes((kept / name).read_bytes())
    (work / "place").mkdir()
    (work / "place" / "kept").write_text("kept")
    (work / "loop").symlink_to("loop")
    (work / "dangling").symlink_to("gone/file")
    os.mkfifo(work / "pipe")
    return work


def contents(folder: Path) -> dict[str, bytes]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


VERBS = [
    ("", "the following arguments are required: VERB"),
    ("frobnicate", "bnnsim: verb: got 'frobnicate', expected one of lower"),
    ("LOWER net.bnn", "bnnsim: verb: got 'LOWER'"),
    ("--frobnicate", "bnnsim: the following arguments are required: VERB"),
    ("--versio", "bnnsim: the following arguments are required: VERB"),
    ("inspect", "bnnsim inspect: the following arguments are required: SOURCE"),
    ("run net.bnn", "bnnsim run: the following arguments are required: --input"),
    ("run --input x.npy", "bnnsim run: the following arguments are required: SOURCE"),
    ("lower net.bnn", "bnnsim lower: the following arguments are required: -o/--output"),
    ("estimate net.bnn", "bnnsim estimate: the following arguments are required: --profile"),
    ("compare --profile cmos45", "bnnsim compare: the following arguments are required: SOURCE"),
    ("verify net.bnn", "bnnsim verify: the following arguments are required: --input"),
    ("tables", "bnnsim tables: the following arguments are required: P"),
    ("profiles frob", "argument list|show|check|new: invalid choice: 'frob'"),
    ("profiles show", "bnnsim profiles show: the following arguments are required: P"),
    ("profiles new", "the following arguments are required: NAME, --from"),
    ("zoo frob", "argument list: invalid choice: 'frob'"),
    ("inspect net.bnn x.npy", "bnnsim inspect: unrecognized arguments: x.npy"),
    (f"{RUN} --thread 2", "unrecognized arguments: --thread 2. Did you mean '--threads'?"),
    (f"{ESTIMATE} --profil x", "unrecognized arguments: --profil x. Did you mean '--profile'?"),
    (f"{RUN} --labels", "bnnsim run: argument --labels: expected one argument"),
    (f"{RUN} -x 3", "bnnsim run: unrecognized arguments: -x 3"),
]
VALUES = [
    *((f"{RUN} --threads {n}", f"argument --threads: got '{n}', expected a whole number")
      for n in ("0", "-1", "1.5", "two", "2147483648", "9" * 30, "1e3", "0x10", "\u0663")),
    *((f"{ESTIMATE} --batch {n}", f"argument --batch: got '{n}', expected a whole number")
      for n in ("0", "-4", "1e3", "2147483648")),
    (f"{RUN} --isa avx3", "argument --isa: got 'avx3', expected one of auto, ref"),
    (f"{RUN} --isa AVX2", "argument --isa: got 'AVX2'"),
    (f"{RUN} --engine cuda", "argument --engine: got 'cuda', expected one of compiled, reference"),
    (f"{RUN} --seed 1", "seed: got 1, expected no such option in a deterministic run"),
    (f"{RUN} --samples 4", "samples: got 4, expected no such option"),
    (f"{RUN} --rng-bits 8", "bits: got 8, expected no such option"),
    (f"{RUN} --stochastic --seed -1", "seed: got -1"),
    (f"{RUN} --stochastic --seed {2**64}", f"seed: got {2**64}"),
    (f"{RUN} --stochastic --seed x", "argument --seed: got 'x', expected a whole number"),
    (f"{RUN} --stochastic --samples 0", "argument --samples: got '0'"),
    (f"{RUN} --stochastic --rng-bits 3", "got 3, expected"),
    (f"{RUN} --stochastic --preact-scale nan", "preact"),
    (f"{RUN} --stochastic --preact-scale much", "argument --preact-scale: invalid float value"),
    (f"{RUN} --dump conv2d1", "argument --dump: got 'conv2d1', expected LAYER=FILE"),
    (f"{RUN} --dump =f.npy", "argument --dump: got '=f.npy'"),
    (f"{RUN} --dump conv2d2=f.npy", "layer: got 'conv2d2'"),
    (f"{ESTIMATE} --mode bits", "got 'bits', expected one of"),
    (f"{ESTIMATE} --mode Binary", "Did you mean 'binary'?"),
    (f"{COMPARE} --modes binary,bits", "got 'bits', expected one of"),
    (f"{COMPARE} --modes ,", "argument --modes: got ',', expected names with commas"),
    ("estimate net.bnn --profile cmos54", "profile: got 'cmos54'"),
    ("estimate net.bnn --profile gone.yaml", "gone.yaml: got 'No such file or directory'"),
    ("estimate net.bnn --profile x.npy", "profile: got 'x.npy', expected one of"),
    ("estimate net.bnn --profile ./x.npy", "x.npy: not readable as YAML"),
    ("estimate net.bnn --profile place/", "place: got 'Is a directory', expected a readable prof"),
    ("compare net.bnn --profile cmos45,,", "argument --profile: got 'cmos45,,'"),
    (f"{ESTIMATE} --first bits", "argument --first: got 'bits', expected one of float"),
    (f"{ESTIMATE} --keep-float nothing", "small: got 'a binarized source', expected a source with"),
    ("compare zoo:resnet20 --profile cmos45 --modes int8 --binarize nothing",
     "--binarize: got 'nothing', expected a pattern that fits a layer"),
    ("lower net.bnn -o n.bnn --require-binary nothing", "--require-binary: got 'nothing'"),
    ("verify net.bnn --input x.npy --against torch", "verify against torch: got 'net.bnn'"),
    ("verify net.bnn --input x.npy --against onnx", "expected an .onnx source"),
    ("verify net.bnn --input x.npy --against gone.npy", "gone.npy: got 'No such file"),
    ("demo --images 5001", "--images: got 5001, expected at most 5000"),
    ("demo --images many", "argument --images: got 'many'"),
    ("profiles new Chip --from cmos45", "profile name: got 'Chip'"),
    ("profiles new chip --from gone", "profile: got 'gone'"),
]  # fmt: skip
SOURCES = [
    ("gone.bnn", "gone.bnn: got 'No such file or directory', expected a readable .bnn file"),
    ("place", "source: got 'place', expected NET.bnn"),
    ("x.npy", "source: got 'x.npy', expected NET.bnn"),
    ("place/kept/net.bnn", "place/kept/net.bnn: got 'Not a directory'"),
    ("pipe", "source: got 'pipe'"),
    ("/dev/zero", "source: got '/dev/zero'"),
    (f"{LONG}.bnn", "File name too long"),
    ("zoo:", "got ''"),
    ("zoo:alexnet9", "got 'alexnet9'"),
    ("zoo:tfc:randm", "zoo:tfc:randm: got 'randm', expected nothing, 'trained', 'random' or"),
    ("zoo:tfc:random,-1", "zoo:tfc:random,-1: got 'random,-1'"),
    ("zoo:tfc:random,1.5", "got 'random,1.5'"),
    ("net.pt2", "net.pt2: got 'no such file', expected a .pt2 archive"),
    ("py:os:getcwd", "py:os:getcwd: loading it runs code"),
    ("py:os:getcwd --trust --input-shape 3,y", "argument --input-shape: got 'y'"),
    ("net.bnn --weights w.pth", "--weights: got 'net.bnn', expected a source of the form py:"),
    (
        "net.bnn --folding f.json",
        "f.json: got 'No such file or directory', expected a readable JSON file",
    ),
    ("net.bnn --network lfc", "--network: got 'net.bnn'"),
    ("net.bnn --input-shape 3", "--input-shape: got 'net.bnn'"),
    ("net.bnn --sign-zero error", "--sign-zero: got 'net.bnn'"),
    ("net.bnn --sign-zero maybe", "argument --sign-zero: invalid choice: 'maybe'"),
]
UNWRITABLE = [
    ("place", "place: got 'a folder', expected a file name"),
    ("place/", "place/: got 'a folder'"),
    ("new/", "new/: got 'a folder'"),
    ("gone/file", "gone/file: got 'no such folder'"),
    ("net.bnn/file", "net.bnn/file: got 'no such folder'"),
    ("loop", "loop: got"),
    ("dangling", "gone"),
    ("pipe", "pipe: got 'a pipe or disk', expected a regular file"),
    (".", ".: got 'a folder'"),
    ("/", "/: got 'a folder'"),
    ("/proc/file", "/proc/file: got"),
    (LONG, "File name too long"),
    ("net.bnn", "net.bnn: got 'the command reads it'"),
    ("./place/../net.bnn", "net.bnn: got 'the command reads it'"),
]
WRITERS = {
    "lower": "lower net.bnn -o {}",
    "run": f"{RUN} -o {{}}",
    "dump": f"{RUN} --dump conv2d1={{}}",
    "json": "inspect net.bnn --json {}",
}


@pytest.mark.parametrize(("line", "says"), [*VERBS, *VALUES], ids=lambda text: text[-60:])
def test_arguments(bnnsim, files, line, says):
    before = contents(files)
    check_refused(bnnsim(*line.split()), "", (says,))
    assert contents(files) == before


@pytest.mark.parametrize(("source", "says"), SOURCES, ids=lambda text: text[-60:])
def test_sources(bnnsim, files, source, says):
    before = contents(files)
    check_refused(bnnsim("inspect", *source.split(" ")), "", (says,))
    assert contents(files) == before


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize(("output", "says"), UNWRITABLE, ids=lambda text: text[-40:])
def test_outputs(bnnsim, files, writer, output, says):
    before = contents(files)
    check_refused(bnnsim(*WRITERS[writer].format(output).split()), "", (says,))
    assert contents(files) == before


@pytest.mark.parametrize("writer", ["run", "dump", "json"])
def test_a_full_device(bnnsim, files, writer):
    """Unlike a folder that is missing, this shows only when the work is done."""
    before = contents(files)
    said = bnnsim(*WRITERS[writer].format("/dev/full").split())
    check_refused(said, "/dev/full: got 'No space left on device'", ())
    assert contents(files) == before


ODD = ["", " ", "\n", "\x1b[31m", "\u202e", "\ud800", "\u0663"]


@pytest.mark.parametrize("argument", ODD)
@pytest.mark.parametrize(
    "line",
    [
        "inspect {}",
        "inspect {}.bnn",
        "estimate zoo:tfc --profile {}",
        "inspect zoo:tfc --json gone{}/x",
        "profiles check {}",
    ],
)
def test_odd_characters_are_shown_and_do_not_act(bnnsim, files, line, argument):
    said = bnnsim(*(part.replace("{}", argument) for part in line.split(" ")))
    check_refused(said, "got ", ())
    assert said.err.isascii() or argument in "\u0663\u202e\ud800"
    assert "\x1b" not in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("isa", "says"),
    [("garbage", "BNNSIM_ISA"), ("\x1b[31m", "BNNSIM_ISA"), ("AVX2", "BNNSIM_ISA")],
)
def test_a_wrong_environment_is_named(bnnsim, files, monkeypatch, isa, says):
    monkeypatch.setenv("BNNSIM_ISA", isa)
    check_refused(bnnsim(*RUN.split()), says, ())


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Give up root's right to pass by the modes of files."""
    was_root = os.geteuid() == 0
    try:
        if was_root:
            os.seteuid(65534)
        yield
    finally:
        if was_root:
            os.seteuid(0)


@pytest.fixture
def open_folder(kept, monkeypatch) -> Iterator[Path]:
    """Go to a folder that anyone may enter, with files and folders that no one may use."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for file in ("net.bnn", "x.npy"):
            (folder / file).write_bytes((kept / file).read_bytes())
        (folder / "secret.npy").write_bytes((kept / "x.npy").read_bytes())
        (folder / "secret.npy").chmod(0o000)
        (folder / "locked").mkdir(mode=0o000)
        (folder / "fixed").mkdir(mode=0o555)
        monkeypatch.chdir(folder)
        yield folder


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("inspect locked/net.bnn", "locked/net.bnn: got 'Permission denied'"),
        ("run net.bnn --input secret.npy", "secret.npy: got 'Permission denied'"),
        ("run net.bnn --input x.npy --labels secret.npy", "secret.npy: got 'Permission denied'"),
        ("profiles check ./secret.npy", "secret.npy: got 'Permission denied'"),
        ("inspect net.bnn --json locked/r.json", "locked/r.json: got 'Permission denied'"),
        ("inspect net.bnn --json fixed/r.json", "fixed/r.json: got 'Permission denied'"),
        ("run net.bnn --input x.npy -o fixed/y.npy", "fixed/y.npy: got 'Permission denied'"),
        ("lower net.bnn -o fixed/n.bnn", "fixed/n.bnn: got 'Permission denied'"),
    ],
)
def test_files_that_may_not_be_read_or_written(bnnsim, open_folder, line, says):
    assert bnnsim(*RUN.split()).status == 0  # everything is loaded while it may be
    with unprivileged():
        said = bnnsim(*line.split())
    check_refused(said, says, ())
    assert list((open_folder / "fixed").iterdir()) == []


def test_a_whole_process_refuses_as_the_function_does(bnnsim, files):
    (files / "bad.bnn").write_bytes((files / "net.bnn").read_bytes()[:-1])
    (files / "bad.npy").write_bytes((files / "x.npy").read_bytes()[:-1])
    (files / "bad.yaml").write_text("schema: bnnsim/profile/1\nname: [bad\n")
    lines = [
        "frobnicate",
        "inspect bad.bnn",
        "run net.bnn --input bad.npy",
        "profiles check bad.yaml",
        "run net.bnn --input x.npy --isa avx3",
    ]
    for line in lines:
        done = subprocess.run(
            [sys.executable, "-m", "bnnsim", *line.split()],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == bnnsim(*line.split())
        assert done.returncode == 2
