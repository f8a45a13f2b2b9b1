"""Usage errors: exit 2, one line in the house style, the nearest word suggested."""

from __future__ import annotations

import pytest

from bnnsim.cli.arguments import dump, positive, shape, words


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["estmate"], "InputError: bnnsim: verb: got 'estmate', expected one of lower, inspect,"),
        (["estmate"], "Did you mean 'estimate'?"),
        ([], "the following arguments are required: VERB. Run `bnnsim --help`."),
        (["inspect"], "bnnsim inspect: the following arguments are required: SOURCE."),
        (
            ["inspect", "zoo:tfc", "--jsn", "-"],
            "arguments: --jsn -. Did you mean '--json'?",
        ),
        (["inspect", "zoo:tfc", "--jso", "-"], "unrecognized arguments: --jso -."),
        (["inspect", "zoo:tfc", "more"], "bnnsim inspect: unrecognized arguments: more. Run `bnn"),
        (["run", "a.bnn", "--input", "x", "--isa", "avx3"], "--isa: got 'avx3', expected one of a"),
        (["run", "a.bnn", "--input", "x", "--isa", "avx3"], "Did you mean 'avx2'? Run `bnnsim run"),
        (["run", "a.bnn", "--input", "x", "--engine", "fast"], "expected one of compiled, referen"),
        (["run", "a.bnn", "--input", "x", "--threads", "0"], "got '0', expected a whole number"),
        (["run", "a.bnn", "--input", "x", "--dump", "a"], "got 'a', expected LAYER=FILE"),
        (["estimate", "zoo:tfc", "--profile", "cmos45", "--batch", "1e3"], "got '1e3', expected"),
        (["compare", "zoo:tfc", "--profile", "cmos45", "--modes", "int8,,"], "got 'int8,,'"),
        (["zoo", "lst"], "bnnsim zoo: argument list: invalid choice: 'lst'"),
        (["profiles"], "profiles: the following arguments are required: list|show|check|new."),
        (["demo", "--images", "-3"], "bnnsim demo:"),
    ],
)
def test_usage_errors(bnnsim, argv, text):
    said = bnnsim.refused(*argv)
    assert text in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("argv", [["--help"], ["run", "--help"], ["profiles", "check", "--help"]])
def test_help_exits_with_0(bnnsim, argv):
    with pytest.raises(SystemExit) as stop:
        bnnsim(*argv)
    assert stop.value.code == 0


def test_version(bnnsim, capsys):
    with pytest.raises(SystemExit):
        bnnsim("--version")
    assert capsys.readouterr().out.startswith("bnnsim ")


def test_types_of_arguments():
    assert shape("28,28,1") == shape("28x28x1") == (28, 28, 1)
    assert words("a, b") == ["a", "b"]
    assert dump("conv1=out=1.npy") == ("conv1", "out=1.npy")
    assert positive("2147483647") == 2**31 - 1


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "\uff12", "2147483648", "9" * 5000])
def test_positive_refuses(text):
    with pytest.raises(Exception, match="expected a whole number"):
        positive(text)
