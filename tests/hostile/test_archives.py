"""``.pt2`` archives run code when they are loaded, so none is opened without ``--trust``.

That an archive holds no pickle would not make it safe: torch evaluates texts of its JSON graph as
Python (the last test). So every archive needs trust.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest
from hostile.refusals import Mutant, check_refused, each

SPRINGS = "__import__('os').mkdir('sprung')"


class Trap:
    """Pickled, this makes a folder where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("sprung",)


def archive(**entries: bytes) -> bytes:
    """Return a .pt2 with the given entries, beside what every archive has."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        fixed = {"archive_format": b"pt2", "archive_version": b"0", "byteorder": b"little"}
        for name, data in (fixed | entries).items():
            file.writestr(f"net/{name}", data)
    return buffer.getvalue()


TRAP = pickle.dumps(Trap())
ARCHIVES = [
    Mutant("a pickle as sample inputs", archive(**{"data/sample_inputs/model.pt": TRAP})),
    Mutant("a pickle as a weight", archive(**{"data/weights/weight_0": TRAP})),
    Mutant("a pickle as a constant", archive(**{"data/constants/custom_obj_0": TRAP})),
    Mutant("a program in the graph", archive(**{"models/model.json": SPRINGS.encode()})),
    Mutant("a name that leaves the folder", archive(**{"../../sprung": b""})),
    Mutant("a name from the root", archive(**{"/sprung": b""})),
    Mutant("a megabyte of zeros in a kilobyte", archive(**{"data/weights/weight_0": bytes(2**20)})),
    Mutant("an archive cut off", archive()[:-30]),
    Mutant("a bare pickle", TRAP),
    Mutant("nothing", b""),
]


@each(ARCHIVES)
def test_no_archive_is_opened_without_trust(bnnsim, work, mutant):
    (work / "net.pt2").write_bytes(mutant.change)
    for line in (
        "inspect net.pt2",
        "lower net.pt2 -o net.bnn",
        "verify net.pt2 --input x.npy --against torch",
    ):
        says = (
            "net.pt2: loading it runs code (torch evaluates",
            "Add --trust (trust=True in Python) if you know where it comes from",
        )
        check_refused(bnnsim(*line.split()), "net.pt2", says)
    assert [path.name for path in work.iterdir()] == ["net.pt2"]


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", archive(), archive()[:-30]])
def test_a_trusted_archive_that_is_none_is_refused(bnnsim, work, content):
    pytest.importorskip("torch")
    (work / "net.pt2").write_bytes(content)
    said = bnnsim("inspect", "net.pt2", "--trust")
    check_refused(said, "SourceError: net.pt2: got ", ("expected a .pt2 archive",))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_torch_runs_texts_of_the_graph_so_that_no_pickle_is_no_safety(bnnsim, work):
    """If this fails, torch has learnt to read sizes as data: archives may then need less trust."""
    torch = pytest.importorskip("torch")
    program = torch.export.export(torch.nn.Linear(5, 4).eval(), (torch.ones(2, 5),))
    torch.export.save(program, "sound.pt2")
    with zipfile.ZipFile("sound.pt2") as sound, zipfile.ZipFile("net.pt2", "w") as evil:
        for entry in sound.infolist():
            data = sound.read(entry)
            if entry.filename.endswith(("models/model.json", "serialized_exported_program.json")):
                data = _with_a_size_that_runs(data)
            evil.writestr(entry.filename, data)
    check_refused(bnnsim("inspect", "net.pt2"), "net.pt2: loading it runs code", ())
    assert not Path("sprung").exists()
    said = bnnsim("inspect", "net.pt2", "--trust")
    check_refused(said, "net.pt2", ("expected a .pt2 archive",))
    assert Path("sprung").is_dir()


def _with_a_size_that_runs(data: bytes) -> bytes:
    program = json.loads(data)
    values = program["graph_module"]["graph"]["tensor_values"]
    size = {"as_expr": {"expr_str": SPRINGS, "hint": {"as_int": 4}}}
    next(iter(values.values()))["sizes"][0] = size
    return json.dumps(program).encode()
