"""Where the time of a run goes: seconds of every step, beside those of a whole run."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

from bnnsim.engine.execute import Plan
from bnnsim.engine.values import Array
from bnnsim.errors import InputError, message
from bnnsim.graph.draws import Draws


@dataclass(frozen=True, slots=True)
class StepTime:
    """One planned step.

    Parameters
    ----------
    nodes : tuple of str
        The nodes that it computes: two where a kernel compares the sums that it forms.
    kernel : str
    seconds : float
        Median over the rounds, for the whole batch.
    share : float
        Of the seconds of all steps.
    """

    nodes: tuple[str, ...]
    kernel: str
    seconds: float
    share: float


@dataclass(frozen=True, slots=True)
class Profile:
    """The steps of a network in execution order, and what the batch takes as a whole.

    Steps are timed one by one, with arrays between them; a whole run (``seconds``, the median over
    the same rounds) keeps what lies between in cache, so it may take less than their sum, and it
    has the cost of its one call, which the steps have not.
    """

    images: int
    threads: int
    seconds: float
    steps: tuple[StepTime, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the profile as JSON values."""
        steps = [{**asdict(step), "nodes": list(step.nodes)} for step in self.steps]
        return {**asdict(self), "steps": steps}


def profile(plan: Plan, x: Array, *, rounds: int = 5, draws: Draws | None = None) -> Profile:
    """Time every step of a plan, and whole runs in turn with them.

    Parameters
    ----------
    plan : Plan
    x : ndarray, shape (N, features) or (N, H, W, C)
    rounds : int
        An untimed one goes before them.
    draws : Draws, optional
        For stochastic nodes.

    Raises
    ------
    InputError
        If ``rounds`` is below 1, the batch is empty, or ``x`` does not fit the graph.
    """
    if rounds < 1:
        raise InputError(message("rounds", rounds, "at least 1"))
    if len(x) == 0:
        raise InputError(message("x", 0, "at least one image to time"))
    whole, by_step = [], []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        plan.run(x, draws=draws)
        whole.append(time.perf_counter() - start)
        by_step.append(plan.step_seconds(x, draws=draws))
    seconds = [statistics.median(times) for times in zip(*by_step[1:], strict=True)]
    total = sum(seconds)
    steps = tuple(
        StepTime(tuple(node.name for node in step.nodes), step.kernel, s, s / total)
        for step, s in zip(plan.steps, seconds, strict=True)
    )
    return Profile(len(x), plan.threads, statistics.median(whole[1:]), steps)
