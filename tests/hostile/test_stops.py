"""A command that is killed, interrupted or out of space leaves the old file, none, or a whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hostile import stopping
from hostile.stopping import SIGNALS, Stop

from bnnsim import api
from bnnsim.graph.io import atomic_write

MAIN = [sys.executable, "-m", "bnnsim"]
COMMANDS = {
    "run": ("run net.bnn --input x.npy -o out.npy", "out.npy"),
    "dump": ("run net.bnn --input x.npy --dump dense6=out.npy", "out.npy"),
    "lower": ("lower net.bnn -o out.bnn", "out.bnn"),
    "compare": ("compare net.bnn --profile cmos45 --modes binary,int8 --json out.json", "out.json"),
    "simulate": ("simulate net.bnn --profile cmos45 --input x.npy -o out.npy", "out.npy"),
    "report": ("report compared.json -o out.html", "out.html"),
    "profiles new": ("profiles new out --from cmos45 --force", "out.yaml"),
}
FAST = {("run", "an old file")}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((name, before), id=f"{name} over {before}",
                     marks=() if (name, before) in FAST else pytest.mark.slow)
        for name in COMMANDS for before in ("an old file", "no file")
    ],
)  # fmt: skip
def stopped(request, kept, tmp_path_factory) -> tuple[str, str | None, list[Stop]]:
    """Return the target of a command, what stood there in hexadecimal, and all its stops."""
    name, before = request.param
    command, target = COMMANDS[name]
    work = tmp_path_factory.mktemp("stops")
    start = work / "start"
    start.mkdir()
    for file in ("net.bnn", "x.npy"):
        (start / file).write_bytes((kept / file).read_bytes())
    if name == "report":
        compared = api.compare([api.load(start / "net.bnn")], ["cmos45"], ["binary", "float32"])
        (start / "compared.json").write_text(compared.to_json())
    old = b"old" if before == "an old file" else None
    if old is not None:
        (start / target).write_bytes(old)
    done = subprocess.run(
        [sys.executable, stopping.__file__, start, work, *command.split()],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = [Stop(*fields) for fields in json.loads(done.stdout)]
    return target, None if old is None else old.hex(), found


def parts(files: dict[str, str]) -> list[str]:
    return [name for name in files if name.endswith(".part")]


def whole(target: str, stops: list[Stop]) -> str:
    """Return the content that every completed run gave."""
    contents = {stop.files_again[target] for stop in stops}
    assert len(contents) == 1
    return contents.pop()


def test_the_target_is_old_or_absent_or_whole(stopped):
    target, old, stops = stopped
    new = whole(target, stops)
    for stop in stops:
        content = stop.files.get(target)
        assert content in (old, new), (stop.how, stop.moment)
        assert stop.status != 0 or content == new
    after_signals = {
        stop.files.get(target) for stop in stops if stop.how in SIGNALS and stop.status
    }
    assert after_signals == {old, new}  # some stops came before the file was replaced, some after


def test_a_stopped_command_says_so_in_one_line(stopped):
    expected = {
        "KILL": (-signal.SIGKILL, ""),
        "INT": (130, "bnnsim: interrupted\n"),
        "TERM": (143, "bnnsim: terminated\n"),
        "limit that kills": (-signal.SIGXFSZ, ""),
    }
    target, _, stops = stopped
    for stop in stops:
        if stop.status and stop.how == "limit":
            assert stop.status == 2
            assert f"{target}: got 'File too large', expected a file that can be wr" in stop.err
            assert stop.err.count("\n") == 1
        elif stop.status:
            assert (stop.status, stop.err) == expected[stop.how]


def test_only_a_kill_leaves_a_temporary_file_and_the_next_run_removes_it(stopped):
    _, _, stops = stopped
    left = [stop for stop in stops if parts(stop.files)]
    assert {stop.how for stop in left} == {"KILL", "limit that kills"}
    assert all(len(parts(stop.files)) == 1 for stop in left)
    assert all(stop.again == 0 and not parts(stop.files_again) for stop in stops)
    kinds = [stop.how for stop in stops if stop.status]
    assert all(kinds.count(how) >= 4 for how in SIGNALS)


# --- one process while another writes -------------------------------------------------------------


def test_a_file_that_another_process_writes_is_not_taken_for_abandoned(tmp_path):
    path = tmp_path / "y.npy"
    with atomic_write(path) as first:
        first.write_bytes(b"first")
        with atomic_write(path) as second:
            second.write_bytes(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"
    assert [p.name for p in tmp_path.iterdir()] == ["y.npy"]


def test_only_abandoned_files_of_that_name_are_removed(tmp_path):
    names = {".y.npy.0123.part", ".x.npy.0123.part", ".y.npy.0123.parts", "y.npy.part"}
    for name in names:
        (tmp_path / name).write_text("left")
    with atomic_write(tmp_path / "y.npy") as part:
        part.write_bytes(b"new")
    assert {p.name for p in tmp_path.iterdir()} == {"y.npy", *names} - {".y.npy.0123.part"}


def test_names_that_are_patterns_remove_only_their_own(tmp_path):
    (tmp_path / ".ab.0123.part").write_text("left")
    for name in ("*", "[a]?", "a*"):
        with atomic_write(tmp_path / name) as part:
            part.write_bytes(b"new")
    assert (tmp_path / ".ab.0123.part").exists()


# --- whole processes, by the clock ----------------------------------------------------------------


@pytest.fixture
def large(tmp_path) -> Path:
    """Return a folder with a batch whose outputs are megabytes, and an old file at y.npy."""
    rng = np.random.default_rng(1)
    np.save(tmp_path / "x.npy", rng.integers(0, 256, (20_000, 784), np.uint8))
    api.save(api.load("zoo:tfc:random,1"), tmp_path / "net.bnn")
    (tmp_path / "y.npy").write_bytes(b"old")
    return tmp_path


RUN = [*MAIN, "run", "net.bnn", "--input", "x.npy", "-o", "y.npy"]


def check_left(folder: Path) -> None:
    content = (folder / "y.npy").read_bytes()
    assert content == b"old" or np.load(folder / "y.npy").shape == (20_000, 10)
    subprocess.run(RUN, cwd=folder, check=True, capture_output=True)
    assert np.load(folder / "y.npy").shape == (20_000, 10)
    assert {path.name for path in folder.iterdir()} == {"x.npy", "net.bnn", "y.npy"}
    (folder / "y.npy").write_bytes(b"old")


@pytest.mark.slow
def test_killed_at_any_time(large):
    begin = time.monotonic()
    subprocess.run(RUN, cwd=large, check=True, capture_output=True)
    life = time.monotonic() - begin
    (large / "y.npy").write_bytes(b"old")
    for share in np.linspace(0.05, 1.1, 12):
        with subprocess.Popen(RUN, cwd=large, stdout=subprocess.DEVNULL) as process:
            time.sleep(share * life)
            process.kill()
        check_left(large)


@pytest.mark.slow
@pytest.mark.parametrize("how", SIGNALS)
def test_stopped_as_soon_as_the_temporary_file_appears(large, how):
    with subprocess.Popen(
        RUN, cwd=large, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None:
            if any(name.endswith(".part") for name in os.listdir(large)):  # noqa: PTH208
                process.send_signal(SIGNALS[how])
                break
        _, err = process.communicate(timeout=60)
    said = {"KILL": "", "INT": "bnnsim: interrupted\n", "TERM": "bnnsim: terminated\n"}[how]
    assert err in (said, "")
    if how != "KILL":
        assert not any(path.suffix == ".part" for path in large.iterdir())
    check_left(large)


@pytest.mark.slow
def test_a_disk_that_fills_up(large):
    """On a file system of 64 KiB, seen by this process alone."""
    disk = large / "disk"
    disk.mkdir()
    alone = ["unshare", "--mount", "sh", "-ec"]
    mount = f"mount -t tmpfs -o size=64k tmpfs '{disk}'"
    if subprocess.run([*alone, mount], capture_output=True, check=False).returncode:
        pytest.skip("a file system can be mounted here by nobody")
    command = " ".join(f"'{word}'" for word in RUN[:-1])
    script = (
        f"{mount}; printf old > disk/y.npy; status=0; {command} disk/y.npy || status=$?; "
        "ls -A disk; cat disk/y.npy; exit $status"
    )
    done = subprocess.run([*alone, script], capture_output=True, text=True, check=False, cwd=large)
    assert (done.returncode, done.stdout) == (2, "y.npy\nold")
    assert "disk/y.npy: got 'No space left on device', expected a file that can be" in done.stderr
    assert done.stderr.count("\n") == 1
