"""The C sources on targets other than this machine: 64-bit Arm under QEMU, baseline x86-64."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from bnnsim.engine import _kernels
from experiments.neon_bounds import __main__ as neon_bounds

REPOSITORY = Path(__file__).resolve().parents[2]
CSRC = REPOSITORY / "csrc"
COMPILER = os.environ.get("AARCH64_CC", "aarch64-linux-gnu-gcc")
EMULATORS = ("qemu-aarch64", "qemu-aarch64-static")
STRICT = ("-std=c11", "-O3", "-Wall", "-Wextra", "-Werror")
WIDE = re.compile(r"%[yz]mm|^\s*popcnt", re.MULTILINE)  # beyond baseline x86-64
INSTALL = "apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"

needs_compiler = pytest.mark.skipif(
    shutil.which(COMPILER) is None,
    reason=f"64-bit Arm: no {COMPILER} here; as root `make cross-tools`, or {INSTALL}",
)
needs_emulator = pytest.mark.skipif(
    not any(map(shutil.which, EMULATORS)),
    reason=f"64-bit Arm: no {' or '.join(EMULATORS)} here; as root `make cross-tools`, "
    f"or {INSTALL}",
)
on_x86_64 = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="baseline x86-64: another machine"
)


def run(*command: str | Path, cwd: Path = REPOSITORY) -> str:
    done = subprocess.run(
        command, cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}"
    return done.stdout


def portable_sources() -> list[Path]:
    return sorted([*CSRC.glob("*.c"), *CSRC.glob("ref/*.c")])


@pytest.mark.slow
@needs_compiler
@needs_emulator
def test_every_kernel_passes_on_emulated_arm():
    said = run("make", "-C", CSRC / "tests", "check-aarch64")
    for _op, isa, features, symbol, *_ in _kernels.list_kernels():
        passed = len(re.findall(rf"^passed +{symbol}$", said, re.MULTILINE))
        skipped = len(re.findall(rf"^skipped {symbol}: needs {features}$", said, re.MULTILINE))
        if isa not in ("ref", "neon"):
            assert (passed, skipped) == (0, 3), symbol
        elif "asimddp" in features:  # which the first of the three cores lacks
            assert (passed, skipped) == (2, 1), symbol
        else:
            assert (passed, skipped) == (3, 0), symbol
    assert re.findall(r"^chosen +conv2d_bit: (\w+)$", said, re.MULTILINE) == ["neon"] * 3
    assert re.findall(r"^chosen +gemm_byte: (\w+)$", said, re.MULTILINE) == ["ref", "neon", "neon"]


@pytest.mark.slow
@needs_compiler
def test_the_extension_compiles_for_arm(tmp_path):
    source = tmp_path / "_kernels.c"
    pyx = REPOSITORY / "bnnsim" / "engine" / "_kernels.pyx"
    run(sys.executable, "-m", "cython", "-3", pyx, "-o", source)
    # Of this machine's Python: both targets have the same sizes of C types.
    headers = ("-I", sysconfig.get_path("include"), "-I", CSRC / "include")
    said = run(COMPILER, "-O0", "-Wall", *headers, "-c", source, "-o", tmp_path / "_kernels.o")
    assert said == ""


@pytest.mark.slow
@needs_compiler
def test_the_inner_loops_are_what_the_documents_count():
    """Three vector instructions per 128 bits, counters in registers: else the bounds are wrong."""
    for kernel in neon_bounds.KERNELS:
        loop = neon_bounds.largest_loop(kernel)
        counts = neon_bounds.kinds(loop)
        assert not [line for line in loop if "sp" in line], "a counter left its register"
        assert counts[kernel.mark] == 16
        if kernel.mark == "cnt":
            assert counts["eor"] == counts["add"] == 16
            assert counts["dup"] + counts["ld1r"] == 4


def test_the_documented_bounds_are_the_kept_result():
    folder = REPOSITORY / "experiments" / "neon_bounds"
    kept = json.loads((folder / "results" / "llvm19.json").read_text())
    assert neon_bounds.table(kept) + "\n" in (folder / "README.md").read_text()


@on_x86_64
def test_portable_code_is_baseline_x86_64():
    """What has no target pragma runs on every x86-64: no flag of a build may widen it."""
    shown = run("cc", *STRICT, "-S", "-o", "-", CSRC / "x86" / "threshold_avx512.c")
    assert WIDE.search(shown), "the pattern does not see AVX-512"
    for source in portable_sources():
        shown = run("cc", *STRICT, "-S", "-o", "-", source)
        assert not WIDE.search(shown), f"{source.name}: {WIDE.search(shown)}"


@on_x86_64
def test_sources_of_other_architectures_are_empty_here():
    """Every source takes part in every build, and guards itself."""
    sources = sorted(CSRC.glob("arm/*.c"))
    assert sources
    for source in sources:
        shown = run("cc", *STRICT, "-S", "-o", "-", source)
        assert ".globl" not in shown, source.name
