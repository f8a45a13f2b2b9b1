"""Instructions, not seconds: what kernels and a small network execute, against committed counts.

callgrind counts exactly, but knows no AVX-512: it guards the AVX2 kernels, the portable ones and
the code around them that all instruction sets share. The AVX-512 loops are held by what the
compiler makes of them. Counts are of one compiler and one Python and are skipped under others. More
than TOLERANCE above them fails; after a wanted change, or a gain that should be kept,
``BNNSIM_UPDATE_COUNTS=1`` writes them anew.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CSRC = REPOSITORY / "csrc"
COUNTS = Path(__file__).with_name("instruction_counts.json")
UPDATE = os.environ.get("BNNSIM_UPDATE_COUNTS") == "1"
REMEDY = "BNNSIM_UPDATE_COUNTS=1 writes them anew, if more work is wanted"
TOLERANCE = 0.03
SHIPPED = ("-std=c11", "-O3", "-ffp-contract=off", "-pthread")
CALLGRIND = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")
RUNS = (5, 45)  # of the network: their difference has no start of Python in it
NETWORK = """
import sys, numpy, bnnsim
engine, x = bnnsim.Engine(bnnsim.load("zoo:tfc:random")), numpy.zeros((1, 784), numpy.uint8)
for _ in range(int(sys.argv[1])):
    engine.run(x)
"""

slow = pytest.mark.slow
needs_callgrind = pytest.mark.skipif(
    shutil.which("valgrind") is None, reason="no valgrind here; apt-get install valgrind"
)
on_x86_64 = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="counts of x86-64: another machine"
)


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=REPOSITORY, text=True, check=False, env={**os.environ, **environment},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}"
    return done.stdout


@cache
def compiler() -> str:
    return f"cc {run('cc', '-dumpversion').split('.')[0].strip()}"


def interpreter() -> str:
    return f"python {sys.version_info.major}.{sys.version_info.minor}"


def collected(said: str) -> int:
    return int(re.search(r"Collected : (\d+)", said).group(1))


def grown(group: str, tool: str, counts: dict[str, int]) -> dict[str, str]:
    """Return which counts lie above the committed ones of the same tool, or write them."""
    kept = json.loads(COUNTS.read_text())
    if UPDATE:
        kept[group] = {"tool": tool, "counts": counts}
        COUNTS.write_text(json.dumps(kept, indent=1) + "\n")
        return {}
    assert counts.keys() == kept[group]["counts"].keys()
    return {
        name: f"{count} instead of {kept[group]['counts'][name]}"
        for name, count in counts.items()
        if count > kept[group]["counts"][name] * (1 + TOLERANCE)
    }


def skip_unless(group: str, tool: str) -> None:
    if UPDATE:
        return
    kept = json.loads(COUNTS.read_text())[group]["tool"]
    if kept != tool:
        pytest.skip(f"the committed counts are of {kept}, not of {tool}")


@slow
@needs_callgrind
@on_x86_64
def test_kernels_execute_no_more_than_before(tmp_path):
    skip_unless("kernels", compiler())
    program = tmp_path / "count"
    sources = [
        p for folder in (".", "ref", "x86", "arm") for p in sorted(CSRC.glob(f"{folder}/*.c"))
    ]
    run("cc", *SHIPPED, "-o", program, CSRC / "tests" / "count_instructions.c", *sources)
    counts = {}
    for name in run(program).splitlines():
        said = run(*CALLGRIND, "--toggle-collect=counted", program, name)
        symbol = re.search(r"^bnn_\w+$", said, re.MULTILINE).group()
        assert symbol.endswith(("_avx2", "_ref")), "callgrind shows no AVX-512"
        counts[f"{name}: {symbol}"] = collected(said)
    assert grown("kernels", compiler(), counts) == {}, REMEDY


@slow
@needs_callgrind
@on_x86_64
def test_a_run_of_a_small_network_executes_no_more_than_before():
    tool = f"{compiler()}, {interpreter()}"
    skip_unless("network", tool)
    same = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    few, many = (
        collected(run(*CALLGRIND, sys.executable, "-c", NETWORK, str(runs), **same))
        for runs in RUNS
    )
    counts = {"tfc, one image": (many - few) // (RUNS[1] - RUNS[0])}
    assert grown("network", tool, counts) == {}, REMEDY


def loops_of(assembly: str) -> list[list[str]]:
    """Return the instructions from each label to each jump back to it."""
    lines = [line.strip() for line in assembly.splitlines()]
    labels = {line[:-1]: i for i, line in enumerate(lines) if line.endswith(":")}
    jumps = [(i, line.split()[-1]) for i, line in enumerate(lines) if line.startswith("j")]
    spans = [lines[labels[to] : i + 1] for i, to in jumps if labels.get(to, i) < i]
    return [[at for at in span if not at.startswith(".") and at[-1] != ":"] for span in spans]


@on_x86_64
@pytest.mark.parametrize("op", ["gemm_bit", "conv2d_bit"])
def test_the_avx512_loop_counts_512_bits_in_three_instructions(op):
    """A whole tile's loop: 16 sums in registers, 4 loads of weights and 4 broadcasts.

    Masked planes load 4 masks as well, and copy what the ternary logic overwrites.
    """
    assembly = run("cc", *SHIPPED, "-S", "-o", "-", CSRC / "x86" / f"{op}_avx512.c")
    whole = [
        loop
        for loop in loops_of(assembly)
        if sum("vpopcntq" in at for at in loop) == 16 and "ret" not in loop
    ]
    masked = [loop for loop in whole if any(at.startswith("vpternlog") for at in loop)]
    assert len(whole) > len(masked) > 0, "no loop of a whole tile"
    for loop in whole:
        kinds = Counter(re.sub(r"^(vpxor|vmovdqu).*", r"\1", at.split()[0]) for at in loop)
        assert kinds["vpopcntq"] == kinds["vpaddq"] == 16
        assert kinds["vpternlogq" if loop in masked else "vpxor"] == 16
        assert kinds["vpbroadcastq"] == 4
        assert kinds["vmovdqu"] == (8 if loop in masked else 4)
        assert not [at for at in loop if "%rsp)" in at and "%zmm" in at], "a sum left its register"
        steps = 16 + (16 if loop in masked else 0)  # to the next word or run; copies
        assert len(loop) <= 16 * 3 + 8 + steps, loop


@on_x86_64
def test_the_avx512_loop_looks_up_16_values_of_32_channels_in_three_permutations():
    """Bytes x bits by rows, a whole tile: 2 positions x 4 registers, whose sums stay there."""
    assembly = run("cc", *SHIPPED, "-S", "-o", "-", CSRC / "x86" / "byte_bit_avx512.c")
    whole = []
    for loop in loops_of(assembly):
        kinds = Counter(re.sub(r"^vperm[ti]2w", "vperm2w", at.split()[0]) for at in loop)
        if (kinds["vpermw"], kinds["vperm2w"], kinds["vpaddw"]) == (16, 8, 24):
            whole.append(loop)
    assert len(whole) == 1, "no loop of a whole tile"
    assert not [at for at in whole[0] if "%rsp)" in at], "a sum left its register"
    assert len(whole[0]) <= 80, whole[0]


def test_a_higher_count_is_caught(monkeypatch, tmp_path):
    kept = tmp_path / "counts.json"
    kept.write_text('{"kernels": {"tool": "cc 12", "counts": {"x": 1000}}}')
    monkeypatch.setattr("test_instruction_counts.COUNTS", kept)
    monkeypatch.setattr("test_instruction_counts.UPDATE", False)
    assert grown("kernels", "cc 12", {"x": 1030}) == {}
    assert grown("kernels", "cc 12", {"x": 1031}) == {"x": "1031 instead of 1000"}
    with pytest.raises(AssertionError, match="keys"):
        grown("kernels", "cc 12", {"x": 1000, "y": 1})
    with pytest.raises(pytest.skip.Exception, match="of cc 12, not of cc 13"):
        skip_unless("kernels", "cc 13")
