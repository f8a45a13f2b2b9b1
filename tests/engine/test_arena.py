"""Arenas: buffers that are alive together never overlap, and take little more than they must."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from nets import Builder, convnet, mlp

from bnnsim.engine import _kernels
from bnnsim.engine.arena import Lifetime, layout, least_bytes
from bnnsim.engine.execute import Plan
from bnnsim.engine.segments import Segment, schedule
from bnnsim.engine.step import Step
from bnnsim.errors import KernelError
from bnnsim.graph.ir import Graph
from bnnsim.passes.lower import lower
from bnnsim.sources import load
from experiments.bench_engine import memory

NETS = ("mlp-3x2048", "mnist-convnet", "cifar10-convnet", "svhn-convnet", "cnv", "resnet20")


def segments(graph: Graph) -> list[Segment]:
    plan = Plan(graph)
    turns = schedule(graph, plan.steps, graph.outputs, 2**20, single=False).turns
    return [turn.runs for turn in turns if isinstance(turn.runs, Segment)]


@pytest.mark.parametrize("seed", range(50))
def test_no_two_that_are_alive_together_overlap(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lives = {}
    for name in range(int(rng.integers(1, 25))):
        first = int(rng.integers(20))
        size = int(rng.choice([1, 3, 8, 64, 1000, rng.integers(1, 5000)]))
        lives[name] = Lifetime(size, first, first + int(rng.integers(6)))
    found = layout(lives)
    assert list(found.offsets.values()) == sorted(found.offsets.values())
    for a, b in combinations(lives, 2):
        apart = (
            found.offsets[a] + lives[a].nbytes <= found.offsets[b]
            or found.offsets[b] + lives[b].nbytes <= found.offsets[a]
        )
        assert apart or not lives[a].meets(lives[b])
    assert found.nbytes == max(found.offsets[n] + lives[n].nbytes for n in lives)
    assert least_bytes([*lives.values()]) <= found.nbytes


def test_a_layout_worked_by_hand() -> None:
    lives = {"a": Lifetime(100, 0, 1), "b": Lifetime(60, 1, 2), "c": Lifetime(90, 2, 3)}
    assert layout(lives).offsets == {"a": 0, "c": 0, "b": 100}
    assert layout(lives).nbytes == least_bytes([*lives.values()]) == 160
    assert layout({}).nbytes == least_bytes([]) == 0


def test_a_chain_takes_no_more_than_it_must() -> None:
    for make in (mlp, convnet):
        for seed in range(4):
            for segment in segments(lower(make(seed))):
                assert segment.arena.nbytes <= 1.2 * segment.least_bytes


def test_views_share_memory_and_what_is_wanted_is_an_array() -> None:
    net = Builder((4, 4, 64), seed=3).encode_bits().conv(64).thresholds(1, "bit", 0, 9)
    pixels = net.last
    flat = net.add("Flatten").last
    graph = net.dense(5).graph()
    plan = Plan(graph)
    found = schedule(graph, plan.steps, [flat, *graph.outputs], 2**20, single=False)
    assert found.tensors[flat].places == found.tensors[pixels].places
    (compiled,) = [t.runs for t in found.turns if isinstance(t.runs, Segment)][-1:]
    assert (pixels, 0) in compiled.makes
    assert set(found.direct.values()) == set(graph.outputs)
    x = net.batch(3)
    got = plan.run(x, keep=[pixels, flat])
    assert (got[pixels].reshape(3, -1) == got[flat]).all()


def test_a_segment_ends_where_numpy_reads() -> None:
    graph = Builder((30,)).encode().dense(21).batch_norm().add("Sigmoid").sign().dense(4).graph()
    turns = schedule(graph, Plan(graph).steps, graph.outputs, 2**20, single=False).turns
    kinds = ["numpy" if isinstance(turn.runs, Step) else len(turn.runs.steps) for turn in turns]
    assert kinds == [3, "numpy", 2]


def test_a_program_refuses_buffers_that_do_not_fit() -> None:
    ones = np.ones(70, np.int32)
    call = _kernels.Call("threshold_pack", weights=ones, weights2=ones.astype(np.int8), M=1, N=70)
    program = _kernels.Program([(call, (0,), 1)], [(280, None, 0), (16, None, 0)], 0, 8)
    x, out, arena = np.ones((2, 70), np.int32), np.empty((2, 2), np.uint64), np.empty(999, np.uint8)
    program.run(2, [x, out], arena, 1)
    assert (out == np.array([2**64 - 1, 63], np.uint64)).all()
    with pytest.raises(KernelError, match="buffer of a program: got 280, expected 560 bytes"):
        program.run(2, [x[:1], out], arena, 1)
    with pytest.raises(KernelError, match="buffers of the program: got 1, expected 2"):
        program.run(2, [x], arena, 1)
    with pytest.raises(KernelError, match=r"arena: got 9, expected \d+ bytes"):
        program.run(2, [x, out], arena[:9], 1)
    two_rows = _kernels.Call("threshold_pack", weights=ones, weights2=ones, M=2, N=70)
    with pytest.raises(KernelError, match="got 279, expected bytes of 2 equal rows"):
        _kernels.Program([(two_rows, (0,), 1)], [(279, None, 0), (16, None, 0)], 0, 8)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_arenas_of_the_zoo_are_close_to_the_minimum(name: str) -> None:
    for segment in segments(lower(load(f"zoo:{name}:random,1"))):
        assert segment.arena.nbytes <= 1.2 * segment.least_bytes


@pytest.mark.slow
@pytest.mark.skipif(not memory.CLEAR.exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("name", "batch"), [("mlp-3x4096", 10_000), ("cifar10-convnet", 64)])
def test_a_run_grows_by_little_more_than_what_must_be_alive(name, batch, threads) -> None:
    """Weights are packed before: the run itself may take 1.2 x the minimum and 8 MiB."""
    found = memory.run_alone(name, batch, threads)
    print(name, batch, threads, found)
    assert found["growth"] <= memory.FACTOR * found["least"] + memory.SLACK
