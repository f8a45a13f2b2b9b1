"""Run commands that are stopped at every moment at which they touch their folder.

A program of its own: it loads bnnsim once, then forks a child for each moment. The child counts
the interpreter's audit events (a file opened, listed, renamed, removed, its mode changed) that
name its working folder, and before the n-th of them sends itself a signal. With a limit on the
size of files instead, the kernel ends the n-th byte. So the moments do not depend on speed.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from bnnsim.cli import main

SIGNALS = {"KILL": signal.SIGKILL, "INT": signal.SIGINT, "TERM": signal.SIGTERM}
LIMITS = (0, 1, 100, 1000)
MOST_MOMENTS = 60


class Stop(NamedTuple):
    """One run that was stopped, and the same command run again in the folder it left.

    ``moment`` is the number of the event or the limit in bytes, ``status`` negative for a signal;
    files are in hexadecimal.
    """

    how: str
    moment: int
    status: int
    err: str
    files: dict[str, str]
    again: int
    files_again: dict[str, str]


def stops(command: list[str], start: Path, work: Path) -> list[Stop]:
    """Return what became of ``command`` in copies of the folder ``start``, stopped in every way.

    The last stop by each signal came too late: the command had ended.
    """
    found = []
    for how in SIGNALS:
        for moment in range(1, MOST_MOMENTS):
            found.append(_stopped(command, start, work, how, moment))
            if found[-1].status == 0:
                break
    for how in ("limit", "limit that kills"):
        found += [_stopped(command, start, work, how, size) for size in LIMITS]
    return found


def _stopped(command: list[str], start: Path, work: Path, how: str, moment: int) -> Stop:
    def prepare() -> None:
        if how in SIGNALS:
            _signal_at(moment, how)
            return
        if how == "limit that kills":
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (moment, moment))

    folder = work / f"{how} {moment}"
    shutil.copytree(start, folder)
    status, err = _run(command, folder, prepare)
    files = _files(folder)
    again, _ = _run(command, folder)
    return Stop(how, moment, status, err, files, again, _files(folder))


def _signal_at(moment: int, how: str) -> None:
    """Let this process send itself a signal before the n-th event in the working folder."""
    here, seen = str(Path.cwd()), itertools.count(1)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        named = arguments and isinstance(arguments[0], (str, os.PathLike))
        if named and str(arguments[0]).startswith(here) and next(seen) == moment:
            os.kill(os.getpid(), SIGNALS[how])

    sys.addaudithook(hook)


def _run(
    command: list[str], folder: Path, prepare: Callable[[], None] = lambda: None
) -> tuple[int, str]:
    """Run ``command`` in a forked child; return its status (negative: a signal) and messages."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.dup2(writer, 2)
        os.chdir(folder)
        # A shell that runs the tests in the background has them ignore the interrupt.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        prepare()
        status = main(command)
        sys.stderr.flush()
        os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        err = file.read().decode()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), err


def _files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_bytes().hex() for path in folder.iterdir()}


if __name__ == "__main__":
    start, work, *command = sys.argv[1:]
    answer = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    shutil.copytree(start, Path(work) / "warm")
    os.chdir(Path(work) / "warm")
    assert main(command) == 0  # loads all that the children need
    with os.fdopen(answer, "w") as file:
        json.dump(stops(command, Path(start), Path(work)), file)
