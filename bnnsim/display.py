"""How results show themselves, in a notebook and as text, without knowing the layer that draws."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol


class Plain(Protocol):
    """What has JSON values."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values."""


class Displayed:
    """A result that the report shows as HTML and as text, found by name once it is asked for.

    The layers that make results stand below the report and may not import it.
    """

    __slots__ = ()

    def _repr_html_(self: Plain) -> str:
        html: str = import_module("bnnsim.report.notebook").fragment(self.to_dict())
        return html

    def __str__(self: Plain) -> str:
        text: str = import_module("bnnsim.report.notebook").summary(self.to_dict())
        return text
