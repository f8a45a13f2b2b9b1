"""Write the tables of docs/answers.md anew: ``python -m experiments.answers``.

Each table stands between ``<!-- table NAME -->`` and ``<!-- end -->``; the words around it are
written by hand.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import bnnsim
from bnnsim.api import Layers
from bnnsim.cost.overrides import with_changes

PAGE = Path(__file__).resolve().parents[2] / "docs" / "answers.md"
TABLE = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
PROFILE = "cmos45"
NETS = ("mlp-3x2048", "mlp-3x4096", "cifar10-convnet", "svhn-convnet", "alexnet", "xnor-alexnet",
        "resnet18", "xnor-resnet18")  # fmt: skip
MODES = ("float32", "int8", "weight-only:fp32", "weight-only:int8", "binary")
SMALL, LARGE = "256 KiB", "16 MiB"
GENERATORS = ("lfsr32", "xorshift32", "philox", "trng")

Rows = Iterator[Sequence[str]]


@cache
def net(name: str) -> bnnsim.Graph:
    return bnnsim.load(f"zoo:{name}")


def quantity(q: object, scale: float = 1.0, figures: int = 3) -> str:
    """Return ``value [low, high]`` in so many significant digits."""
    ends = (getattr(q, end) / scale for end in ("value", "low", "high"))
    value, low, high = (f"{float(f'{end:.{figures}g}'):,.15g}" for end in ends)
    return f"{value} [{low}, {high}]"


def cost(name: str, mode: str, **options: object) -> bnnsim.CostReport:
    return bnnsim.estimate(net(name), options.pop("profile", PROFILE), mode=mode, **options)


def ratio(over: bnnsim.CostReport, under: bnnsim.CostReport) -> str:
    """Return the ratio of energies, whose interval knows which constants both share."""
    from bnnsim.cost.compare import compare

    return quantity(compare([over, under]).ratios[0].energy, figures=4)


def precisions() -> Rows:
    """Energy of one inference by network and precision, and latency of the binary one."""
    yield ("network", *(f"{mode} (uJ)" for mode in MODES), "binary latency (ms)")
    for name in NETS:
        reports = [cost(name, mode) for mode in MODES]
        yield (name, *(quantity(r.energy, 1e-6) for r in reports),
               quantity(reports[-1].latency, 1e-3))  # fmt: skip


def activations() -> Rows:
    """Energy of weight-only over binary, by where the weights lie and by batch."""
    yield ("network", "gb", "batch", "bytes off chip, binary", "binary, per image (uJ)",
           "weight-only:fp32 / binary", "weight-only:int8 / binary")  # fmt: skip
    for name in ("mlp-3x2048", "cifar10-convnet"):
        for size in (SMALL, LARGE):
            chip = with_changes(PROFILE, {"memories.gb.size": size})
            for batch in (1, 64):
                at = {"profile": chip, "batch": batch}
                binary = cost(name, "binary", **at)
                fp32, int8 = (cost(name, f"weight-only:{kind}", **at) for kind in ("fp32", "int8"))
                yield (name, size, str(batch), f"{binary.off_chip_bytes:,}",
                       quantity(binary.energy, 1e-6 * batch), ratio(fp32, binary),
                       ratio(int8, binary))  # fmt: skip


def extras() -> Rows:
    """Energy with and without alpha, K, float ends and batch norms."""
    yield ("network", "what", "without (uJ)", "with (uJ)", "with / without")
    for name in ("alexnet", "xnor-alexnet", "resnet18", "xnor-resnet18", "cifar10-convnet"):
        plain = cost(name, "binary")
        for what, mode in (("alpha, folded", "xnor-alpha"), ("alpha and K", "xnor-k")):
            yield compared(name, what, plain, cost(name, mode))
    for name in ("alexnet", "resnet18"):
        ends = {kind: cost(name, "binary", layers=Layers(first=kind, last=kind))
                for kind in ("binary", "int8", "float")}  # fmt: skip
        for kind in ("int8", "float"):
            yield compared(name, f"{kind} first and last layer", ends["binary"], ends[kind])
    for name, mode in (("resnet18", "float32"), ("resnet18", "weight-only:int8"),
                       ("cifar10-convnet", "weight-only:int8")):  # fmt: skip
        kept = cost(name, mode, keep_bn=True)
        yield compared(name, f"batch norms of {mode}, not folded", cost(name, mode), kept)


def compared(name: str, what: str, base: bnnsim.CostReport, more: bnnsim.CostReport) -> list[str]:
    figures = (quantity(base.energy, 1e-6), quantity(more.energy, 1e-6))
    return [name, what, *figures, ratio(more, base)]


def generators() -> Rows:
    """Energy of stochastic binarization by generator and bits of a draw."""
    yield ("network", "generator", "bits per draw", "random bits", "binary-stochastic (uJ)",
           "binary-stochastic / binary")  # fmt: skip
    for name in ("mlp-3x2048", "cifar10-convnet"):
        for generator in GENERATORS:
            for bits in (1, 8, 16):
                rng = {"generator": generator, "bits": bits}
                at = {"profile": with_changes(PROFILE, {"rng": rng})}
                drawn, plain = cost(name, "binary-stochastic", **at), cost(name, "binary", **at)
                yield (name, generator, str(bits), f"{drawn.rng_bits:,}",
                       quantity(drawn.energy, 1e-6), ratio(drawn, plain))  # fmt: skip


TABLES: Mapping[str, Callable[[], Rows]] = {
    "precisions": precisions, "activations": activations, "extras": extras,
    "generators": generators,
}  # fmt: skip


def markdown(name: str) -> str:
    head, *rows = TABLES[name]()
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def page(text: str) -> str:
    """Return the page with every table anew."""
    return TABLE.sub(lambda m: m[1] + markdown(m[2]) + m[3], text)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.answers", description=__doc__)
    parser.add_argument("--table", choices=TABLES, help="print one table; write nothing")
    args = parser.parse_args()
    if args.table:
        print(markdown(args.table), end="")
        return
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote the tables of {PAGE}")


if __name__ == "__main__":
    main()
