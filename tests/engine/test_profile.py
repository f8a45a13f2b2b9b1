"""Profiles: the steps of the plan, timed; what they compute is what a run computes."""

from __future__ import annotations

import numpy as np
import pytest
from nets import convnet, mlp

from bnnsim.engine import execute
from bnnsim.engine.execute import Plan
from bnnsim.engine.profile import profile
from bnnsim.errors import InputError
from bnnsim.execution import Engine
from bnnsim.passes.lower import lower


def images(graph, count, seed=1):
    given = graph.tensor(graph.inputs[0])
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, *given.shape)).astype(given.dtype.numpy)


@pytest.mark.parametrize("make", [mlp, convnet])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_profile_tells_of_every_step_of_a_plan(make, threads):
    engine = Engine(make(), threads=threads)
    found = engine.profile(images(engine.plan.graph, 3), rounds=2)
    assert [step.nodes for step in found.steps] == [
        tuple(node.name for node in step.nodes) for step in engine.plan.steps
    ]
    assert [(node, step.kernel) for step in found.steps for node in step.nodes] == [
        (traced.node, traced.kernel) for traced in engine.plan.trace
    ]
    assert any(len(step.nodes) == 2 for step in found.steps)  # compared in the kernel, as in a run
    assert min(step.seconds for step in found.steps) > 0
    assert sum(step.share for step in found.steps) == pytest.approx(1)
    assert (found.images, found.threads) == (3, threads)
    assert found.seconds > 0
    told = found.to_dict()
    assert told["steps"][0]["nodes"] == list(found.steps[0].nodes)
    assert set(told) == {"images", "threads", "seconds", "steps"}


def test_every_tile_is_timed(monkeypatch):
    plan = Plan(lower(mlp()))
    monkeypatch.setattr(plan, "_tile", 2)
    tiles = []
    run_tile = execute._Run.tile
    monkeypatch.setattr(
        execute._Run, "tile", lambda run, *ends: tiles.append(ends) or run_tile(run, *ends)
    )
    seconds = plan.step_seconds(images(plan.graph, 5))
    assert len(seconds) == len(plan.steps)
    assert tiles == [(0, 2), (2, 4), (4, 5)]


def test_nothing_to_time_is_refused():
    plan = Plan(lower(mlp()))
    x = images(plan.graph, 1)
    with pytest.raises(InputError, match="rounds: got 0, expected at least 1"):
        profile(plan, x, rounds=0)
    with pytest.raises(InputError, match="x: got 0, expected at least one image"):
        profile(plan, x[:0])
    with pytest.raises(InputError, match="x"):
        plan.step_seconds(x[0])
