"""A progress bar on standard error for work that turns out to take long."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SHOWN_AFTER_S = 2.0


@contextmanager
def progress_bar(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with each number of things done.

    The bar appears on a terminal once two seconds have passed, and nowhere else.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    bar = Progress(console=console, transient=True, disable=not sys.stderr.isatty())
    task = bar.add_task(label, total=total)
    begin = time.monotonic()

    def advance(done: int) -> None:
        bar.advance(task, done)
        if not bar.live.is_started and time.monotonic() - begin > SHOWN_AFTER_S:
            bar.start()

    try:
        yield advance
    finally:
        bar.stop()
