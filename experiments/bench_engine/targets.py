"""The targets, and what a run says of each."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.bench_engine.kernel_work import AVX2, BITS, several
from experiments.bench_engine.sampling import OURS, Row

THREADS = 2
PRODUCTS = ("gemm 1x4096x4096", "gemm 100x4096x4096", "gemm 4096x4096x4096")
SMALL_CONV = "conv 56x56x64"
CONVS = (SMALL_CONV, "conv 28x28x128", "conv 14x14x256", "conv 7x7x512")
MLP, CONVNET = "mlp-3x4096, batch {}", "cifar10-convnet, batch {}"
TINY, TINY_SECONDS = "tfc, batch 1", 40e-6

SHARE, OVER, SECONDS = "share_of_raw_loop", "ours_over", "seconds"


@dataclass(frozen=True, slots=True)
class Target:
    """``quantity`` of ``contender`` on ``work`` is at least ``value`` (seconds: at most)."""

    work: str
    quantity: str
    contender: str
    value: float

    @property
    def text(self) -> str:
        """What is held against the value."""
        if self.quantity == SHARE:
            return f"{self.contender}: share of the raw loop"
        if self.quantity == SECONDS:
            return f"{self.contender}: us per call, at most"
        if self.contender.startswith(several(THREADS)):
            return "two threads over one"
        if self.contender == AVX2:
            return "avx2 over torch float32"
        return f"over {self.contender}"


TARGETS = (
    *(Target(work, SHARE, BITS, 0.95) for work in (*PRODUCTS[1:], *CONVS[1:])),
    Target(SMALL_CONV, SHARE, BITS, 0.90),
    Target(PRODUCTS[0], SHARE, OURS, 0.62),
    Target(PRODUCTS[0], OVER, "numkong", 1.7),
    *(Target(work, OVER, several(THREADS), 1.9) for work in (*PRODUCTS, *CONVS)),
    *(Target(work, OVER, "numkong", 1.3) for work in PRODUCTS[1:]),
    *(Target(work, OVER, "larq-compute-engine", 11) for work in CONVS),
    Target(SMALL_CONV, OVER, "torch float32", 17),
    *(Target(work, OVER, "torch float32", 18) for work in CONVS[1:]),
    *(
        Target(MLP.format(batch), OVER, "onnxruntime int8", value)
        for batch, value in ((1, 15), (100, 8), (10_000, 5))
    ),
    *(
        Target(CONVNET.format(batch), OVER, peer, value)
        for peer, batch, value in (
            ("onnxruntime int8", 1, 4), ("onnxruntime int8", 64, 4),
            ("torch float32", 1, 20), ("torch float32", 64, 16),
        )
    ),
    Target(PRODUCTS[2], OVER, AVX2, 10),
    Target(TINY, SECONDS, OURS, TINY_SECONDS),
)  # fmt: skip


_TURNED = {"median": "median", "low": "high", "high": "low"}


def _figure(target: Target, contenders: Row) -> dict[str, float] | None:
    """Return the median and quartiles of a target's quantity (seconds in us)."""
    asked = contenders.get(target.contender)
    if asked is None:
        return None
    figure = asked[target.quantity]  # type: ignore[index]
    if target.quantity == SECONDS:
        return {key: 1e6 * value for key, value in figure.items()}
    if target.contender == several(THREADS):
        return {key: 1 / figure[other] for key, other in _TURNED.items()}
    if target.contender == AVX2:
        of_torch = contenders.get("torch float32")
        if of_torch is None:
            return None
        peer = of_torch[OVER]  # type: ignore[index]
        return {key: peer[key] / figure[other] for key, other in _TURNED.items()}
    return dict(figure)


def _verdict(figure: dict[str, float] | None, value: float, at_most: bool) -> str:
    if figure is None:
        return "not measured"
    if figure["median"] <= value if at_most else figure["median"] >= value:
        return "met"
    within = figure["low"] <= value if at_most else figure["high"] >= value
    return "within spread" if within else "missed"


def judge(results: list[Row], memory: list[Row]) -> list[Row]:
    """Return each target with its figure: met, within the spread, missed, or not measured."""
    return _judge_times(results) + [_judge_memory(row) for row in memory]


def _judge_memory(row: Row) -> Row:
    """Hold the growth of a run (MB) to its bound; packed weights are in neither."""
    figure = {key: value / 1e6 for key, value in row["growth"].items()}  # type: ignore[attr-defined]
    bound = float(row["bound"]) / 1e6  # type: ignore[arg-type]
    return {
        "work": row["work"],
        "what": f"MB of growth, {row['threads']} thread{'s' * (row['threads'] != 1)}: at most",
        "target": bound,
        "figure": figure,
        "verdict": _verdict(figure, bound, at_most=True),
    }


def _judge_times(results: list[Row]) -> list[Row]:
    by_work = {row["work"]: row["contenders"] for row in results}
    rows: list[Row] = []
    for target in TARGETS:
        at_most = target.quantity == SECONDS
        value = 1e6 * target.value if at_most else target.value
        figure = _figure(target, by_work.get(target.work, {}))  # type: ignore[arg-type]
        rows.append(
            {
                "work": target.work,
                "what": target.text,
                "target": value,
                "figure": figure,
                "verdict": _verdict(figure, value, at_most),
            }
        )
    return rows
