"""Read a points file: published figures, where each stands, and what is predicted for it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bnnsim.cost.profile_fields import Fields, listed
from bnnsim.cost.profile_yaml import profile_folder, read_yaml
from bnnsim.errors import InputError, ProfileError, message, nearest
from bnnsim.validate.nets import NETWORKS

SCHEMA = "bnnsim/points/1"
RATIO = "energy ratio"
UNITS = {"energy per image": "J", "energy per operation": "J", "time per image": "s", RATIO: "1"}
SCOPES = ("chip", "board")
MOST_POINTS = 10_000
_A_NETWORK = "a network, such as peak-bit, mlperf-ic or zoo:cnv (docs/validation.md)"


@dataclass(frozen=True, slots=True)
class Point:
    """One published figure.

    Parameters
    ----------
    chip, kind : str
        Each chip has one vote in the summary of its kind.
    quantity : str
        A key of ``UNITS``; an operation is half a MAC, and a ratio is of energies per operation.
    published : float
        In SI units; a plain number for a ratio.
    scope : str
        ``chip``: without off-chip memory and pins; ``board``: with all that the profile has.
    confirmed : bool
        Whether the figure was read in a document.
    profile : str
        Packaged name or path.
    networks : tuple of str
        Run one after the other and added up.
    against : str
        Of a ratio, the network below the line, on the same profile.
    batch : int
    cite, at : str
    """

    id: str
    chip: str
    kind: str
    quantity: str
    published: float
    scope: str
    confirmed: bool
    profile: str
    networks: tuple[str, ...]
    against: str
    batch: int
    cite: str
    at: str

    @property
    def unit(self) -> str:
        """SI unit of the quantity."""
        return UNITS[self.quantity]


def packaged_points() -> Path:
    """Return the points file that comes with the package."""
    return profile_folder() / "validation" / "points.yaml"


def read_points(path: Path) -> tuple[tuple[Point, ...], tuple[tuple[str, str], ...]]:
    """Return the points of a file, and (id, reason) of those that cannot be modelled.

    Raises
    ------
    InputError
        Naming the file, the place, the value and the rule of every breach.
    """
    try:
        raw = read_yaml(path)
    except ProfileError as error:
        raise InputError(str(error)) from None
    problems: list[str] = []
    top = Fields(raw, str(path), problems, {})
    if raw.get("schema") != SCHEMA:
        top.note("schema", raw.get("schema"), SCHEMA)
    points = [_point(entry) for entry in _entries(top, "points")]
    holes = [_hole(entry) for entry in _entries(top, "unmodelled")]
    top.known.add("schema")
    top.close()
    names = Counter([p.id for p in points] + [name for name, _ in holes])
    for name in (name for name, times in names.items() if times > 1):
        top.note("points", name, "each id once")
    if problems:
        raise InputError(listed(problems))
    return tuple(points), tuple(holes)


def _entries(top: Fields, key: str) -> list[Fields]:
    top.known.add(key)
    found = top.raw.get(key, [])
    if not isinstance(found, list) or len(found) > MOST_POINTS:
        top.note(key, type(found).__name__, f"a list of at most {MOST_POINTS} entries")
        return []
    where = top.path(key)
    return [Fields(x, f"{where}[{i}]", top.problems, {}) for i, x in enumerate(found)]


def _point(fields: Fields) -> Point:
    quantity = fields.text("quantity", choices=tuple(UNITS))
    networks = fields.texts("networks", ())
    for name in networks or (None,):
        if name not in NETWORKS:
            fields.note("networks", name, _A_NETWORK, nearest(name or "", NETWORKS))
    before = len(fields.problems)
    point = Point(
        id=fields.text("id"),
        chip=fields.text("chip"),
        kind=fields.text("kind"),
        quantity=quantity,
        published=_published(fields, quantity),
        scope=fields.text("scope", choices=SCOPES, default="chip"),
        confirmed=fields.flag("confirmed", False),
        profile=fields.text("profile"),
        networks=networks,
        against=_against(fields, quantity),
        batch=fields.integer("batch", 1),
        cite=fields.text("cite"),
        at=fields.text("at"),
    )
    if fields.has("published") and not point.published and len(fields.problems) == before:
        fields.note("published", fields.raw["published"], "a figure above zero")
    fields.close()
    return point


def _published(fields: Fields, quantity: str) -> float:
    if quantity == RATIO:
        return fields.number("published")
    return fields.quantity("published", UNITS.get(quantity, "J"))


def _against(fields: Fields, quantity: str) -> str:
    if quantity == RATIO:
        name = fields.text("against")
        if name and name not in NETWORKS:
            fields.note("against", name, _A_NETWORK, nearest(name, NETWORKS))
        return name
    return ""


def _hole(fields: Fields) -> tuple[str, str]:
    found = fields.text("id"), fields.text("reason")
    fields.close()
    return found


def check_single(point: Point) -> None:
    """Raise if a quantity that is no sum is asked of several networks.

    Raises
    ------
    InputError
    """
    if point.quantity in ("energy per operation", RATIO) and len(point.networks) > 1:
        where = f"point {point.id}: networks"
        raise InputError(message(where, list(point.networks), "one network for this quantity"))
