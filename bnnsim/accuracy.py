"""How often a network decides as it should, with the interval that so many images allow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnnsim.errors import InputError, message
from bnnsim.execution import check_labels, decide
from bnnsim.graph.ir import Graph

RULES = {
    "last-set-bit": "the highest output that is +1, or class 0 where none is",
    "argmax": "the largest output, the first of equal ones",
}


@dataclass(frozen=True, slots=True)
class Share:
    """A share of images with its 95 % Wilson interval.

    Parameters
    ----------
    hits, images : int
    low, high : float
    """

    hits: int
    images: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """Return hits / images."""
        return self.hits / self.images

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"value": self.value, "low": self.low, "high": self.high, "images": self.images}


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Decisions held against labels.

    Parameters
    ----------
    top1 : Share
    rule : str
        How the network decides, ties included.
    tied : int
        Images on which several outputs are the largest, so that the rule for ties decided.
    classes : int
    confusion : tuple of (label, decision, images)
        The entries of the confusion matrix that are not 0, by label and decision.
    """

    top1: Share
    rule: str
    tied: int
    classes: int
    confusion: tuple[tuple[int, int, int], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "top1": self.top1.to_dict(),
            "right": self.top1.hits,
            "rule": self.rule,
            "tied": self.tied,
            "classes": self.classes,
            "confusion": [
                {"label": label, "decision": decision, "images": images}
                for label, decision, images in self.confusion
            ],
        }


def share(hits: int, images: int) -> Share:
    """Return a share of at least one image with its interval."""
    return Share(hits, images, *wilson(hits / images, images))


def accuracy(graph: Graph, outputs: np.ndarray, labels: np.ndarray) -> Accuracy:
    """Hold the decisions of a network against labels that `check_classes` has passed.

    Parameters
    ----------
    graph : Graph
        Says how it decides.
    outputs : ndarray, shape (N, ...)
        N at least 1.
    labels : ndarray of integers, shape (N,)
    """
    decided = decide(graph, outputs)
    flat = outputs.reshape(len(outputs), -1)
    pairs, images = np.unique(np.stack([labels, decided], axis=1), axis=0, return_counts=True)
    by_argmax = graph.meta.get("decision") != "last-set-bit"
    at_top = (flat == flat.max(axis=1, keepdims=True)).sum(axis=1)
    return Accuracy(
        top1=share(int((decided == labels).sum()), len(labels)),
        rule=RULES["argmax" if by_argmax else "last-set-bit"],
        tied=int((at_top > 1).sum()) if by_argmax else 0,
        classes=flat.shape[1],
        confusion=tuple((int(a), int(b), int(n)) for (a, b), n in zip(pairs, images, strict=True)),
    )


def check_classes(graph: Graph, labels: np.ndarray, images: int) -> np.ndarray:
    """Return one label per image, each a class that ``graph`` has an output for.

    Raises
    ------
    InputError
        If shape, dtype or a value is wrong.
    """
    checked = check_labels(np.asarray(labels), images)
    classes = graph.tensor(graph.outputs[0]).size
    outside = np.flatnonzero((checked < 0) | (checked >= classes))
    if len(outside):
        rule = f"a class of {graph.name}, 0 to {classes - 1}"
        raise InputError(message(f"labels[{outside[0]}]", int(checked[outside[0]]), rule))
    return checked


def wilson(share: float, images: int, z: float = 1.96) -> tuple[float, float]:
    """Return the Wilson score interval of a share of ``images``.

    References
    ----------
    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.
    """
    centre = (share + z * z / (2 * images)) / (1 + z * z / images)
    spread = math.sqrt(share * (1 - share) / images + z * z / (4 * images * images))
    half = z * spread / (1 + z * z / images)
    return max(0.0, centre - half), min(1.0, centre + half)
