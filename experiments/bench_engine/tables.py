"""What a run prints, and the tables of the documents, from its JSON alone."""

from __future__ import annotations

from typing import Any

from experiments.bench_engine.sampling import OURS

Told = dict[str, Any]
LEAST_SHARE = 0.01  # of a step in the table of profiles


def spread(figure: dict[str, float], digits: str = ".3g") -> str:
    return f"{figure['median']:{digits}} [{figure['low']:{digits}}, {figure['high']:{digits}}]"


def work_text(row: Told) -> str:
    """Return the lines of one workload, for a terminal."""
    lines = [
        f"\n{row['work']}, {row['rounds']} rounds",
        f"  {'':<22}{'time':>12}{'GMAC/s':>9}  {'of the raw loop':<24}{'its time / ours'}",
    ]
    for name, of in row["contenders"].items():
        seconds = of["seconds"]["median"]
        share = spread(of["share_of_raw_loop"]) if name.startswith(OURS) else ""
        lines.append(
            f"  {name:<22}{seconds * 1e6:>9.1f} us{row['macs'] / seconds / 1e9:>9.4g}"
            f"  {share:<24}{'' if name == OURS else spread(of['ours_over'])}"
        )
    return "\n".join(lines)


def load_text(told: Told) -> str:
    """Return what else the machine did, a paragraph."""
    before, after = (told[when][0] for when in ("load_before", "load_after"))
    return f"\nProcesses that wanted a core before the run: {before:.1f}; after it: {after:.1f}.\n"


def target_table(told: Told) -> str:
    """Return the targets, one a row, in Markdown."""
    lines = ["| work | what | target | median [quartiles] | |", "|---|---|---|---|---|"]
    for row in told["targets"]:
        figure = "-" if row["figure"] is None else spread(row["figure"])
        lines.append(
            f"| {row['work']} | {row['what']} | {row['target']:.4g} | {figure} | {row['verdict']} |"
        )
    return "\n".join(lines) + "\n" + load_text(told)


def peer_table(told: Told) -> str:
    """Return for each workload our time and how many times longer each peer takes, in Markdown."""
    rows = told["results"]
    names = [n for r in rows for n in r["contenders"] if not n.startswith(OURS)]
    peers = list(dict.fromkeys(names))
    lines = [
        "| one thread | bnnsim | " + " | ".join(peers) + " |",
        "|---|---|" + "---|" * len(peers),
    ]
    for row in rows:
        of = row["contenders"]
        cells = [f"{of[p]['ours_over']['median']:.3g}x" if p in of else "" for p in peers]
        ours = _time(of[OURS]["seconds"]["median"])
        lines.append(f"| {row['work']} | {ours} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n" + load_text(told)


def layer_table(told: Told) -> str:
    """Return the layers of the roofline, in Markdown."""
    lines = ["| net | layer | MAC/byte | GMAC/s | of the raw loop |", "|---|---|---|---|---|"]
    for row in told["roofline"]["layers"]:
        rate = row["mac_per_s"]["median"] / 1e9
        share = spread(row["share_of_raw_loop"])
        lines.append(
            f"| {row['net']} | {row['layer']} | {row['mac_per_byte']:.3g} | {rate:.4g} | {share} |"
        )
    return "\n".join(lines) + "\n"


def profile_table(told: Told) -> str:
    """Return where the time of each network goes, in Markdown: steps of 1 % and more."""
    lines = ["| net | step | kernel | time | share |", "|---|---|---|---|---|"]
    for row in told["profiles"]:
        alone = sum(step["seconds"] for step in row["steps"])
        name = f"{row['work']}: {_time(row['seconds'])}, steps by themselves {_time(alone)}"
        lines.append(f"| {name} | | | | |")
        for step in row["steps"]:
            if step["share"] >= LEAST_SHARE:
                nodes, time = ", ".join(step["nodes"]), _time(step["seconds"])
                lines.append(f"| | {nodes} | {step['kernel']} | {time} | {step['share']:.1%} |")
    return "\n".join(lines) + "\n"


def _time(seconds: float) -> str:
    unit, scale = ("us", 1e6) if seconds < 1e-3 else ("ms", 1e3)
    return f"{seconds * scale:.3g} {unit}"


TABLES = {
    "targets": target_table, "peers": peer_table, "layers": layer_table, "profiles": profile_table,
}  # fmt: skip
