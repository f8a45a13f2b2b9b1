"""What a damaged input must lead to: one message that names the file and the broken place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cli.commands import Said


class Kept(NamedTuple):
    """The folder of sound files; they are read, never changed."""

    folder: Path

    def __truediv__(self, name: str) -> Path:
        return self.folder / name


class Mutant(NamedTuple):
    """A way to damage an input, and the words that its refusal holds.

    No words: the change is harmless, and the result is that of the sound input.
    """

    name: str
    change: Any  # a function of what is damaged, or what to put in its place
    says: tuple[str, ...] = ()


def each(mutants: Sequence[Mutant]) -> pytest.MarkDecorator:
    """Return the parameters of a test that takes ``mutant``; every name is its own."""
    names = [mutant.name for mutant in mutants]
    assert len(set(names)) == len(names), sorted(names)
    return pytest.mark.parametrize("mutant", mutants, ids=names)


def check_refused(said: Said, file: str, words: Sequence[str]) -> None:
    """Check status, silence on standard output, and that the message names file and place."""
    assert said.status == 2, said
    assert said.out == ""
    assert "Traceback" not in said.err
    assert said.err.endswith("\n")
    assert file in said.err
    for word in words:
        assert word in said.err
