"""Run one command and turn every failure that a user can cause into one message and a status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from bnnsim.cli.parser import parse
from bnnsim.errors import BnnsimError, InputError, message

BAD_INPUT = 2
INTERRUPTED = 130
BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``bnnsim`` with ``argv`` (default: the process's arguments) and return its exit status.

    Returns
    -------
    int
        0 done; 1 the thing checked does not hold; 2 usage or bad input, with one message on
        standard error; 130 interrupted; 141 the reader of the output went away.
    """
    try:
        args = parse(sys.argv[1:] if argv is None else argv)
        status: int = args.command(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()
        return BROKEN_PIPE
    except BnnsimError as error:
        return _fail(error)
    except OSError as error:
        rule = "a file or device that can be read and written"
        return _fail(InputError(message(_file(error), error.strerror or str(error), rule)))
    except UnicodeError as error:
        return _fail(InputError(message("text", str(error), "UTF-8")))
    except MemoryError as error:
        remedy = "Use a smaller batch or network."
        return _fail(InputError(message("memory", str(error) or "none left", "enough", remedy)))
    return status


def _file(error: OSError) -> str:
    return str(error.filename) if error.filename is not None else "input or output"


def _fail(error: BnnsimError) -> int:
    text = f"{type(error).__name__}: {error}\n"
    encoding = sys.stderr.encoding or "utf-8"
    sys.stderr.write(text.encode(encoding, "backslashreplace").decode(encoding))
    return BAD_INPUT


def _silence_stdout() -> None:
    """Keep the interpreter from writing to the closed pipe once more at exit."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
