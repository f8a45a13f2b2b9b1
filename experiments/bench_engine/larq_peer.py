"""larq-compute-engine in a process of its own Python, since it needs TensorFlow."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
NAME = "larq-compute-engine"
IMPORTS = "import larq, larq_compute_engine, tensorflow"
QUIET = {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}


def _environment() -> dict[str, str]:
    """Return our environment without what belongs to our Python, and with what larq needs."""
    own = ("PYTHONPATH", "PYTHONHOME")
    return {k: v for k, v in os.environ.items() if k not in own} | QUIET


class Larq:
    """Convolutions of larq-compute-engine; its samples are taken like everyone's.

    Parameters
    ----------
    python : str
        An interpreter that has larq, larq-compute-engine and tensorflow.
    """

    def __init__(self, python: str) -> None:
        command = [python, "-m", "experiments.bench_engine.larq_child"]
        self._child = subprocess.Popen(
            command, cwd=REPOSITORY, env=_environment(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.version = str(self._ask({}))

    def convolve(self, side: int, channels: int) -> None:
        """Make a 3x3 convolution, which later samples are of."""
        self._ask({"side": side, "channels": channels})

    def sample(self) -> float:
        """Return seconds per call."""
        return float(self._ask({}))

    def _ask(self, question: dict[str, Any]) -> Any:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps(question) + "\n")
        self._child.stdin.flush()
        answer = self._child.stdout.readline()
        if not answer:
            raise SystemExit(f"{NAME} ended: exit {self._child.wait()}")
        return json.loads(answer)


def why_not(python: str | None) -> str | None:
    """Return why it cannot be timed by an interpreter, None if it can."""
    if python is None:
        return "not installed: `make lce` makes .venv-lce, or give --lce PYTHON"
    try:
        command = [python, "-c", IMPORTS]
        found = subprocess.run(
            command, env=_environment(), capture_output=True, text=True, check=False
        )
    except OSError as error:
        return f"{python}: {error.strerror}"
    if found.returncode:
        return f"{python} cannot import it: {found.stderr.strip().splitlines()[-1]}"
    return None
