"""The other tools, each run by an interpreter that has it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from experiments.vs_estimators.work import FOLDER


@dataclass(frozen=True, slots=True)
class Tool:
    """An estimator: its name, what it imports as, what installs it, how long it takes."""

    title: str
    module: str
    install: str
    minutes: str = "less than 1"


TOOLS = {
    "qtools": Tool(
        "QKeras QTools", "qkeras",
        "pip install tensorflow-cpu==2.16.2 'tf-keras<2.17' 'numpy<2' pyparsing parse networkx "
        "tensorflow-model-optimization keras-tuner scikit-learn tqdm 'setuptools<80', "
        "then pip install --no-deps qkeras==0.9.0",
    ),
    "zigzag": Tool("ZigZag", "zigzag", "pip install zigzag-dse==3.9.1 six"),
    "scalesim": Tool("SCALE-Sim", "scalesim", "pip install scalesim==3.0.0 'numpy<2.4'", "2"),
}  # fmt: skip


def ask(name: str, python: str | None) -> dict[str, Any]:
    """Return what a tool says of the two layers, or ``{"skipped": why}``.

    Parameters
    ----------
    name : str
        Of `TOOLS`.
    python : str or None
        Interpreter that has the tool; None is this one.
    """
    tool = TOOLS[name]
    if python is None and importlib.util.find_spec(tool.module) is None:
        why = f"not installed: {tool.install}; then give --{name} PYTHON"
        return {"skipped": why}
    # -I: nothing of our own environment reaches the tool's
    command = [python or sys.executable, "-I", str(FOLDER / f"probe_{name}.py")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return {"skipped": f"{python}: {error.strerror}"}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
        return {"skipped": f"{command[0]} cannot run it: {last}"}
    told: dict[str, Any] = json.loads(done.stdout)
    return told
