"""The list of kernels, the choice among them, and BNNSIM_ISA."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
from kernel_meaning import variants

from bnnsim.engine import _kernels, dispatch
from bnnsim.errors import KernelError

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "instruction_sets.md"
OPS = sorted({row[0] for row in _kernels.list_kernels()})


def chosen_in_a_process(value, expression="dispatch.select('gemm_bit').symbol"):
    """Return what an expression gives, or the error it raises, under a value of BNNSIM_ISA."""
    code = (
        "from bnnsim.engine import dispatch\nfrom bnnsim.errors import KernelError\n"
        f"try:\n    print({expression})\nexcept KernelError as error:\n    print(error)"
    )
    environment = {**os.environ, "BNNSIM_ISA": value}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return result.stdout.strip()


def test_every_op_has_a_ref_kernel():
    refs = [row for row in _kernels.list_kernels() if row[1] == "ref"]
    assert sorted(row[0] for row in refs) == OPS
    assert all(compiled and supported for *_, compiled, supported in refs)


def test_symbols_follow_the_naming_rule():
    for op, isa, features, symbol, compiled, supported in _kernels.list_kernels():
        assert symbol == f"bnn_{op}_{isa}"
        assert bool(features) == (isa != "ref")
        assert compiled or not supported


def table_of_variants():
    """Return the Markdown table of the ops that have more than a ref kernel."""
    fast = ("avx2", "avx512", "neon")
    have = {op: {row[1] for row in _kernels.list_kernels() if row[0] == op} for op in OPS}
    lines = ["| op | " + " | ".join(fast) + " |", "|---|---|---|---|"]
    for op, isas in have.items():
        if isas != {"ref"}:
            lines.append(
                f"| `{op}` | " + " | ".join("yes" if i in isas else "" for i in fast) + " |"
            )
    return "\n".join(lines) + "\n"


def test_the_documented_table_of_variants_is_the_list_of_kernels():
    text = DOCUMENT.read_text()
    shown = re.search(r"(?<=<!-- kernels -->\n).*?(?=<!-- end -->)", text, re.DOTALL)
    if os.environ.get("BNNSIM_UPDATE_DOCS") == "1":
        DOCUMENT.write_text(text[: shown.start()] + table_of_variants() + text[shown.end() :])
    else:
        assert shown.group() == table_of_variants(), "BNNSIM_UPDATE_DOCS=1 writes it anew"


def test_every_op_has_a_test_over_its_variants():
    text = "".join(path.read_text() for path in HERE.glob("test_*.py"))
    assert sorted(set(re.findall(r'^@variants\("(\w+)"\)', text, re.MULTILINE))) == OPS


def test_available_isas_starts_with_ref():
    assert dispatch.available_isas()[0] == "ref"
    assert dispatch.available_isas() == _kernels.available_isas()


@pytest.mark.parametrize("op", OPS)
def test_select_falls_back_to_a_lower_isa(op):
    variants = {row[1]: row[3] for row in _kernels.list_kernels() if row[0] == op and row[5]}
    for isa in dispatch.available_isas():
        kernel = dispatch.select(op, isa)
        assert kernel.op == op
        assert kernel.symbol == variants[kernel.isa]
        assert kernel.isa == isa or isa not in variants
        assert kernel.name == f"{op}_{kernel.isa}"
    assert dispatch.select(op, "ref").symbol == f"bnn_{op}_ref"


def test_auto_takes_the_best(monkeypatch):
    monkeypatch.delenv("BNNSIM_ISA", raising=False)
    best = dispatch.available_isas()[-1]
    assert dispatch.select("gemm_bit") == dispatch.select("gemm_bit", best)


def test_the_environment_sets_the_isa():
    assert chosen_in_a_process("ref") == "bnn_gemm_bit_ref"
    for isa in dispatch.available_isas():
        assert chosen_in_a_process(isa) == dispatch.select("gemm_bit", isa).symbol
    assert chosen_in_a_process("auto") == chosen_in_a_process("")


def test_an_explicit_isa_wins_over_the_environment():
    best = dispatch.available_isas()[-1]
    expression = f"dispatch.select('gemm_bit', {best!r}).isa"
    assert chosen_in_a_process("ref", expression) == dispatch.select("gemm_bit", best).isa


def test_an_unknown_isa_is_refused():
    available = ", ".join(dispatch.available_isas())
    expected = f"BNNSIM_ISA='sse9': unknown instruction set; available: {available}"
    assert chosen_in_a_process("sse9") == expected
    with pytest.raises(KernelError, match="isa='AVX512': unknown instruction set; available: ref"):
        dispatch.select("gemm_bit", "AVX512")


def test_an_isa_that_cannot_run_is_refused():
    missing = {"neon", "avx2", "avx512"} - set(dispatch.available_isas())
    assert missing
    for isa in sorted(missing):
        rows = [row for row in _kernels.list_kernels() if row[1] == isa and row[4]]
        other = f"no kernel of it in this build, which is for {platform.machine()}"
        reason = "not supported by this CPU" if rows else other
        with pytest.raises(KernelError, match=f"isa='{isa}': {reason}; available: ref"):
            dispatch.select("gemm_bit", isa)


def test_an_unknown_op_is_refused():
    with pytest.raises(KernelError, match="op: got 'gemm', expected one of affine, byte_bit, "):
        dispatch.select("gemm")


@variants("raw_rate")
def test_raw_rate_is_a_rate(isa):
    assert _kernels.raw_xor_popcount_rate(0.002, isa=isa) > 1e8
    with pytest.raises(KernelError, match=r"raw_rate_.*values of the stated set"):
        _kernels.raw_xor_popcount_rate(-1.0, isa=isa)
