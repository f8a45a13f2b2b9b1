"""Evaluate the points of a sweep that a file lacks and append them, in order."""

from __future__ import annotations

import fcntl
import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, BinaryIO

from bnnsim.errors import InputError, message
from bnnsim.sweep.point import Point, evaluate

CHUNK = 64  # points that one process takes at a time
Chunks = Sequence[Sequence[Point]]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a sweep's file holds: its rows in the order of the points, and how many were there."""

    rows: tuple[dict[str, Any], ...]
    kept: int


def run_sweep(
    points: Sequence[Point],
    path: str | Path,
    *,
    jobs: int | None = None,
    scheduler: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Summary:
    """Append to ``path`` a line for each point that has none there yet.

    A line is written only once it is whole, in the order of the points: a sweep that was killed
    goes on where it stopped, and a last line that was cut off is taken away first.

    Parameters
    ----------
    points : sequence of Point
    path : str or Path
    jobs : int, optional
        Processes; by default one for each core, as far as there is work for them.
    scheduler : str, optional
        Address of a Dask scheduler whose workers evaluate instead; they must see the same files.
    progress : callable, optional
        Called with the number of points done.

    Raises
    ------
    InputError
        If the file holds anything but lines of these points, or another sweep writes it.
    """
    advance = progress or (lambda done: None)
    with _opened(Path(path)) as file:
        rows = _kept(file, str(path), {point.key for point in points})
        kept = len(rows)
        advance(kept)
        missing = [point for point in points if point.key not in rows]
        chunks = [missing[i : i + CHUNK] for i in range(0, len(missing), CHUNK)]
        done = _on_dask(chunks, scheduler) if scheduler else _here(chunks, jobs)
        for lines in done:
            file.write("".join(line + "\n" for line in lines).encode())
            file.flush()
            rows.update((row["key"], row) for row in map(json.loads, lines))
            advance(len(lines))
    return Summary(tuple(rows[point.key] for point in points), kept)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            remedy = "Wait for it, or write to another file."
            rule = "a file that nothing else writes"
            raise InputError(message(str(path), "another sweep's output", rule, remedy)) from None
        yield file


def _kept(file: BinaryIO, path: str, keys: set[str]) -> dict[str, dict[str, Any]]:
    """Return the rows that are there by key, and cut off a last line without an end."""
    rows: dict[str, dict[str, Any]] = {}
    file.seek(0)
    whole = 0
    for number, line in enumerate(file, 1):
        if not line.endswith(b"\n"):
            break
        row = _parsed(line)
        if row.get("key") not in keys:
            rule = "a point of this sweep, with these networks and profiles"
            remedy = "Name another -o FILE.jsonl, or remove this one."
            shown = line[:60].decode(errors="replace").rstrip("\n")
            raise InputError(message(f"{path}: line {number}", shown, rule, remedy))
        rows[row["key"]] = row
        whole += len(line)
    if whole < file.seek(0, os.SEEK_END):
        file.truncate(whole)
    return rows


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def _here(chunks: Chunks, jobs: int | None) -> Iterator[list[str]]:
    """Yield the lines of each chunk in order, from processes of this machine."""
    workers = min(jobs or len(os.sched_getaffinity(0)), len(chunks))
    if workers <= 1:
        yield from map(evaluate, chunks)
        return
    # Fresh processes: a fork would copy locks that threads of this one may hold.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _ignore_interrupts)
    try:
        yield from pool.map(evaluate, chunks)
    finally:
        pool.shutdown(cancel_futures=True)


def _ignore_interrupts() -> None:
    """Leave it to the first process to stop the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _on_dask(chunks: Chunks, address: str) -> Iterator[list[str]]:
    """Yield the lines of each chunk in order, from the workers of a Dask cluster."""
    try:
        from distributed import Client
    except ImportError:
        remedy = "Run `pip install 'bnnsim[cluster]'`, or leave --scheduler out."
        rule = "the packages dask and distributed"
        raise InputError(message("--scheduler", address, rule, remedy)) from None
    try:
        client = Client(address, timeout="10s")
    except (OSError, ValueError, TimeoutError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        rule = f"the address of a Dask scheduler such as tcp://host:8786 ({said})"
        raise InputError(message("--scheduler", address, rule)) from None
    with client:
        futures = client.map(evaluate, chunks, pure=False)
        for future in futures:
            yield future.result()
