"""Run every command and every Python block of README.md and docs/, in order, in an empty folder.

A block fenced as ``bash`` or ``python`` is run; lines of ``make`` and ``git`` are left out. A block
under ``<!-- output -->`` must equal what the block before it printed, and a picture in docs/img the
one that the blocks drew under its name: after a wanted change, ``BNNSIM_UPDATE_DOCS=1`` writes both
anew.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
PICTURES = sorted((REPOSITORY / "docs").glob("**/*.svg"))
DRAWN = REPOSITORY / "docs" / "img"
PROSE = [
    *DOCUMENTS,
    *(REPOSITORY / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "experiments/README.md")),
]
UPDATE = os.environ.get("BNNSIM_UPDATE_DOCS") == "1"

FENCE = re.compile(r"^(<!-- output -->\n)?```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
NOT_RUN = ("make", "git")


class Block(NamedTuple):
    """A fenced block; ``start`` and ``end`` are the place of its body in the document."""

    tag: str
    body: str
    start: int
    end: int


def blocks_of(text: str) -> list[Block]:
    return [
        Block("output" if m.group(1) else m.group(2), m.group(3), m.start(3), m.end(3))
        for m in FENCE.finditer(text)
    ]


def command_of(block: Block, folder: Path) -> list[str | Path]:
    if block.tag == "python":
        script = folder / "scripts" / f"at_{block.start}.py"
        script.parent.mkdir(exist_ok=True)
        script.write_text(block.body)
        return [sys.executable, "-W", "error", script]
    kept = (line for line in block.body.splitlines() if not line.startswith(NOT_RUN))
    return ["bash", "-euo", "pipefail", "-c", "\n".join(kept)]


def printed_by(block: Block, folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command_of(block, folder), cwd=folder, env={**os.environ, "PATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{block.body}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder in which the paths that the documents name are found."""
    (tmp_path / "bnnsim").mkdir()
    for name in ("bnnsim/data", "hw_profiles"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    return tmp_path


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_blocks_of_documents_run(document, checkout):
    text = document.read_text(encoding="utf-8")
    if "import torch" in text:
        pytest.importorskip("torch", reason="the document uses torch")
    printed, changed = "", []
    for block in blocks_of(text):
        if block.tag in ("bash", "python"):
            printed = printed_by(block, checkout)
        elif block.tag == "output" and block.body != printed:
            assert UPDATE, f"{block.body}\nis now\n{printed}\nBNNSIM_UPDATE_DOCS=1 writes it anew"
            changed.append((block, printed))
    for block, printed in reversed(changed):
        text = text[: block.start] + printed + text[block.end :]
    if changed:
        document.write_text(text, encoding="utf-8")
    compare_pictures(document, checkout)


def compare_pictures(document: Path, folder: Path) -> None:
    """Hold the pictures of docs/img that a document shows against those that its blocks drew."""
    for name in re.findall(r"!\[[^]]*\]\([^)]*\bimg/([^)]+)\)", document.read_text("utf-8")):
        drawn = (folder / name).read_bytes()
        if UPDATE:
            (DRAWN / name).write_bytes(drawn)
        assert (DRAWN / name).read_bytes() == drawn, "BNNSIM_UPDATE_DOCS=1 writes it anew"


@pytest.mark.parametrize("document", PROSE, ids=lambda path: path.name)
def test_links_of_documents_lead_somewhere(document):
    links = LINK.findall(document.read_text(encoding="utf-8"))
    inside = [link for link in links if "://" not in link]
    assert [link for link in inside if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_pictures_are_self_contained(picture):
    root = ET.fromstring(picture.read_text(encoding="utf-8"))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    for element in root.iter():
        assert not [key for key in element.attrib if key.endswith("href")]


def test_every_drawn_picture_is_shown_by_a_document():
    text = "".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    assert [p.name for p in DRAWN.iterdir() if f"img/{p.name})" not in text] == []


def test_another_picture_is_caught(tmp_path, checkout, monkeypatch):
    monkeypatch.setattr("test_readme.UPDATE", False)
    page = tmp_path / "page.md"
    page.write_text("![what](docs/img/energy.svg)")
    (checkout / "energy.svg").write_text("<svg/>")
    with pytest.raises(AssertionError, match="writes it anew"):
        compare_pictures(page, checkout)


def test_a_wrong_block_is_caught(checkout):
    (block,) = blocks_of("```bash\nmake demo\nbnnsim no-such-verb\n```\n")
    with pytest.raises(AssertionError, match="no-such-verb"):
        printed_by(block, checkout)


def test_an_output_block_follows_its_command(checkout):
    text = "```bash\nmake x\necho one\n```\nand\n\n<!-- output -->\n```text\none\n```\n"
    command, output = blocks_of(text)
    assert (command.tag, output.tag) == ("bash", "output")
    assert printed_by(command, checkout) == output.body
    assert text[output.start : output.end] == "one\n"
