"""Exception classes, and the one builder of their messages.

Every message has the same shape: where, what was found, the rule, and the remedy.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST_VALUE = 200


class BnnsimError(Exception):
    """Something that the caller can mend; the command line prints it and exits with 2."""


class GraphError(BnnsimError):
    """A graph breaks a rule of shapes, dtypes, names or data."""


class SourceError(BnnsimError):
    """A model file or folder cannot be read as what it claims to be."""


class ProfileError(BnnsimError):
    """A hardware profile is malformed or lacks what an estimate needs."""


class KernelError(BnnsimError):
    """A kernel or an instruction set was asked for that cannot run here."""


class InputError(BnnsimError):
    """Input data, labels or arguments do not fit the model or the command."""


def message(where: str, got: object, expected: str, remedy: str = "") -> str:
    """Return ``where: got X, expected RULE. REMEDY`` as one line.

    Parameters
    ----------
    where : str
        File, object and place inside it, outermost first, joined by ``": "``.
    got : object
        The value found; strings are quoted, long values cut.
    expected : str
        The rule that the value breaks.
    remedy : str, optional
        What to do about it, as a sentence.
    """
    shown = repr(got)
    if len(shown) > _LONGEST_VALUE:
        shown = f"{shown[:_LONGEST_VALUE]}..."
    text = f"{where}: got {shown}, expected {expected}."
    text = f"{text} {remedy}" if remedy else text
    return text.replace("\n", "\\n")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest known word, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"Did you mean {close[0]!r}?" if close else ""
