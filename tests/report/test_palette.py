"""Both palettes: text has contrast, and parts that can touch differ for every kind of eye."""

from __future__ import annotations

import re
from itertools import combinations

import numpy as np
import pytest
from browser.shown import contrast

from bnnsim.report.figure import chart_css

# Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color vision
# deficiency", IEEE TVCG 2009, severity 1.0; on linear RGB.
EYES = {
    "full": np.eye(3),
    "protan": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                        [-0.003882, -0.048116, 1.051998]]),
    "deutan": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                        [-0.011820, 0.042940, 0.968881]]),
    "tritan": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                        [0.004733, 0.691367, 0.303900]]),
}  # fmt: skip
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = XYZ.sum(axis=1)
TEXTS = [("ink", "page"), ("ink", "card"), ("soft", "page"), ("soft", "card"), ("accent", "page"),
         ("accent", "card"), ("mark-ink", "mark")]  # fmt: skip
LEAST_DIFFERENCE = 12.0  # CIE76; 2.3 is just noticeable side by side


def palettes() -> dict[str, dict[str, tuple[int, ...]]]:
    light, dark = re.findall(r"\.bnnsim \{([^}]*)\}", chart_css())[:2]
    found = {}
    for name, text in (("light", light), ("dark", dark)):
        pairs = re.findall(r"--([\w-]+): #([0-9a-f]{6})", text)
        found[name] = {key: tuple(bytes.fromhex(value)) for key, value in pairs}
    return found


PALETTES = palettes()


def lab(colour: tuple[int, ...], eye: str) -> np.ndarray:
    c = np.array(colour) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    x, y, z = np.cbrt(np.clip(XYZ @ np.clip(EYES[eye] @ linear, 0, 1) / WHITE, 1e-6, None))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def difference(palette: str, one: str, other: str, eye: str) -> float:
    colours = PALETTES[palette]
    return float(np.linalg.norm(lab(colours[one], eye) - lab(colours[other], eye)))


def test_both_palettes_name_the_same_colours():
    assert set(PALETTES["light"]) == set(PALETTES["dark"])
    assert len(PALETTES["light"]) >= 23


@pytest.mark.parametrize("palette", PALETTES)
@pytest.mark.parametrize(("text", "back"), TEXTS)
def test_text_has_contrast(palette, text, back):
    colours = PALETTES[palette]
    assert contrast(colours[text], colours[back]) >= 4.5


@pytest.mark.parametrize("palette", PALETTES)
def test_lines_markers_and_dots_stand_out(palette):
    colours = PALETTES[palette]
    for name in ("r0", "r1", "r2", "r3", "c0", "ink", "accent"):
        for back in ("page", "card"):
            assert contrast(colours[name], colours[back]) >= 3, (name, back)


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize("palette", PALETTES)
def test_components_that_can_touch_differ(palette, eye):
    """Any two can: components that are zero are left out between them."""
    found = {
        (a, b): difference(palette, f"c{a}", f"c{b}", eye) for a, b in combinations(range(11), 2)
    }
    pair = min(found, key=lambda p: found[p])
    assert found[pair] >= LEAST_DIFFERENCE, (pair, found[pair])


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize("palette", PALETTES)
def test_bounds_of_the_latency_differ(palette, eye):
    bounds = ("c0", "c1", "r0", "r1", "r2", "r3")
    # Nor is a memory's roof the colour of a component that stands beside it: weights, activations.
    beside = [(level, part) for level in bounds[2:] for part in ("c5", "c6")]
    for one, other in [*combinations(bounds, 2), *beside]:
        assert difference(palette, one, other, eye) >= LEAST_DIFFERENCE, (one, other)


def test_red_and_green_of_one_lightness_would_be_found():
    a, b = (lab(c, "deutan") for c in ((150, 90, 60), (112, 104, 60)))
    assert np.linalg.norm(a - b) < LEAST_DIFFERENCE
    assert np.linalg.norm(lab((150, 90, 60), "full") - lab((112, 104, 60), "full")) > 20
