"""Run the command in this process and look at what it says."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import jsonschema
import pytest

from bnnsim.cli import main
from bnnsim.report.check import load_schema


class Said(NamedTuple):
    """Exit status, standard output, standard error."""

    status: int
    out: str
    err: str


class Command:
    """Call with the arguments; ``json`` adds ``--json -`` and checks the result's schema."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *argv: object) -> Said:
        status = main([str(a) for a in argv])
        return Said(status, *self.capsys.readouterr())

    def json(self, *argv: object, schema: str, status: int = 0) -> dict[str, Any]:
        said = self(*argv, "--json", "-")
        assert (said.status, said.err) == (status, "")
        result: dict[str, Any] = json.loads(said.out)
        jsonschema.validate(result, load_schema(schema))
        return result

    def refused(self, *argv: object) -> str:
        """Return the one message of a refused command."""
        said = self(*argv)
        assert (said.status, said.out) == (2, "")
        assert "Traceback" not in said.err
        return said.err
