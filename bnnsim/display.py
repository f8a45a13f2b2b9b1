"""How results show themselves in a notebook, without knowing the layer that draws them."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol


class Plain(Protocol):
    """What has JSON values."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values."""


class Displayed:
    """A result whose notebook form is drawn by the report, found by name once it is asked for.

    The layers that make results stand below the report and may not import it.
    """

    __slots__ = ()

    def _repr_html_(self: Plain) -> str:
        html: str = import_module("bnnsim.report.notebook").fragment(self.to_dict())
        return html
