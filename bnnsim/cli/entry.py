"""Run one command and turn every failure into one message and a status."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from bnnsim.cli.parser import parse
from bnnsim.errors import BnnsimError, InputError, message
from bnnsim.report.numbers import visible

BAD_INPUT = 2
INTERNAL = 70
INTERRUPTED = 130
BROKEN_PIPE = 141
TERMINATED = 143


class _Terminated(BaseException):
    """SIGTERM as an exception, so that half-written files are removed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``bnnsim`` with ``argv`` (default: the process's arguments) and return its exit status.

    Returns
    -------
    int
        0 done; 1 the thing checked does not hold; 2 usage or bad input, with one message on
        standard error; 70 a defect of bnnsim, likewise (a traceback where ``BNNSIM_TRACEBACK``
        is 1); 130 interrupted; 141 the reader of the output went away; 143 terminated.
    """
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  (kept open)
    try:
        with _termination_raised():
            return _run(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        return _fail("bnnsim: interrupted", INTERRUPTED)
    except _Terminated:
        return _fail("bnnsim: terminated", TERMINATED)
    except BrokenPipeError:
        _silence(sys.stdout)
        return BROKEN_PIPE
    except Exception as error:
        mended = _as_bad_input(error)
        if mended is not None:
            return _fail(f"{type(mended).__name__}: {mended}")
        if os.environ.get("BNNSIM_TRACEBACK") == "1":
            traceback.print_exc()
        what = " ".join(f"{type(error).__name__}: {error}".split())
        return _fail(f"internal error: {what} (please report it)", INTERNAL)


def _run(argv: Sequence[str]) -> int:
    if sys.stdout is None:
        remedy = "Redirect it to /dev/null if nothing is to be shown."
        raise InputError(message("standard output", "closed", "an open stream", remedy))
    try:
        args = parse(argv)
        status: int = args.command(args)
    finally:
        sys.stdout.flush()
    return status


@contextlib.contextmanager
def _termination_raised() -> Iterator[None]:
    """Turn SIGTERM into an exception where signals can be handled: in the main thread."""

    def terminate(*_: Any) -> None:
        raise _Terminated

    try:
        before = signal.signal(signal.SIGTERM, terminate)
    except ValueError:  # another thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _as_bad_input(error: Exception) -> BnnsimError | None:
    """Return what the user can mend, or None for a defect."""
    if isinstance(error, BnnsimError):
        return error
    if isinstance(error, OSError):
        rule = "a file or device that can be read and written"
        return InputError(message(_file(error), error.strerror or str(error), rule))
    if isinstance(error, UnicodeError):
        return InputError(message("text", str(error), "UTF-8"))
    if isinstance(error, MemoryError):
        remedy = "Use a smaller batch or network."
        return InputError(message("memory", str(error) or "none left", "enough", remedy))
    return None


def _file(error: OSError) -> str:
    return str(error.filename) if error.filename is not None else "input or output"


def _fail(text: str, status: int = BAD_INPUT) -> int:
    """Write ``text`` to standard error, nothing in it acting on a terminal."""
    shown = "\n".join(map(visible, text.split("\n"))) + "\n"
    encoding = sys.stderr.encoding or "utf-8"
    try:
        sys.stderr.write(shown.encode(encoding, "backslashreplace").decode(encoding))
        sys.stderr.flush()
    except OSError:
        _silence(sys.stderr)
    return status


def _silence(stream: TextIO) -> None:
    """Keep the interpreter from writing to a broken stream once more at exit."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, stream.fileno())
    os.close(devnull)
