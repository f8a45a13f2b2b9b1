"""What the verbs build their arguments from: types, shared options, errors as exceptions."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from bnnsim.errors import InputError, message, nearest

ENGINES = ("compiled", "reference")
ISAS = ("auto", "ref", "avx2", "avx512", "neon")
_MAX_DIGITS = 20  # of 2^64
_SOURCE_HELP = (
    ".bnn, .onnx, .pt2, .h5 or .keras file, pynq:FOLDER, zoo:NAME[:trained|:random[,SEED]], "
    "py:MODULE:CALLABLE (with --trust)"
)


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are exceptions and that completes no abbreviation."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print.

        Raises
        ------
        InputError
            Always, with a pointer to ``--help``.
        """
        end = "" if message.endswith(("?", ".")) else "."
        raise InputError(f"{self.prog}: {message}{end} Run `{self.prog} --help`.")


def one_of(*known: str) -> Callable[[str], str]:
    """Return an argument type that accepts the ``known`` words and suggests the nearest."""

    def check(word: str) -> str:
        if word not in known:
            rule = f"one of {', '.join(known)}"
            text = message("value", word, rule, nearest(word, known))
            raise argparse.ArgumentTypeError(text.removeprefix("value: "))
        return word

    return check


def positive(text: str) -> int:
    """Return a whole number from 1 to 2^31 - 1."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:11]) < 2**31):
        rule = "a whole number from 1 to 2^31 - 1"
        raise argparse.ArgumentTypeError(f"got {text!r}, expected {rule}")
    return int(text)


def integer(text: str) -> int:
    """Return a whole number of at most 20 digits."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number")
    return int(text)


def shape(text: str) -> tuple[int, ...]:
    """Return ``28,28,1`` or ``28x28x1`` as a tuple."""
    return tuple(positive(part) for part in text.replace("x", ",").split(","))


def words(text: str) -> list[str]:
    """Return the parts of a comma-separated list, none of them empty."""
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected names with commas between them")
    return parts


def dump(text: str) -> tuple[str, str]:
    """Return the layer and the file of ``LAYER=FILE``."""
    layer, equals, file = text.partition("=")
    if not (layer and equals and file):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected LAYER=FILE")
    return layer, file


def add_verb(verbs: Any, name: str, command: Callable[..., int], help: str) -> Parser:
    """Add a verb with ``--json`` that runs ``command(args) -> status``."""
    parser: Parser = verbs.add_parser(name, help=help, description=help)
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON; - is stdout")
    parser.set_defaults(command=command, parser=parser)
    return parser


def add_source(parser: Parser, *, many: bool = False, default: str = "") -> None:
    """Add SOURCE, several or with a default, and the options that say how it is read."""
    if default:
        text = f"{_SOURCE_HELP}; default {default}"
        parser.add_argument("source", metavar="SOURCE", nargs="?", default=default, help=text)
    elif many:
        parser.add_argument("sources", metavar="SOURCE", nargs="+", help=_SOURCE_HELP)
    else:
        parser.add_argument("source", metavar="SOURCE", help=_SOURCE_HELP)
    group = parser.add_argument_group("reading the source")
    group.add_argument("--folding", metavar="FILE.json", help="PE and SIMD of each layer (FPGA)")
    group.add_argument("--network", metavar="NAME", help="which network of the folding file")
    group.add_argument("--weights", metavar="FILE", help="weights for a py: source or Keras model")
    group.add_argument(
        "--input-shape", metavar="C,H,W", type=shape,
        help="of one input, as the source has it",
    )  # fmt: skip
    group.add_argument("--trust", action="store_true", help="allow a source that runs code")
    group.add_argument(
        "--sign-zero", choices=("plus", "error"),
        help="a sign that is 0 at 0: lower it to +1 with a note (default), or refuse it",
    )  # fmt: skip
    group.add_argument(
        "--input-grid", metavar="GRID",
        help="of a float32 input: uint8, q1.7 or SCALE[,ZERO[,int8|uint8]], such as 1/255",
    )  # fmt: skip
    group.add_argument(
        "--latent", metavar="PATTERN", action="append", default=[],
        help="layers whose floats were binarized in training: sign*alpha; may be repeated",
    )  # fmt: skip
    group.add_argument(
        "--centered", action="store_true",
        help="with --latent: take the mean over input channels away first",
    )  # fmt: skip


def add_preact_scale(parser: Any) -> None:
    """Add what makes stochastic binarization possible without batch norms."""
    parser.add_argument(
        "--preact-scale", metavar="VALUE", type=float,
        help="of (acc - t) * VALUE, the pre-activation of a source with integer thresholds",
    )  # fmt: skip


def add_draws(parser: Parser) -> None:
    """Add the options of stochastic binarization."""
    group = parser.add_argument_group("stochastic binarization")
    group.add_argument(
        "--stochastic", action="store_true", help="draw every sign; outputs are float32 means"
    )
    add_samples(group)
    group.add_argument(
        "--rng-bits", type=integer, metavar="N", help="bits per draw: 1, 2, 4, 8 (default) or 16"
    )
    add_preact_scale(group)


def add_samples(parser: Any) -> None:
    """Add which draws a stochastic run takes, and how often."""
    parser.add_argument("--seed", type=integer, metavar="S", help="0 to 2^64 - 1, default 0")
    parser.add_argument("--samples", type=positive, metavar="T", help="runs per image, default 1")


def add_mode(parser: Parser) -> None:
    """Add the option that names a precision."""
    parser.add_argument("--mode", default="native", metavar="M", help="default native; see docs")


def add_engine(parser: Parser, *, choose: bool = True) -> None:
    """Add the options of an execution."""
    if choose:
        parser.add_argument(
            "--engine", type=one_of(*ENGINES), default="compiled", help=" | ".join(ENGINES)
        )
    parser.add_argument("--isa", type=one_of(*ISAS), default="auto", help=" | ".join(ISAS))
    parser.add_argument("--threads", type=positive, default=1, metavar="N")
    parser.add_argument(
        "--fast-float", action="store_true",
        help="float layers in single precision: faster, sums may differ in their last bits",
    )  # fmt: skip
