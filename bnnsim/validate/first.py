"""First predictions, kept: one JSON line a point, appended once and never written anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bnnsim.errors import InputError, message
from bnnsim.graph.io import atomic_write, read_limited
from bnnsim.validate.score import Validation

KEPT = ("id", "profile", "quantity", "unit", "published", "predicted", "log2_error", "inside")
_MOST_BYTES = 16 * 2**20


def read_first(path: Path) -> tuple[dict[str, Any], ...]:
    """Return the kept predictions of a file, none if there is no file.

    Raises
    ------
    InputError
        Naming the line that is no JSON object with an id.
    """
    if not path.exists():
        return ()
    found = []
    lines = read_limited(path, _MOST_BYTES, "JSON lines", InputError).decode(errors="replace")
    for number, line in enumerate(lines.splitlines(), 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict) or not isinstance(row.get("id"), str):
            rule = "a JSON object with an id"
            raise InputError(message(f"{path}: line {number}", line[:80], rule))
        found.append(row)
    return tuple(found)


def keep_first(validation: Validation, path: Path, version: str) -> int:
    """Append the points that the file lacks, and return how many; lines there stay as they are."""
    kept = {row["id"] for row in read_first(path)}
    rows = [row.to_dict() for row in validation.rows if row.point.id not in kept]
    if not rows:
        return 0
    before = path.read_bytes() if path.exists() else b""
    if before and not before.endswith(b"\n"):
        before += b"\n"
    lines = [json.dumps({"version": version, **{key: row[key] for key in KEPT}}) for row in rows]
    with atomic_write(path.resolve()) as part:
        part.write_bytes(before + "".join(f"{line}\n" for line in lines).encode())
    return len(rows)
