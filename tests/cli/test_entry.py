"""Whatever goes wrong: one message, the right status, no traceback; and a quick start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from bnnsim import api, cli
from bnnsim.cli import entry

MAIN = [sys.executable, "-m", "bnnsim"]


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (KeyboardInterrupt(), 130, "bnnsim: interrupted\n"),
        (OSError(28, "No space left on device", "y.npy"), 2, "InputError: y.npy: got 'No space l"),
        (OSError("odd"), 2, "InputError: input or output: got 'odd', expected a file or device"),
        (MemoryError("Unable to allocate 3 TiB"), 2, "memory: got 'Unable to allocate 3 TiB', exp"),
        (MemoryError(), 2, "memory: got 'none left', expected enough."),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad byte"), 2, "bad byte"),
    ],
)
def test_failures_have_a_status_and_one_message(bnnsim, monkeypatch, error, status, text):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(api, "load", fail)
    said = bnnsim("inspect", "zoo:tfc")
    assert (said.status, said.out) == (status, "")
    assert text in said.err
    assert said.err.count("\n") == 1


def test_messages_survive_a_narrow_encoding(monkeypatch, tmp_path):
    done = subprocess.run(
        [*MAIN, "inspect", "Größe.bnn"], capture_output=True, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "ascii:strict"},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(b"SourceError: Gr\\xf6\\xdfe.bnn: got")


def test_a_reader_that_leaves_is_no_traceback():
    with subprocess.Popen(
        [*MAIN, "profiles", "show", "cmos45"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.wait(60) == entry.BROKEN_PIPE
        assert process.stderr.read() == b""


def test_module_and_function_are_one_command():
    done = subprocess.run([*MAIN, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("bnnsim ")
    assert cli.main is entry.main


def test_estimate_loads_no_heavy_library(net):
    loaded = "import sys; print(*sorted({'rich', 'jinja2', 'scipy', 'torch'} & set(sys.modules)))"
    call = f"main(['estimate', {str(net / 'tfc.bnn')!r}, '--profile', 'cmos45'])"
    code = f"from bnnsim.cli import main; {call}; {loaded}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.decode().splitlines()[-1] == ""


def test_a_defect_is_one_line_with_a_status_of_its_own(bnnsim, monkeypatch):
    def fail(*args, **options):
        raise LookupError("no \x1b[31m\nsuch thing")

    monkeypatch.setattr(api, "load", fail)
    said = bnnsim("inspect", "zoo:tfc")
    expected = "internal error: LookupError: no \\x1b[31m such thing (please report it)\n"
    assert said == (entry.INTERNAL, "", expected)
    monkeypatch.setenv("BNNSIM_TRACEBACK", "1")
    said = bnnsim("inspect", "zoo:tfc")
    assert said.err.startswith("Traceback")
    assert said.err.endswith(expected)


def test_messages_do_not_act_on_a_terminal(bnnsim):
    assert "SourceError: \\x1b[31m.bnn: got" in bnnsim.refused("inspect", "\x1b[31m.bnn")


@pytest.mark.parametrize(
    ("redirection", "status", "text"),
    [
        ("inspect zoo:tfc >&-", 2, b"standard output: got 'closed', expected an open stream"),
        ("inspect nope.bnn >&- 2>&-", 2, b""),
        ("inspect nope.bnn 2>&-", 2, b""),
        ("inspect nope.bnn 2>/dev/full", 2, b""),
        ("inspect zoo:tfc >/dev/full", 2, b"No space left on device"),
    ],
)
def test_closed_and_full_streams(redirection, status, text):
    done = subprocess.run(
        ["sh", "-c", f'"$0" -m bnnsim {redirection}', sys.executable],
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == status
    assert text in done.stderr
    assert b"Traceback" not in done.stderr


def test_termination_removes_half_written_files(tmp_path):
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from bnnsim.cli import files, main, networks\n"
        "from bnnsim.graph.io import atomic_write\n"
        "def slow(path, array):\n"
        "    with atomic_write(Path(path)):\n"
        "        print('writing', flush=True, file=sys.stderr)\n"
        "        time.sleep(60)\n"
        "networks.write_array = slow\n"
        "sys.exit(main(['run', 'zoo:tfc:random', '--input', 'x.npy', '-o', 'y.npy']))\n"
    )
    np.save(tmp_path / "x.npy", np.zeros((1, 784), np.uint8))
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr.readline() == b"writing\n"
        assert any(path.suffix == ".part" for path in tmp_path.iterdir())
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == entry.TERMINATED
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]
